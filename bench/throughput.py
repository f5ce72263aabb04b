"""Starts and completions a second of the job's workflow, beside a bare one of the same shape.

Both stand on one dev server with the product's settings, in one process, and take turns, so that
drift hits both. Ours decides for real (shipped trace, policy and catalogue) and keeps its record in
a real SQLite store; only compute is null. The bare one has the same commands and no content.

- starts/s: submitted as the SDK does (start, and an update that waits for the first plan) and put
  to sleep for hours, ``SUBMITTED_AT_ONCE`` at a time.
- completions/s: the same sleepers told to run now, all at once, until each has ended.

The ratio is the median over rounds of ours to the bare one's of the same round.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

from temporalio.client import Client as TemporalClient
from temporalio.client import WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from activities.watch import SIGNALS_AT_ONCE
from bench.bare import JOBS, BareJob, BareSteps, bare_workers
from bench.null_compute import NullCompute, news
from clients.scheduler import Client
from domain.manifest import parse_manifest
from tests.quiet import hush
from workers.devserver import dev_server
from workers.process import ACTIVITIES_AT_ONCE, running, set_up
from workers.sections import TraceSettings
from workers.settings import Settings
from workers.wiring import build
from workflows.job import CarbonAwareJob

JOBS_A_ROUND = 120
SUBMITTED_AT_ONCE = 50
ROUNDS = 4
GOAL = 0.8

EVENING = datetime(2019, 6, 20, 20, tzinfo=UTC)
"""Where the trace begins: the cleanest hours lie in the next day's sun, half a day ahead."""

Execution = WorkflowHandle[Any, Any]
_numbers = itertools.count()


@dataclass
class Side:
    """One of the two workflows, and what was measured of it."""

    name: str
    start: Callable[[int], Awaitable[Execution]]
    starts: list[float] = field(default_factory=list)
    completions: list[float] = field(default_factory=list)
    events: list[int] = field(default_factory=list)


async def measure() -> None:
    """Take turns, and print what came out."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            dev_server(Path(folder) / "temporal") as server,
            sides(server.client, Path(folder) / "state") as both,
        ):
            for side in both:
                await take_turn(side, jobs=JOBS_A_ROUND // 5)
                side.starts, side.completions = [], []
            for number in range(ROUNDS):
                for side in both if number % 2 else reversed(both):
                    await take_turn(side, JOBS_A_ROUND)
            show(*both)
    # A client that is taken down with the event loop may abort the process.
    await asyncio.sleep(0.1)


async def take_turn(side: Side, jobs: int) -> None:
    """Start some jobs and see them through."""
    began = time.perf_counter()
    handles = await submit(side, jobs)
    asleep = time.perf_counter()
    await asyncio.gather(*map(run_now, handles))
    done = time.perf_counter()
    side.starts.append(jobs / (asleep - began))
    side.completions.append(jobs / (done - asleep))
    side.events.append(len((await handles[0].fetch_history()).events))


async def submit(side: Side, jobs: int) -> list[Execution]:
    """Start jobs, so many at a time."""
    free = asyncio.Semaphore(SUBMITTED_AT_ONCE)

    async def one() -> Execution:
        async with free:
            return await side.start(next(_numbers))

    return await asyncio.gather(*(one() for _ in range(jobs)))


async def run_now(handle: Execution) -> None:
    """Wake a sleeper and wait for its end."""
    await handle.signal("run_now")
    await handle.result()


# ── the two sides ────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def sides(client: TemporalClient, state_dir: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Workers of both, ready."""
    settings = Settings(state_dir=state_dir, trace=TraceSettings(trace_at=EVENING))
    parts = replace(build(settings), compute=NullCompute())
    steps = BareSteps()
    async with AsyncExitStack() as stack:
        await set_up(client, parts)
        await stack.enter_async_context(running(client, parts))
        cached = settings.worker.max_cached_workflows
        for worker in bare_workers(client, steps, cached, ACTIVITIES_AT_ONCE):
            await stack.enter_async_context(worker)
        telling = asyncio.create_task(tell(client, steps))
        async with asyncio.timeout(30):
            while not parts.signals.forecasts():
                await asyncio.sleep(0.1)
        sdk = Client(client)
        yield (
            Side("bare", lambda number: start_bare(client, number)),
            Side("Lowtide", lambda number: start_job(sdk, number)),
        )
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling


async def start_job(sdk: Client, number: int) -> Execution:
    """Submit through the SDK a job that waits for the next day's sun."""
    manifest = parse_manifest(
        {
            "name": f"bench-{number}",
            "image": "busybox",
            "command": ["true"],
            "resources": {"vcpus": 1, "memory_gib": 2},
            "deadline": datetime.now(UTC) + timedelta(hours=40),
            "runtime": "1h",
            "p95_runtime": "90m",
            "max_runtime": "4h",
            "residency": "eu",
            "home_region": "aws:eu-central-1",
        }
    )
    job = await sdk.submit(manifest)
    return sdk.temporal.get_workflow_handle_for(CarbonAwareJob.run, job.id)


async def start_bare(client: TemporalClient, number: int) -> Execution:
    """Start a bare workflow in the same way."""
    workflow_id = f"bare-{number}"
    operation = WithStartWorkflowOperation(
        BareJob.run,
        id=workflow_id,
        task_queue=JOBS,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    await client.execute_update_with_start_workflow(
        BareJob.admitted, start_workflow_operation=operation
    )
    return client.get_workflow_handle_for(BareJob.run, workflow_id)


async def tell(client: TemporalClient, steps: BareSteps) -> None:
    """Signal bare jobs of their runs, in the way of ``activities/watch.py``."""
    async for _, jobs in news(steps.dispatched):
        for start in range(0, len(jobs), SIGNALS_AT_ONCE):
            part = jobs[start : start + SIGNALS_AT_ONCE]
            await asyncio.gather(
                *(client.get_workflow_handle(job).signal(BareJob.run_changed) for job in part)
            )


def show(bare: Side, ours: Side) -> None:
    """Print each round, and the ratio of the medians."""
    print(f"{ROUNDS} rounds of {JOBS_A_ROUND} jobs on each side, one server")
    print(f"  {'':9}{'starts/s':>10}{'completions/s':>15}{'events':>9}   completions/s by round")
    for side in (bare, ours):
        rounds = "  ".join(f"{rate:5.1f}" for rate in side.completions)
        print(
            f"  {side.name:9}{median(side.starts):10.1f}{median(side.completions):15.1f}"
            f"{median(side.events):9.0f}   {rounds}"
        )
    starts = median(map(truediv, ours.starts, bare.starts))
    completions = median(map(truediv, ours.completions, bare.completions))
    print(f"  {'ratio':9}{starts:10.2f}{completions:15.2f}   (goal {GOAL})")


def main() -> None:
    """Print the figures."""
    hush()
    asyncio.run(measure())
