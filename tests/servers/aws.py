"""An AWS that tests may write to: moto's server, in a process of its own, on loopback.

It is a simulator: it shows that our requests are well-formed and that our code reacts as it should
to its answers, not how AWS behaves under load. Known to be missing: throttling, transaction
conflicts, eventual consistency, expiry by TTL, replication, the memory of client request tokens,
and most limits of size.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Environment of whoever talks to the server; no real account is ever reached with it."""


@contextmanager
def aws_server() -> Iterator[str]:
    """The URL of a running server; it ends with the block, or with the process that asked."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.aws_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            url = server.stdout.readline().strip()
            if not url:
                raise RuntimeError("the AWS simulator did not start; its error stands above")
            yield url
        finally:
            server.kill()
