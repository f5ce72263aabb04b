from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from temporalio.worker import Worker

from tests.integration.stack import eventually
from workers.devserver import LOOPBACK, dev_server
from workers.health import health_endpoint
from workflows.signals import RefreshSignals


async def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a GET."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)


async def test_health_is_that_of_temporal_and_of_every_queue(tmp_path: Path) -> None:
    """200 while all poll; 503, with the reason, when a queue stops or Temporal is gone."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(dev_server(tmp_path))
        workers = tuple(
            Worker(server.client, task_queue=name, workflows=[RefreshSignals]) for name in "ab"
        )
        port = await stack.enter_async_context(health_endpoint(LOOPBACK, 0, server.client, workers))
        assert await get(port, "/health") == (
            503,
            {"temporal": True, "queues": {"a": False, "b": False}},
        )
        async with workers[0], workers[1]:
            well = (200, {"temporal": True, "queues": {"a": True, "b": True}})

            async def all_poll() -> bool:
                return await get(port, "/health") == well

            await eventually(all_poll)
            assert (await get(port, "/other"))[0] == 404
        os.kill(server.pid, signal.SIGKILL)
        status, told = await get(port, "/health")
        assert status == 503
        assert told["temporal"]
        assert told["temporal"] is not True
