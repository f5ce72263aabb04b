from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from workers.devserver import LOOPBACK, DevServerFailed, dev_server, free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which something else listens."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize("which", ["port", "ui_port"])
async def test_a_taken_port_is_told_and_nothing_is_started(
    tmp_path: Path, taken_port: int, which: str
) -> None:
    """Another server on the port would be taken for ours, and its jobs for our ledger's."""
    children = psutil.Process().children()
    with pytest.raises(DevServerFailed, match=f"port {taken_port} on 127.0.0.1 is taken"):
        async with dev_server(tmp_path, **{which: taken_port}):
            pytest.fail("it must not start")
    assert psutil.Process().children() == children


async def test_state_outlives_the_server_and_the_server_does_not_outlive_its_block(
    tmp_path: Path,
) -> None:
    """What was started is there when the same folder is served again, at another port."""
    async with dev_server(tmp_path) as server:
        await server.client.start_workflow("Anything", id="kept", task_queue="nobody")
        pid = server.pid
    assert not psutil.pid_exists(pid)
    async with dev_server(tmp_path, port=free_port()) as server:
        assert (await server.client.get_workflow_handle("kept").describe()).id == "kept"
