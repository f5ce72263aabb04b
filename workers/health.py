"""The health endpoint: ``GET /health`` answers 200 while Temporal answers and all queues poll."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus

from temporalio.client import Client
from temporalio.worker import Worker

_PATIENCE = timedelta(seconds=3)


async def health(client: Client, workers: tuple[Worker, ...]) -> tuple[bool, dict[str, object]]:
    """Whether this process can do its work, and what it is judged by."""
    queues = {worker.task_queue: worker.is_running for worker in workers}
    try:
        serving = await client.service_client.check_health(timeout=_PATIENCE)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is why we are not healthy
        return False, {"temporal": str(error)[:200], "queues": queues}
    return serving and all(queues.values()), {"temporal": serving, "queues": queues}


@asynccontextmanager
async def health_endpoint(
    host: str, port: int, client: Client, workers: tuple[Worker, ...]
) -> AsyncIterator[int]:
    """Serve it while the block runs; yields the port (a free one for 0)."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readline()
        well, told = await health(client, workers)
        if request.split()[1:2] != [b"/health"]:
            status, told = HTTPStatus.NOT_FOUND, {"try": "/health"}
        else:
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        body = json.dumps(told).encode()
        writer.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port)
    async with server:
        yield server.sockets[0].getsockname()[1]
