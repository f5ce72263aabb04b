"""``lowtide worker``: the worker process."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from clients.cli.output import command, err
from clients.scheduler import Client
from workers.wiring import load_parts, serve, set_up


@command
async def worker(
    *,
    setup_only: Annotated[
        bool,
        typer.Option(
            "--setup-only",
            help="Register search attributes and schedules, start the watchers, and leave.",
        ),
    ] = False,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C.

    It polls every queue: workflows, decisions, dispatch, watching, refresh, settlement.
    Settings come from LOWTIDE_* in the environment and lowtide.toml (LOWTIDE_CONFIG names
    another file); Temporal's address from TEMPORAL_ADDRESS or its profile file.
    """
    parts = load_parts()
    client = (await Client.connect()).temporal
    if setup_only:
        await set_up(client, parts)
        err.print("search attributes, schedules and watchers are there")
        return
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    err.print(f"worker on {client.namespace}: {len(parts.policy.regions)} regions")
    await serve(client, parts, stop)
    err.print("worker stopped")
