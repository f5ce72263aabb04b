"""A real server with Vault's API (OpenBao in dev mode) for tests: loopback, in memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hvac
import requests

from workers.devserver import free_port

ROOT_TOKEN = "root-of-a-test"  # noqa: S105 - of a server that lives for one test
START_WITHIN_S = 30


@contextmanager
def vault_server() -> Iterator[Any]:
    """Run it while the block runs; yields a client with all rights."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("bao")), "server", "-dev", "-dev-no-store-token"),
            *(f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={address}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        client = hvac.Client(url=f"http://{address}", token=ROOT_TOKEN)
        _wait_until_it_answers(client, process)
        yield client
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_until_it_answers(client: Any, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_WITHIN_S
    while True:
        try:
            if client.is_authenticated():
                return
        except requests.ConnectionError:
            if process.poll() is not None or time.monotonic() > ends:
                raise
        time.sleep(0.05)
