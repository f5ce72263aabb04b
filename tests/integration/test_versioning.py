"""Worker versioning on the real dev server: who moves to a new build, and who stays.

Time cannot be skipped here, and need not: a look comes by signal, as after a change of policy.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from domain.job import Outcome, Phase
from domain.ledger import EventKind
from domain.messages import OverrideKind, OverrideRequest
from domain.ports import ChangeBatch
from domain.steps import Queue
from tests.replay.scenario import Execution, continued, impatient, reclaimed_and_deferred
from tests.scripted_compute import Act, ScriptedCompute
from tests.workflows.grid import HOUR
from tests.workflows.harness import FRANKFURT, PARIS, STOCKHOLM, WITHIN_S, ZONES, Stage, staged
from workers.devserver import dev_server
from workers.process import running
from workers.registration import register_search_attributes, start_watchers
from workers.sections import WorkerSettings
from workflows import attributes
from workflows.connection import connect
from workflows.job import UPGRADE_AFTER, CarbonAwareJob
from workflows.watch import watch_workflow_id

pytestmark = pytest.mark.slow

DEPLOYMENT = "lowtide"
OLD, NEW = "build-1", "build-2"

Use = Callable[[str], None]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WorkflowEnvironment]:
    async with dev_server(tmp_path / "temporal") as started:
        await register_search_attributes(started.client)
        yield WorkflowEnvironment.from_client(started.client)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Name the build of the workers made from now on, as the Worker Controller does."""
    monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", DEPLOYMENT)
    return lambda build: monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", build)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, asking again and again."""
    async with asyncio.timeout(WITHIN_S):
        while not await holds():
            await asyncio.sleep(0.1)


async def another(client: Client) -> Client:
    """A connection of its own, as each worker process has one."""
    return await connect(client.service_client.config.target_host, client.namespace)


async def make_current(client: Client, build: str) -> None:
    """Make a build the deployment's current one, as soon as the server knows its workers."""

    async def accepted() -> bool:
        try:
            await client.workflow_service.set_worker_deployment_current_version(
                SetWorkerDeploymentCurrentVersionRequest(
                    namespace=client.namespace, deployment_name=DEPLOYMENT, build_id=build
                )
            )
        except RPCError:
            return False
        return True

    await eventually(accepted)


async def builds(client: Client, workflow_id: str, run_id: str | None = None) -> list[str]:
    """Builds that completed a run's workflow tasks, in order, each named once."""
    history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    completed = [
        event.workflow_task_completed_event_attributes.deployment_version.build_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    return list(dict.fromkeys(completed))


async def modes(client: Client, queue: Queue) -> set[bool]:
    """Whether the workers that poll a queue for what it is there for are versioned."""
    found = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=(
                TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
                if queue is Queue.JOBS
                else TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
            ),
        )
    )
    return {
        poller.deployment_options.worker_versioning_mode
        == WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
        for poller in found.pollers
    }


async def run_id_of(job: Execution) -> str:
    return str((await job.describe()).run_id)


class TestDeferredJobs:
    """A deferred job is pinned to its build, unless it waits for more than a day yet."""

    @pytest.fixture
    async def stage(
        self, server: WorkflowEnvironment, use: Use, tmp_path: Path
    ) -> AsyncIterator[Stage]:
        """Workers of both builds, the old one current."""
        use(NEW)
        async with staged(server, tmp_path) as stage:
            use(OLD)
            async with running(await another(server.client), stage.parts):
                await make_current(server.client, OLD)
                stage.compute.acts = (Act(after=timedelta(0)),)
                yield stage
                stage.assert_ledger_holds()

    async def deferred(self, stage: Stage, name: str, hours: int) -> Execution:
        """A job that waits for a clean hour in Paris."""
        clean = stage.at(hours)
        stage.grid.set(ZONES[PARIS], lambda hour: 10.0 if hour <= clean < hour + HOUR else 500.0)
        job = await stage.submit(stage.manifest(timedelta(hours=hours + 8), name=name))
        await stage.until(job, Phase.DEFERRED)
        return job

    async def test_a_long_sleeper_moves_at_a_look_and_a_short_one_stays(self, stage: Stage) -> None:
        """Both look again after the new build became current; one has more than a day to wait."""
        short = await self.deferred(stage, "short", hours=12)
        long = await self.deferred(stage, "long", hours=UPGRADE_AFTER // HOUR + 6)
        began = {job.id: await run_id_of(job) for job in (short, long)}
        await make_current(stage.client, NEW)

        async def moved() -> bool:
            await long.signal("look_again")
            return await run_id_of(long) != began[long.id]

        await eventually(moved)
        await short.signal("look_again")
        await stage.until(
            short, lambda _: stage.events(name="short")[-1].data.get("reason") == "look"
        )
        for job in (short, long):
            await job.signal(OverrideKind.RUN_NOW)
            assert (await job.result()).outcome is Outcome.SUCCEEDED

        assert await builds(stage.client, long.id, began[long.id]) == [OLD]
        assert await builds(stage.client, long.id) == [NEW]
        assert began[short.id] == await run_id_of(short)
        assert await builds(stage.client, short.id) == [OLD]

    async def test_only_workflows_belong_to_the_deployment(self, stage: Stage) -> None:
        """Decisions, dispatches and records stand outside: their fixes reach pinned jobs."""
        versioned: dict[Queue, set[bool]] = {}

        async def all_poll() -> bool:
            for queue in Queue:
                versioned[queue] = await modes(stage.client, queue)
            return all(versioned.values())

        await eventually(all_poll)
        assert versioned == {
            Queue.JOBS: {True},
            Queue.DECISIONS: {False},
            Queue.DISPATCH: {False},
            Queue.URGENT: {False},
            Queue.SIGNALS: {True},
        }


class LastingWatch(ScriptedCompute):
    """Shows signs of life until its worker stops, as a real backend's watch does."""

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        while True:
            yield ChangeBatch((), f"{region} {cursor}"[:20])
            await asyncio.sleep(0.05)


async def test_a_watcher_goes_on_with_the_current_build(
    server: WorkflowEnvironment, use: Use, tmp_path: Path
) -> None:
    """``WatchRegion`` moves with its open run, as soon as the old build's worker lets it go."""
    client = server.client
    watcher = watch_workflow_id("scripted", FRANKFURT)
    use(NEW)
    async with staged(server, tmp_path) as stage:
        grace = WorkerSettings(graceful_shutdown=timedelta(seconds=10))
        parts = replace(
            stage.parts,
            compute=LastingWatch(),
            settings=stage.parts.settings.model_copy(update={"worker": grace}),
        )
        use(OLD)
        async with running(await another(client), parts):
            await make_current(client, OLD)
            await start_watchers(client, {FRANKFURT: "scripted"})
            began = await run_id_of(client.get_workflow_handle(watcher))

            async def watching() -> bool:
                found = await client.get_workflow_handle(watcher).describe()
                return bool(found.raw_description.pending_activities)

            await eventually(watching)
            await make_current(client, NEW)

        async def moved() -> bool:
            return await builds(client, watcher, began) == [OLD, NEW]

        await eventually(moved)


class TestContinueAsNew:
    """An unversioned worker too continues as new, where the server suggests it."""

    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[Stage]:
        async with impatient() as env, staged(env, tmp_path) as stage:
            yield stage
            stage.assert_ledger_holds()

    async def test_a_job_goes_on_with_all_that_it_was(self, stage: Stage) -> None:
        """Attempts, deadline, overrides told, places in the chain and fencing numbers go along."""
        job = await reclaimed_and_deferred(stage)
        before = await job.describe()
        submitted_at = (await job.query(CarbonAwareJob.status)).submitted_at
        told = {"deadline": stage.at(40).isoformat(), "reason": "held up", "actor": "ann"}
        await job.signal(OverrideKind.CHANGE_DEADLINE, told)
        assert before.run_id == await continued(job)

        status = await job.execute_update(CarbonAwareJob.admitted)
        assert (status.attempts, status.reclaims, status.failures) == (1, 1, 0)
        assert (submitted_at, stage.at(40)) == (status.submitted_at, status.deadline)
        assert "change_deadline by ann: held up" in await details(job)
        after = await job.describe()
        assert await before.memo() == await after.memo()
        assert stage.at(40) == after.typed_search_attributes.get(attributes.DEADLINE)

        await job.signal(OverrideKind.RUN_NOW)
        result = await job.result()
        assert (result.outcome, result.attempts, result.reclaims) == (Outcome.SUCCEEDED, 2, 1)
        attempts = stage.events(EventKind.ATTEMPT)
        assert [event.data["attempt"] for event in attempts] == [1, 2]

    async def test_a_cancel_that_comes_during_a_look_is_not_lost(self, stage: Stage) -> None:
        """The next run would know nothing of it, so there is none."""
        job = await reclaimed_and_deferred(stage)
        asked, answer = threading.Event(), threading.Event()

        def slow(_: datetime) -> float:
            asked.set()
            answer.wait(WITHIN_S)
            return 500.0

        stage.grid.set(ZONES[STOCKHOLM], slow)
        await job.signal("look_again")
        assert await asyncio.to_thread(asked.wait, WITHIN_S)
        await job.execute_update(CarbonAwareJob.cancel, OverrideRequest(reason="drill"))
        answer.set()
        with pytest.raises(WorkflowFailureError) as failure:
            await job.result()
        assert isinstance(failure.value.cause, ApplicationError)
        assert f"Job{Outcome.CANCELLED.value}" == failure.value.cause.type
        assert job.first_execution_run_id == await run_id_of(job)


async def details(job: Execution) -> str:
    """Current details, as the Temporal UI asks for them."""
    metadata = await job.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)
