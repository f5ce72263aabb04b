"""Bulk watching on the real server: news of runs reaches jobs, and the watch never ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Worker

from activities.watch import Watch
from domain.job import Outcome, Phase
from domain.messages import WatchInput
from domain.ports import ChangeBatch
from domain.steps import Queue
from tests.integration.stack import FRANKFURT, Stack, eventually, until
from workers.devserver import dev_server
from workflows.watch import ROUNDS_A_RUN, WatchRegion, watch_workflow_id


def patient() -> dict[str, object]:
    """A job whose own poll for lost news is hours away."""
    return {
        "flexibility": "urgent",
        "runtime": "1h",
        "p95_runtime": "2h",
        "max_runtime": "3h",
        "deadline": datetime.now(UTC) + timedelta(hours=9),
    }


async def test_news_reaches_a_job_that_does_not_ask(tmp_path: Path) -> None:
    """That its run began, and how it ended, while its own poll is hours away."""
    async with Stack(tmp_path) as stack:
        await stack.start_worker()
        script = until(tmp_path / "go")
        well, ill = await stack.submitted(
            stack.manifest("well", script, **patient()),
            stack.manifest("ill", f"{script}; exit 3", **patient()),
        )
        for job in (well, ill):
            await stack.in_phase(job, Phase.RUNNING)
            assert (await job.status()).started_at is not None
        (tmp_path / "go").touch()
        outcomes = [(await job.wait()).outcome for job in (well, ill)]
        assert outcomes == [Outcome.SUCCEEDED, Outcome.FAILED]
        for job in (well, ill):
            assert await stack.tries(job, "describe_run") == []


@pytest.mark.slow
async def test_a_watch_goes_on_after_its_worker_was_killed(tmp_path: Path) -> None:
    """Temporal gives it to another worker, which tells what happened meanwhile."""
    async with Stack(tmp_path) as stack:
        await stack.start_worker()
        script = until(tmp_path / "go")
        [job] = await stack.submitted(stack.manifest("away", script, **patient()))
        await stack.in_phase(job, Phase.RUNNING)
        watcher = stack.client.temporal.get_workflow_handle(watch_workflow_id("local", FRANKFURT))
        before = await watcher.describe()
        stack.kill_worker()
        (tmp_path / "go").touch()

        async def run_ended() -> bool:
            return stack.supervisors() == []

        await eventually(run_ended)
        await stack.start_worker()
        await stack.ended(job)
        stack.assert_each_succeeded_once(1)
        assert await stack.tries(job, "describe_run") == []
        assert before.run_id == (await watcher.describe()).run_id


# ── with a backend that keeps a cursor ───────────────────────────────────────────────────────


@dataclass
class Counting:
    """A backend whose cursor is the number of batches that it has given."""

    short: int = 0
    """How many watches end after one batch; the later ones go on."""
    fails: list[int] = field(default_factory=list)
    """Cursors at which it is out of reach, once each."""
    asked: list[str | None] = field(default_factory=list)
    """The cursors from which it was asked to go on."""

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        del region
        self.asked.append(cursor)
        given, ends = int(cursor or 0), len(self.asked) <= self.short
        while True:
            given += 1
            yield ChangeBatch((), str(given))
            if ends:
                return
            if given in self.fails:
                self.fails.remove(given)
                raise ConnectionError("the region is out of reach")
            await asyncio.sleep(0.05)  # as a scan's pause


@pytest.fixture
async def temporal(tmp_path: Path) -> AsyncIterator[Client]:
    async with dev_server(tmp_path / "temporal") as server:
        yield server.client


async def watching(client: Client, cursor: str | None = None) -> None:
    await client.start_workflow(
        WatchRegion.run,
        WatchInput(backend="counting", region=FRANKFURT, cursor=cursor),
        id=watch_workflow_id("counting", FRANKFURT),
        task_queue=Queue.SIGNALS,
    )


def worker(client: Client, backend: Counting) -> Worker:
    return Worker(
        client,
        task_queue=Queue.SIGNALS,
        workflows=[WatchRegion],
        activities=[Watch(backend, client).watch_region],
    )


async def test_a_watch_that_failed_goes_on_from_its_last_heartbeat(temporal: Client) -> None:
    """What it had passed on is not asked for again, however often the region is out of reach."""
    backend = Counting(fails=[3, 5])

    async def asked_again() -> bool:
        return len(backend.asked) == 3

    async with worker(temporal, backend):
        await watching(temporal)
        await eventually(asked_again)
    assert backend.asked == [None, "3", "5"]


async def test_a_watch_continues_as_new_where_it_was(temporal: Client) -> None:
    """Its history stays short, and its cursor crosses over."""
    backend = Counting(short=ROUNDS_A_RUN + 5)
    handle = temporal.get_workflow_handle(watch_workflow_id("counting", FRANKFURT))

    async def went_on() -> bool:
        return len(backend.asked) > ROUNDS_A_RUN + 5

    async with worker(temporal, backend):
        await watching(temporal)
        first = await handle.describe()
        await eventually(went_on)
    assert [None, *map(str, range(1, ROUNDS_A_RUN + 5))] == backend.asked[: ROUNDS_A_RUN + 5]
    second = await handle.describe()
    assert second.run_id != first.run_id
    old = temporal.get_workflow_handle(handle.id, run_id=first.run_id)
    assert WorkflowExecutionStatus.CONTINUED_AS_NEW is (await old.describe()).status
