"""What a job costs Temporal, counted from its history, and what it shows of itself there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle

from domain.job import Outcome, Phase, RunState
from domain.steps import Step
from tests.scripted_compute import Act
from tests.workflows.grid import dip
from tests.workflows.harness import FRANKFURT, PARIS, ZONES, Stage

Job = WorkflowHandle[Any, Any]

RECLAIMED = Act(ends=RunState.RECLAIMED, after=timedelta(minutes=10))

MARK = "only-the-manifest-has-this"


async def history(job: Job) -> list[HistoryEvent]:
    return [event async for event in job.fetch_history_events()]


def payloads(message: Message) -> Iterator[Payload]:
    """Every payload in a message, however deep."""
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in _items(field, value):
            yield from payloads(item)


def _items(field: Any, value: Any) -> Iterator[Message]:
    if not field.is_repeated:
        yield value
    elif field.message_type.GetOptions().map_entry:
        yield from (item for item in value.values() if isinstance(item, Message))
    else:
        yield from value


async def run_deferred(stage: Stage, hours: float, *acts: Act, **fields: Any) -> Job:
    stage.grid.set(ZONES[PARIS], dip(stage.at(hours), low=10))
    stage.compute.acts = acts or (Act(),)
    job = await stage.submit(stage.manifest(**fields))
    await job.result()
    return job


class TestSize:
    async def test_a_job_deferred_eight_hours_ends_within_55_events(self, stage: Stage) -> None:
        """One look, one run, its beginning and its end both signalled."""
        job = await run_deferred(stage, 8)
        assert stage.kinds() == ["plan", "look", "dispatch", "attempt", "completion"]
        assert len(await history(job)) <= 55

    async def test_a_job_deferred_a_day_ends_within_85_events(self, stage: Stage) -> None:
        """With its three looks."""
        job = await run_deferred(stage, 25)
        assert stage.kinds().count("look") == 3
        assert len(await history(job)) <= 85

    async def test_each_reclaim_adds_at_most_30_events(self, stage: Stage) -> None:
        """From one submission to the next; the ends are signalled like any other."""
        stage.compute.acts = (RECLAIMED, RECLAIMED, RECLAIMED, Act())
        job = await stage.submit()
        assert (await job.result()).reclaims == 3
        submissions = [
            event.event_id
            for event in await history(job)
            if event.activity_task_scheduled_event_attributes.activity_type.name
            == Step.DISPATCH_RUN
        ]
        assert len(submissions) == 4
        assert max(after - before for before, after in pairwise(submissions)) <= 30

    async def test_payloads_are_small_and_the_manifest_stands_there_once(
        self, stage: Stage
    ) -> None:
        """Series, prices and manifests travel by hash; a large manifest shows it."""
        job = await run_deferred(
            stage,
            25,
            *(RECLAIMED, Act()),
            environment={f"SETTING_{number}": f"{MARK}-{number:0200}" for number in range(80)},
        )
        found = [item for event in await history(job) for item in payloads(event)]
        manifests = [item for item in found if MARK.encode() in item.data]
        assert len(manifests) == 1
        assert max(len(item.data) for item in found if item not in manifests) <= 4096

    async def test_summaries_fit_into_200_bytes(self, stage: Stage) -> None:
        """However long a reason is, and in whatever script."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(25), low=10))
        name = "n" * 48
        job = await stage.submit(stage.manifest(name=name, tenant="t" * 32, job_class="c" * 48))
        await stage.skip_to(stage.at(25, minutes=20))
        await stage.until(job, Phase.RUNNING)
        await stage.sdk(job).cancel("安全" * 500, actor="ops")
        assert (await stage.ended(job)).outcome is Outcome.CANCELLED

        summaries = [
            event.user_metadata.summary.data
            for event in await history(job)
            if event.user_metadata.HasField("summary")
        ]
        assert any(data.startswith(b'"stop: cancelled by ops: ') for data in summaries)
        assert any(data.startswith(b'"until ') for data in summaries)
        assert max(map(len, summaries)) <= 200


async def attributes(job: Job) -> dict[str, Any]:
    found = (await job.describe()).typed_search_attributes
    return {pair.key.name: pair.value for pair in found.search_attributes}


async def details(job: Job) -> str:
    metadata = await job.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details


class TestSearchAttributes:
    async def test_they_tell_where_a_job_stands_in_every_phase(self, stage: Stage) -> None:
        """Planning to Finished, with the region out of reach for a moment."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(8), low=10))
        stage.compute.acts = (Act(queued=timedelta(minutes=10)),)
        stage.grid.broken = True
        job = await stage.submit()

        await stage.until(job, Phase.PLANNING)
        known = {
            "Phase": "Planning",
            "JobClass": "batch",
            "Tenant": "default",
            "Urgency": "flexible",
            "Deadline": stage.at(30),
        }
        assert await attributes(job) == known

        stage.grid.broken = False
        await stage.until(job, Phase.DEFERRED)
        deferred = await attributes(job)
        known |= {
            "Phase": "Deferred",
            "Region": PARIS,
            "CapacityType": "spot",
            "PlannedStart": stage.at(8),
            "CarbonPlanned": pytest.approx(0.85, abs=0.1),
            "AvoidedGrams": pytest.approx(9.1, abs=0.1),
        }
        assert deferred == known

        stage.compute.down = {PARIS}
        await stage.skip_to(stage.at(8, minutes=12))
        await stage.until(job, Phase.DISPATCHING)
        dispatching = await attributes(job)
        assert stage.at(8) <= dispatching["PlannedStart"] <= stage.at(8, minutes=11)
        known |= {
            "Phase": "Dispatching",
            "PlannedStart": dispatching["PlannedStart"],
            "CarbonPlanned": pytest.approx(1.7, abs=0.1),
            "AvoidedGrams": pytest.approx(8.2, abs=0.1),
        }
        assert dispatching == known

        stage.compute.down.clear()
        await stage.skip_to(stage.at(8, minutes=14))
        await stage.until(job, Phase.QUEUED)
        assert await attributes(job) == {**known, "Phase": "Queued"}
        await stage.skip_to(stage.at(8, minutes=26))
        await stage.until(job, Phase.RUNNING)
        assert await attributes(job) == {**known, "Phase": "Running"}
        assert (await job.result()).outcome is Outcome.SUCCEEDED
        assert await attributes(job) == {**known, "Phase": "Finished", "Outcome": "Succeeded"}

    async def test_they_follow_overrides_and_the_end(self, stage: Stage) -> None:
        """A new deadline, a cancel that cannot be confirmed yet, and the outcome."""
        job = await stage.submit(stage.manifest(flexibility="urgent"))
        await stage.until(job, Phase.RUNNING)
        await stage.sdk(job).change_deadline(stage.at(12), "sooner")
        stage.compute.down.update(ZONES)
        await stage.sdk(job).cancel("not needed")
        await stage.until(job, Phase.STOPPING)
        seen = await attributes(job)
        assert (seen["Phase"], seen["Urgency"]) == ("Stopping", "urgent")
        assert seen["Deadline"] == stage.at(12)
        stage.compute.down.clear()
        await stage.ended(job)
        seen = await attributes(job)
        assert (seen["Phase"], seen["Outcome"]) == ("Finished", "Cancelled")


class TestDetails:
    async def test_they_tell_where_when_and_why(self, stage: Stage) -> None:
        """In Markdown, for the Temporal UI."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(8), low=10))
        job = await stage.submit()
        await stage.until(job, Phase.DEFERRED)
        shown = await details(job)
        assert shown.startswith("### Deferred\n")
        assert f"| where | `{PARIS}` spot |" in shown
        assert f"| start | {stage.at(8):%d %b %H:%M:%S}Z |" in shown
        assert f"% less average carbon than {FRANKFURT} at submission" in shown

    async def test_a_deadline_at_risk_is_in_bold(self, stage: Stage) -> None:
        """Nobody has to reckon."""
        job = await stage.submit(stage.manifest(timedelta(hours=1)))
        await stage.until(job, Phase.RUNNING)
        assert "**At risk: even started at once" in await details(job)
