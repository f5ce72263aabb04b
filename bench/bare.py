"""The skeleton of a deferred job: its steps, timers, signals and upserts, with empty bodies.

What is left is what Temporal and its SDK cost; the product's job is measured against it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.worker import Worker

PHASE = SearchAttributeKey.for_keyword("Phase")
JOBS, DECISIONS, RUNS = "bare-jobs", "bare-decisions", "bare-runs"
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=500))
NEWS_OF_A_RUN = ("Queued", "Running")
"""The phase in which each news is waited for: that the run began, and that it ended."""


@workflow.defn(name="BareJob")
class BareJob:
    """Plan, defer, decide, dispatch, watch, finish, all in name only."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._planned = False
        self._released = False
        self._news = 0

    @workflow.run
    async def run(self) -> None:
        """Go through a job's life."""
        await self._step("bare_admit", DECISIONS)
        self._planned = True
        self._show("Deferred")
        await workflow.wait_condition(lambda: self._released, timeout=timedelta(hours=20))
        await self._step("bare_choose", DECISIONS)
        self._show("Dispatching")
        await self._step("bare_dispatch", RUNS)
        while self._news < len(NEWS_OF_A_RUN):
            seen = self._news
            self._show(NEWS_OF_A_RUN[seen])
            await workflow.wait_condition(
                lambda seen=seen: self._news > seen,  # type: ignore[misc]
                timeout=timedelta(hours=2),
            )
        await self._step("bare_finish", DECISIONS)
        self._show("Finished")

    @workflow.update
    async def admitted(self) -> None:
        """Wait for the first plan."""
        await workflow.wait_condition(lambda: self._planned)

    @workflow.signal
    def run_now(self) -> None:
        """End the deferral."""
        self._released = True

    @workflow.signal
    def run_changed(self) -> None:
        """News of the run."""
        self._news += 1

    async def _step(self, name: str, queue: str) -> None:
        await workflow.execute_activity(
            name,
            task_queue=queue,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RETRY,
        )

    def _show(self, phase: str) -> None:
        workflow.upsert_search_attributes([PHASE.value_set(phase)])


@dataclass
class BareSteps:
    """Empty activities; a dispatch is heard of, as the product's null compute hears of it."""

    dispatched: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    @activity.defn(name="bare_admit")
    async def admit(self) -> None:
        """Nothing."""

    @activity.defn(name="bare_choose")
    async def choose(self) -> None:
        """Nothing."""

    @activity.defn(name="bare_dispatch")
    async def dispatch(self) -> None:
        """Nothing, but that news of it will come."""
        self.dispatched.put_nowait(activity.info().workflow_id or "")

    @activity.defn(name="bare_finish")
    async def finish(self) -> None:
        """Nothing."""


def bare_workers(client: Client, steps: BareSteps, cached: int, at_once: int) -> list[Worker]:
    """A worker for each kind of queue, as the product has them."""
    decisions = [steps.admit, steps.choose, steps.finish]
    return [
        Worker(client, task_queue=JOBS, workflows=[BareJob], max_cached_workflows=cached),
        Worker(
            client, task_queue=DECISIONS, activities=decisions, max_concurrent_activities=at_once
        ),
        Worker(
            client, task_queue=RUNS, activities=[steps.dispatch], max_concurrent_activities=at_once
        ),
    ]
