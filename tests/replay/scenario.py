"""What scenarios are made of: the register, the ways of runs, and how to bring a job somewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from domain.job import Blocked, Phase, RunState
from tests.scripted_compute import Act
from tests.workflows.grid import dip
from tests.workflows.harness import PARIS, WITHIN_S, ZONES, Stage, real_time, time_skipping

Execution = WorkflowHandle[Any, Any]
Run = Callable[[Stage], Awaitable[list[Execution]]]
Environment = Callable[[], AbstractAsyncContextManager[WorkflowEnvironment]]

QUEUED = timedelta(minutes=1)
"""Before a run begins: its news never races the answer to its submission, so that a branch leaves
the same history each time."""

SUCCEEDED = Act(queued=QUEUED)
RECLAIMED = Act(ends=RunState.RECLAIMED, after=timedelta(minutes=10), queued=QUEUED)
RECLAIMED_SOON = Act(ends=RunState.RECLAIMED, after=timedelta(seconds=2))
BLOCKED = Act(queued=timedelta(days=9), blocked=Blocked.MISCONFIGURED)
FAILED = Act(ends=RunState.FAILED, exit_code=3, queued=QUEUED)
LONG = Act(after=timedelta(hours=3), queued=QUEUED)
KEEPS = Act(after=timedelta(hours=3), queued=QUEUED, stopped_with=143)
KEPT = Act(ends=RunState.RECLAIMED, after=timedelta(minutes=20), queued=QUEUED, exit_code=143)

CHUNKED: dict[str, Any] = {
    "runtime": "100m",
    "interruptible": {"checkpoint": True, "min_chunk": "30m", "resume_overhead": "5m"},
}

SUGGESTED_AT = 30
"""Events after which a scenario's server suggests to continue as new."""


@dataclass(frozen=True)
class Scenario:
    """How to come through one branch, and on which server."""

    run: Run
    environment: Environment


SCENARIOS: dict[str, Scenario] = {}
"""By branch, which is the name of the recorded file."""


def scenario(environment: Environment = time_skipping) -> Callable[[Run], Run]:
    """Enter a scenario under its function's name."""

    def enter(run: Run) -> Run:
        SCENARIOS[run.__name__.replace("_", "-")] = Scenario(run, environment)
        return run

    return enter


async def ended(execution: Execution) -> list[Execution]:
    """Wait for the end, whatever it is."""
    with suppress(WorkflowFailureError):
        await execution.result()
    return [execution]


async def deferring(stage: Stage, hours: float = 8, **fields: Any) -> Execution:
    """A job that waits for a clean hour in Paris."""
    stage.grid.set(ZONES[PARIS], dip(stage.at(hours), low=10))
    job = await stage.submit(stage.manifest(**fields))
    await stage.until(job, Phase.DEFERRED)
    return job


async def chunked(stage: Stage) -> Execution:
    """A job that waits for two clean hours in Paris, hours apart."""
    clean = stage.at(4), stage.at(9)
    stage.grid.set(ZONES[PARIS], lambda hour: 10.0 if hour in clean else 500.0)
    job = await stage.submit(stage.manifest(**CHUNKED))
    await stage.until(job, Phase.DEFERRED)
    return job


async def running(stage: Stage, **fields: Any) -> Execution:
    """A job whose run has begun."""
    job = await stage.submit(stage.manifest(**fields))
    await stage.skip_to(stage.start + 2 * QUEUED)
    await stage.until(job, Phase.RUNNING)
    return job


def impatient() -> AbstractAsyncContextManager[WorkflowEnvironment]:
    """A dev server that suggests to continue as new after few events."""
    return real_time(
        "--dynamic-config-value", f"limit.historyCount.suggestContinueAsNew={SUGGESTED_AT}"
    )


async def reclaimed_and_deferred(stage: Stage) -> Execution:
    """A job that lost its first run and waits for a clean hour a day ahead."""
    stage.compute.acts = (RECLAIMED_SOON, Act(after=timedelta(0)))
    job = await stage.submit()
    await stage.until(job, Phase.RUNNING)
    stage.grid.set(ZONES[PARIS], dip(stage.at(20), low=10))
    await stage.until(job, Phase.DEFERRED)
    return job


async def continued(job: Execution) -> str:
    """Wait until the first run has continued as new, and return that run's id."""
    first = job.first_execution_run_id
    assert first is not None
    async with asyncio.timeout(WITHIN_S):
        while (await job.describe()).run_id == first:
            await asyncio.sleep(0.05)
    return first
