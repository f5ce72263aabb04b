"""``lowtide dev``: the whole product on one machine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from clients.cli.output import command, out
from workers.wiring import dev_server, load_parts, serve


@command
async def dev(
    *,
    state: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(".lowtide"),
    port: Annotated[int, typer.Option(help="Temporal's port on loopback.")] = 7233,
    ui_port: Annotated[int, typer.Option(help="The Temporal UI's port.")] = 8233,
    trace_hour: Annotated[
        float, typer.Option(min=0.1, help="Seconds for one hour of the replayed grid trace.")
    ] = 3600.0,
) -> None:
    """Start Temporal's dev server, the refresh schedule and a worker, until Ctrl-C.

    Jobs run as processes on this machine that stand in for the regions; the grid is a replayed
    trace of real European data. All state stays under --state: stop it with jobs deferred, start
    it again, and nothing is lost.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = load_parts(state_dir=state, trace={"hour_s": trace_hour})
    async with dev_server(state, port, ui_port) as server:
        out.print(f"Temporal      {server.address}")
        out.print(f"Temporal UI   {server.ui_url}/namespaces/default/workflows")
        out.print(f"state         {state}")
        if port != DEFAULT_PORT:
            out.print(f"other shells  export TEMPORAL_ADDRESS={server.address}")
        out.print("submit a job  lowtide submit examples/manifest.yaml --wait")
        out.print("Ctrl-C stops it; nothing is lost.")
        await serve(server.client, parts, stop)
    out.print("stopped")


DEFAULT_PORT = 7233
