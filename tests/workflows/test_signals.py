"""Signals as anyone may send them: whatever comes in, the job says so and goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus as Status
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import CancelledError

from clients.errors import OverrideRefused
from domain.job import Outcome, Phase
from domain.ledger import EventKind
from domain.manifest import Flexibility
from domain.messages import OverrideKind
from tests.scripted_compute import Act
from tests.workflows.grid import dip
from tests.workflows.harness import PARIS, WITHIN_S, ZONES, Stage

Job = WorkflowHandle[Any, Any]


def json_payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


async def send(stage: Stage, job: Job, signal: str, *inputs: Payload) -> None:
    """A signal, byte for byte, as any client of Temporal can send it."""
    await stage.client.workflow_service.signal_workflow_execution(
        SignalWorkflowExecutionRequest(
            namespace=stage.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=job.id),
            signal_name=signal,
            input=Payloads(payloads=inputs) if inputs else None,
        )
    )


async def details(job: Job) -> str:
    """What the Temporal UI shows of the job."""
    metadata = await job.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details


async def deferred(stage: Stage) -> Job:
    stage.grid.set(ZONES[PARIS], dip(stage.at(5), low=10))
    job = await stage.submit()
    await stage.until(job, Phase.DEFERRED)
    return job


MALFORMED: list[tuple[str, list[Payload], str]] = [
    ("run_now", [json_payload('{"reason"')], "not JSON: '{\"reason\"'"),
    ("run_now", [json_payload("now!")], "not JSON: 'now!'"),
    ("run_now", [Payload(metadata={"encoding": b"x/y"}, data=b"\xff\x00")], "not JSON: "),
    ("run_now", [Payload(data=b"bare")], "not JSON: 'bare'"),
    ("run_now", [json_payload("[1, 2]")], "not an object"),
    ("run_now", [json_payload('{"reason": 3}')], "reason: 3: Input should be a valid string"),
    ("cancel", [json_payload('{"actor": {"name": "ops"}}')], "actor: {'name': 'ops'}"),
    ("cancel", [json_payload("{}"), json_payload("{}")], "2 inputs: one JSON object is taken"),
    ("cancel", [json_payload("x"), json_payload("y")], "2 inputs: one JSON object is taken"),
    ("change_deadline", [], "deadline: nothing was given"),
    ("change_deadline", [json_payload("{}")], "deadline: nothing was given"),
    ("change_deadline", [json_payload('{"deadline": "soon"}')], "deadline: 'soon'"),
    (
        "change_deadline",
        [json_payload('{"deadline": "2099-01-01T00:00:00"}')],
        "deadline: '2099-01-01T00:00:00': Input should have timezone info",
    ),
    ("change_deadline", [json_payload('{"deadline": "2020-01-01T00:00:00Z"}')], "is not after now"),
]
"""Signal, inputs, and what the job says of them."""


class TestMalformed:
    async def test_it_is_recorded_as_refused_and_shown(self, stage: Stage) -> None:
        """Neither dropped nor fatal: the job sleeps on and runs where it was planned."""
        job = await deferred(stage)
        for signal, inputs, why in MALFORMED:
            await send(stage, job, signal, *inputs)
            shown = (await details(job)).splitlines()[-1]
            assert f" {signal}: refused: " in shown
            assert why in shown

        result = await job.result()

        assert result.region == PARIS
        refused = [f"{signal} refused" for signal, _, _ in MALFORMED]
        assert stage.kinds() == ["plan", *refused, "look", "dispatch", "attempt", "completion"]
        records = stage.events(EventKind.OVERRIDE)
        for record, (_, _, why) in zip(records, MALFORMED, strict=True):
            assert why in record.data["refused"]

    async def test_no_other_signal_stops_a_job(self, stage: Stage) -> None:
        """Input too much or too little, or a name that means nothing."""
        job = await deferred(stage)
        await send(stage, job, "run_changed")
        await send(stage, job, "run_changed", json_payload('{"run": 1}'))
        await send(stage, job, "run_changed", json_payload("{}"), json_payload("{}"))
        await send(stage, job, "look_again", json_payload('{"reason": "new policy"}'))
        await send(stage, job, "run_nwo", json_payload("{}"))
        assert (await job.result()).region == PARIS
        assert stage.kinds() == ["plan", "look", "look", "dispatch", "attempt", "completion"]

    async def test_an_update_that_cannot_be_read_is_refused_to_its_caller(
        self, stage: Stage
    ) -> None:
        """And the job goes on as it was planned."""
        job = await deferred(stage)
        for kind in OverrideKind:
            for inputs in ([], ["soon"], [{}, {}], [{"reason": 3}]):
                with pytest.raises(WorkflowUpdateFailedError):
                    await job.execute_update(kind.value, args=inputs)
        assert (await job.result()).region == PARIS
        assert stage.kinds() == ["plan", "look", "dispatch", "attempt", "completion"]

    async def test_an_update_with_a_deadline_in_the_past_is_refused(self, stage: Stage) -> None:
        """To its caller, and the ledger has nothing of it."""
        job = await deferred(stage)
        with pytest.raises(OverrideRefused, match="is not after now"):
            await stage.sdk(job).change_deadline(stage.at(-1), "too late")
        assert stage.kinds() == ["plan"]


class TestInput:
    async def test_run_now_needs_none(self, stage: Stage) -> None:
        """``temporal workflow signal --name run_now`` is enough, with nothing of ours at hand."""
        job = await deferred(stage)
        await send(stage, job, "run_now")
        await job.result()
        assert stage.kinds() == ["plan", "run_now", "override", "dispatch", "attempt", "completion"]
        assert stage.events(EventKind.DISPATCH)[0].recorded_at < stage.at(1)

    async def test_null_is_no_input(self, stage: Stage) -> None:
        """As other SDKs send where nothing is given."""
        job = await deferred(stage)
        await send(stage, job, "run_now", json_payload("null"))
        await job.result()
        [record] = stage.events(EventKind.OVERRIDE)
        assert record.data["refused"] is None

    async def test_fields_of_a_later_release_are_passed_over(self, stage: Stage) -> None:
        """The object may grow; what is known of it counts."""
        job = await deferred(stage)
        await send(stage, job, "run_now", json_payload('{"reason": "drill", "grant": "x"}'))
        await job.result()
        [record] = stage.events(EventKind.OVERRIDE)
        assert (record.data["reason"], record.data["refused"]) == ("drill", None)

    async def test_a_signal_that_comes_with_the_start_is_heard(self, stage: Stage) -> None:
        """Sent before any worker has seen the job."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(20), low=10))
        job = await stage.submit(start_signal=OverrideKind.CANCEL.value)
        result = await stage.ended(job)
        assert result.outcome is Outcome.CANCELLED
        assert stage.kinds() == ["plan", "cancel", "completion"]


@asynccontextmanager
async def writing_is_blocked(stage: Stage) -> AsyncIterator[None]:
    """Another process holds the store's write lock."""
    other = sqlite3.connect(stage.parts.settings.database, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


async def taking_step(job: Job, step: str) -> None:
    """Wait until an activity of the job is under way."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = (await job.describe()).raw_description.pending_activities
            if step in {item.activity_type.name for item in found}:
                return
            await asyncio.sleep(0.02)


async def test_overrides_that_come_while_the_end_is_recorded_are_refused(stage: Stage) -> None:
    """They come too late to have an effect: they say so, and stand after the completion."""
    stage.compute.acts = (Act(after=timedelta(seconds=1)),)
    job = await stage.submit(stage.manifest(flexibility=Flexibility.URGENT))
    await stage.until(job, Phase.RUNNING)
    asked = json_payload(f'{{"deadline": "{stage.at(20).isoformat()}"}}')
    async with writing_is_blocked(stage):
        await taking_step(job, "finish_job")
        for kind in OverrideKind:
            await send(stage, job, kind.value, asked)
            assert f"{kind.value}: no effect on a job that is Finished" in await details(job)

    result = await job.result()

    assert result.outcome is Outcome.SUCCEEDED
    refused = [f"{kind.value} refused" for kind in OverrideKind]
    assert stage.kinds() == ["plan", "dispatch", "attempt", "completion", *refused]


class TestTemporalsOwnCancel:
    async def test_a_running_job_is_stopped_confirmed_and_recorded(self, stage: Stage) -> None:
        """The UI's Cancel does what ours does, and the workflow closes as Canceled."""
        job = await stage.submit(stage.manifest(flexibility=Flexibility.URGENT))
        await stage.until(job, Phase.RUNNING)
        await job.cancel()

        with pytest.raises(WorkflowFailureError) as raised:
            await job.result()

        assert isinstance(raised.value.cause, CancelledError)
        assert (await job.describe()).status is Status.CANCELED
        assert stage.kinds() == ["plan", "dispatch", "attempt", "cancel", "completion"]
        assert stage.events(EventKind.ATTEMPT)[0].data["report"]["state"] == "terminated"
        assert list(stage.compute.terminated) == list(stage.compute.submitted_at)
        assert stage.events(EventKind.OVERRIDE)[0].data["reason"] == "cancelled in Temporal"
        assert stage.events(EventKind.COMPLETION)[0].data["outcome"] == Outcome.CANCELLED

    async def test_a_deferred_job_ends_without_a_run(self, stage: Stage) -> None:
        """The SDK tells the outcome all the same."""
        job = await deferred(stage)
        await job.cancel()
        result = await stage.ended(job)
        assert (result.outcome, result.attempts) == (Outcome.CANCELLED, 0)
        assert stage.kinds() == ["plan", "cancel", "completion"]
        assert (await job.describe()).status is Status.CANCELED

    async def test_a_run_that_succeeded_before_it_was_stopped_counts(self, stage: Stage) -> None:
        """Its result is there: the job has succeeded, and says that the cancel came."""
        stage.compute.acts = (Act(after=timedelta(seconds=1)),)
        stage.compute.news_is_lost = True
        job = await stage.submit(stage.manifest(flexibility=Flexibility.URGENT))
        await stage.until(job, Phase.QUEUED)
        await stage.skip_to(stage.at(1))
        await job.cancel()

        result = await job.result()

        assert result.outcome is Outcome.SUCCEEDED
        assert (await job.describe()).status is Status.COMPLETED
        assert stage.kinds() == ["plan", "dispatch", "attempt", "cancel", "completion"]
