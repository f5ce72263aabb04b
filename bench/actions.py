"""Temporal actions, events and bytes of one job, beside a naive poll loop's, from real histories.

Both run under time skipping, on the same grid, with the product's steps and SQLite store. Actions
are what Temporal Cloud bills (https://docs.temporal.io/evaluate/cloud/actions); what a history
does not show (queries, heartbeats, rejected updates) neither job makes on its way.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.worker import Worker

from bench.naive import NaiveJob
from domain.job import RunState
from domain.messages import JobInput, JobResult
from tests.quiet import hush
from tests.scripted_compute import Act
from tests.workflows.harness import PARIS, ZONES, Stage, staged, time_skipping
from workflows.job import CarbonAwareJob

DEFERRAL = timedelta(hours=8)
RUN = timedelta(hours=2)
SUCCESS = Act(after=RUN, queued=timedelta(minutes=1))
RECLAIM = Act(ends=RunState.RECLAIMED, after=RUN / 2, queued=timedelta(minutes=1))

NAIVE_QUEUE = "naive-jobs"

BILLED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: "start",
    EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED: "activity",
    EventType.EVENT_TYPE_TIMER_STARTED: "timer",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: "signal",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "update",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "search attributes",
}


@dataclass(frozen=True)
class Figures:
    """What one execution cost."""

    actions: Counter[str]
    events: int
    size_bytes: int


def figures(history: WorkflowHistory) -> Figures:
    """Count a whole history. An activity is billed for each of its attempts."""
    actions: Counter[str] = Counter()
    for event in history.events:
        if kind := BILLED.get(event.event_type):
            actions[kind] += event.activity_task_started_event_attributes.attempt or 1
    size_bytes = sum(event.ByteSize() for event in history.events)
    return Figures(actions, len(history.events), size_bytes)


@asynccontextmanager
async def cleanest_later(*acts: Act) -> AsyncIterator[Stage]:
    """A stage where it is clean in Paris after ``DEFERRAL``, for as long as a run takes."""
    with tempfile.TemporaryDirectory() as state_dir:
        async with time_skipping() as env, staged(env, Path(state_dir)) as stage:
            clean = stage.start + DEFERRAL

            def curve(hour: datetime) -> float:
                return 10.0 if clean <= hour < clean + RUN else 500.0

            stage.grid.set(ZONES[PARIS], curve)
            stage.compute.acts = acts
            yield stage


async def ours(*acts: Act) -> Figures:
    """The product's job, submitted as the SDK does: a start, and an update for the first plan."""
    async with cleanest_later(*acts) as stage:
        job = await stage.submit(stage.manifest(runtime=RUN, p95_runtime=RUN * 1.25))
        await job.execute_update(CarbonAwareJob.admitted)
        require_deferred(stage, await job.result(), len(acts))
        return figures(await job.fetch_history())


async def naive(*acts: Act) -> Figures:
    """The poll loop."""
    async with cleanest_later(*acts) as stage:
        stage.compute.news_is_lost = True
        async with Worker(stage.client, task_queue=NAIVE_QUEUE, workflows=[NaiveJob]):
            manifest = stage.manifest(runtime=RUN, p95_runtime=RUN * 1.25)
            job = await stage.client.start_workflow(
                NaiveJob.run, JobInput(manifest), id=manifest.workflow_id, task_queue=NAIVE_QUEUE
            )
            require_deferred(stage, await job.result(), len(acts))
            return figures(await job.fetch_history())


def require_deferred(stage: Stage, result: JobResult, runs: int) -> None:
    """Stop where a job took another way than the one that the figures are about."""
    began = min(stage.compute.submitted_at.values())
    waited = began - stage.start
    # Clean hours are full hours, and each way has some minutes of its own until it starts.
    around = timedelta(minutes=75)
    if result.attempts != runs or abs(waited - DEFERRAL) > around:
        raise RuntimeError(f"{result.attempts} runs, the first after {waited}")


def show(title: str, lowtide: Figures, loop: Figures) -> None:
    """Print one comparison."""
    print(title)
    print(f"  {'':14}{'actions':>9}{'events':>9}{'KiB':>9}")
    for name, found in (("Lowtide", lowtide), ("poll loop", loop)):
        size_kib = found.size_bytes / 1024
        print(f"  {name:14}{found.actions.total():9}{found.events:9}{size_kib:9.1f}")
    print(
        f"  {'poll loop : 1':14}{loop.actions.total() / lowtide.actions.total():9.1f}"
        f"{loop.events / lowtide.events:9.1f}{loop.size_bytes / lowtide.size_bytes:9.1f}"
    )
    print(f"  Lowtide's actions: {', '.join(f'{n} {kind}' for kind, n in lowtide.actions.items())}")


async def measure() -> None:
    """Run both jobs, undisturbed and with a reclaim."""
    hour = timedelta(hours=1)
    hours = f"deferred {DEFERRAL // hour} h to the next clean hour, run {RUN // hour} h"
    show(f"{hours}:", await ours(SUCCESS), await naive(SUCCESS))
    acts = (RECLAIM, SUCCESS)
    show(f"{hours}, reclaimed once half-way:", await ours(*acts), await naive(*acts))
    # A client that is taken down with the event loop may abort the process.
    await asyncio.sleep(0.1)


def main() -> None:
    """Print the figures."""
    hush()
    asyncio.run(measure())
