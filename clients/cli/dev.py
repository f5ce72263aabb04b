"""``lowtide dev``: the whole product on one machine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli.fakes import Fakes, carbon_fakes, cloud_fakes
from clients.cli.output import EXIT_UNREACHABLE, command, fail, out
from workers.wiring import DevServer, DevServerFailed, dev_server, load_parts, serve

DEFAULT_PORT = 7233


class Compute(StrEnum):
    """Where jobs run."""

    LOCAL = "local"
    FAKE_CLOUD = "fake-cloud"


class Providers(StrEnum):
    """Who tells of the grid."""

    TRACE = "trace"
    LIVE = "live"
    FAKE = "fake"


@asynccontextmanager
async def local_server(
    state: Path, port: int | None = None, ui_port: int | None = None
) -> AsyncIterator[DevServer]:
    """Temporal's dev server while the block runs; leaves with one line where it cannot start."""
    try:
        async with dev_server(state, port, ui_port) as server:
            yield server
    except DevServerFailed as error:
        fail(str(error), EXIT_UNREACHABLE)


@command
async def dev(
    *,
    state: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(".lowtide"),
    port: Annotated[int, typer.Option(help="Temporal's port on loopback.")] = DEFAULT_PORT,
    ui_port: Annotated[int, typer.Option(help="The Temporal UI's port.")] = 8233,
    trace_hour: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Seconds for one hour of the replayed grid trace; 3600, or as --state has it.",
        ),
    ] = None,
    providers: Annotated[
        Providers | None,
        typer.Option(
            help="Who tells of the grid: the trace, live accounts, or fakes of both providers whose"
            " failures you control. As LOWTIDE_SIGNALS__SOURCE has it, when left out."
        ),
    ] = None,
    compute: Annotated[
        Compute | None,
        typer.Option(
            help="Where jobs run: local processes, or fakes of AWS Batch and GKE whose failures you"
            " control. As LOWTIDE_COMPUTE__KIND has it, when left out."
        ),
    ] = None,
) -> None:
    """Run the whole product on this machine until Ctrl-C.

    Temporal's dev server, the refresh and settlement schedules, and a worker.
    Jobs run as processes on this machine that stand in for the regions; the grid is a replayed
    trace of real European data, unless --compute or --providers say otherwise. All state stays
    under --state: stop it with jobs deferred, start it again, and nothing is lost.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        told: dict[str, Any] = {} if trace_hour is None else {"trace": {"hour_s": trace_hour}}
        if providers not in {None, Providers.FAKE}:
            told["signals"] = {"source": providers}
        manual: list[str] = []
        for fakes in await _fakes(stack, state, providers, compute):
            os.environ.update(fakes.environment)
            told |= fakes.settings
            manual += fakes.manual
        parts = load_parts(state_dir=state, **told)
        server = await stack.enter_async_context(local_server(state, port, ui_port))
        out.print(f"Temporal      {server.address}")
        out.print(f"Temporal UI   {server.ui_url}/namespaces/default/workflows")
        out.print(f"state         {state}")
        if port != DEFAULT_PORT:
            out.print(f"other shells  export TEMPORAL_ADDRESS={server.address}")
        for line in manual:
            out.print(line, soft_wrap=True)
        out.print("submit a job  lowtide submit examples/manifest.yaml --wait")
        out.print("Ctrl-C stops it; nothing is lost.")
        await serve(server.client, parts, stop)
    out.print("stopped")


async def _fakes(
    stack: AsyncExitStack, state: Path, providers: Providers | None, compute: Compute | None
) -> list[Fakes]:
    """Start those that were asked for; they end with the stack."""
    started = []
    if providers is Providers.FAKE:
        started.append(await stack.enter_async_context(carbon_fakes()))
    if compute is Compute.FAKE_CLOUD:
        regions = sorted(load_parts(state_dir=state).policy.regions)
        started.append(await stack.enter_async_context(cloud_fakes(regions, state)))
    elif compute is Compute.LOCAL:
        started.append(Fakes(settings={"compute": {"kind": "local"}}))
    return started
