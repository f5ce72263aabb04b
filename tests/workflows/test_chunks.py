"""Interruptible jobs: cut at the ends of clean hours, resumed, reclaimed, hurried and cancelled.

Paris is clean from 4:00 to 5:00 and from 9:00 to 10:00. The job works for 100 minutes: 55 fit into
its first clean hour behind 5 minutes of start-up, 50 into the second behind 5 more of resuming.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from domain.capacity import CapacityType
from domain.job import Outcome, Phase, RunState, run_name
from domain.ledger import EventKind
from domain.messages import OverrideKind, OverrideRequest
from domain.room import hour_of
from tests.scripted_compute import Act
from tests.workflows.harness import PARIS, STOCKHOLM, ZONES, Stage
from workflows import narrate

Job = WorkflowHandle[Any, Any]

MINUTE = timedelta(minutes=1)
AGAIN = ["dispatch", "attempt"]
CHUNKED = {
    "runtime": "100m",
    "p95_runtime": "2h",
    "interruptible": {"checkpoint": True, "min_chunk": "30m", "resume_overhead": "5m"},
}
KEEPS = Act(after=timedelta(hours=3), stopped_with=143)
"""It would go on for long; told to end, it writes its checkpoint."""
ENDS = Act(after=timedelta(minutes=50))


def clean_at(*hours: datetime) -> Callable[[datetime], float]:
    return lambda hour: 10.0 if hour in hours else 500.0


@pytest.fixture
def chunked(stage: Stage) -> Stage:
    stage.grid.set(ZONES[PARIS], clean_at(stage.at(4), stage.at(9)))
    stage.compute.acts = (KEEPS, ENDS)
    return stage


async def submitted(stage: Stage, **fields: Any) -> Job:
    return await stage.submit(stage.manifest(**CHUNKED | fields))


async def in_first_chunk(stage: Stage, **fields: Any) -> Job:
    """Its first run has begun, and its second chunk is planned for 9:00."""
    job = await submitted(stage, **fields)
    await stage.until(job, Phase.DEFERRED)
    await stage.skip_to(stage.at(4, 20))
    await stage.until(job, Phase.RUNNING)
    return job


async def between_chunks(stage: Stage, **fields: Any) -> Job:
    """Its first chunk is over."""
    job = await in_first_chunk(stage, **fields)
    await stage.skip_to(stage.at(5, 1))
    await stage.until(job, lambda status: status.segment == 1 and status.phase is Phase.DEFERRED)
    return job


def decisions(stage: Stage, reason: str) -> list[dict[str, Any]]:
    return [
        event.data for event in stage.events(EventKind.DECISION) if event.data["reason"] == reason
    ]


def ran(stage: Stage, attempt: int) -> timedelta:
    [report] = [
        event.data["report"]
        for event in stage.events(EventKind.ATTEMPT)
        if event.data["attempt"] == attempt
    ]
    return datetime.fromisoformat(report["ended_at"]) - datetime.fromisoformat(report["started_at"])


def dispatched(stage: Stage) -> list[tuple[str, datetime]]:
    return [
        (event.data["cell"]["region"], event.recorded_at)
        for event in stage.events(EventKind.DISPATCH)
    ]


class TestCut:
    async def test_it_works_in_the_clean_hours_alone(self, chunked: Stage) -> None:
        """Stopped at 5:00, resumed at 9:00 with what is left, in one region."""
        result = await chunked.ended(await submitted(chunked))

        assert chunked.kinds() == [
            *("plan", "look", *AGAIN, "resume", "look", *AGAIN, "completion")
        ]
        assert (result.outcome, result.attempts, result.reclaims) == (Outcome.SUCCEEDED, 2, 0)
        [(first, at_first), (second, at_second)] = dispatched(chunked)
        assert first == second == PARIS
        assert chunked.at(4) <= at_first < chunked.at(4, 15)
        assert chunked.at(9) <= at_second < chunked.at(9, 15)
        [stopped, ended] = chunked.events(EventKind.ATTEMPT)
        assert (stopped.data["report"]["state"], stopped.data["report"]["exit_code"]) == (
            "terminated",
            143,
        )
        assert chunked.at(5) <= stopped.recorded_at < chunked.at(5, 1)
        assert (stopped.data["segment"], ended.data["segment"]) == (0, 1)

    async def test_runs_carry_segment_and_attempt(self, chunked: Stage) -> None:
        """Two numbers: how many chunks were over, and the fencing number."""
        await chunked.ended(await submitted(chunked))
        job = "job-default-nightly"
        assert [spec.run for spec in chunked.compute.specs] == [
            run_name(job, segment=0, attempt=1),
            run_name(job, segment=1, attempt=2),
        ]

    async def test_the_next_decision_knows_what_is_done(self, chunked: Stage) -> None:
        """Running time of the first chunk, and where its checkpoint is."""
        await chunked.ended(await submitted(chunked))
        [plan], [resumed] = decisions(chunked, "plan"), decisions(chunked, "resume")
        assert (plan["work_done_s"], plan["checkpoint_region"]) == (0.0, None)
        assert len(plan["placement"]["segments"]) == 2
        assert resumed["work_done_s"] == ran(chunked, 1).total_seconds()
        assert resumed["checkpoint_region"] == PARIS
        assert len(resumed["placement"]["segments"]) == 1
        assert resumed["placement"]["counterfactual"] == plan["placement"]["counterfactual"]

    async def test_room_is_held_in_every_chunk_s_hours(self, chunked: Stage) -> None:
        """Each holds its own; in between is free."""
        job = await submitted(chunked)
        await chunked.until(job, Phase.DEFERRED)
        hours = range(hour_of(chunked.start), hour_of(chunked.at(24)))
        view = chunked.parts.room.view(hours, excluding_job="")
        [(place, held)] = view.reserved.items()
        assert place == (PARIS, CapacityType.SPOT)
        assert sorted(hour - hours[0] for hour in held) == [4, 9]
        await chunked.ended(job)

    async def test_what_people_see(self, chunked: Stage) -> None:
        """Chunks that are planned while it waits, and the work that is done between them."""
        job = await submitted(chunked)
        status = await chunked.until(job, Phase.DEFERRED)
        assert status.placement is not None
        assert [segment.cell.start for segment in status.placement.segments] == [
            chunked.at(4),
            chunked.at(9),
        ]
        first, second = narrate.chunks(status)
        assert first == f"1: {PARIS} spot {narrate.clock(chunked.at(4))} for 1h"
        assert second.startswith(f"2: {PARIS} spot {narrate.clock(chunked.at(9))} for 5")
        assert f"| chunk | {second} |" in narrate.details(status, ())
        assert narrate.work_done(status) is None
        await chunked.skip_to(chunked.at(5, 1))
        status = await chunked.until(job, lambda seen: seen.segment == 1)
        assert timedelta(seconds=status.work_done_s) == ran(chunked, 1)
        told = f"{narrate.duration(status.work_done_s)} in a checkpoint, after 1 chunk"
        assert f"| work done | {told} |" in narrate.details(status, ())
        assert "| promise |" not in narrate.details(status, ())
        [left] = narrate.chunks(status)
        assert left.startswith(f"2: {PARIS} spot {narrate.clock(chunked.at(9))} for 5")

    async def test_news_that_is_lost_does_not_keep_it_running(self, chunked: Stage) -> None:
        """The job's own poll at the chunk's end finds that it runs, and stops it."""
        chunked.compute.news_is_lost = True
        result = await chunked.ended(await submitted(chunked))
        assert result.outcome is Outcome.SUCCEEDED
        [first, _] = chunked.compute.specs
        assert chunked.compute.terminated[first.run] < chunked.at(5, 20)


class TestItsOwnEnd:
    async def test_before_its_chunk_is_over_the_job_is_done(self, chunked: Stage) -> None:
        """Faster than expected: there is nothing to resume."""
        chunked.compute.acts = (Act(after=timedelta(minutes=30)),)
        result = await chunked.ended(await submitted(chunked))
        assert chunked.kinds() == ["plan", "look", *AGAIN, "completion"]
        assert (result.outcome, result.attempts) == (Outcome.SUCCEEDED, 1)
        assert chunked.room_held() == set()

    async def test_a_failure_is_run_again_from_the_checkpoint(self, chunked: Stage) -> None:
        """What the chunk before it kept is not done again."""
        fails = Act(ends=RunState.FAILED, after=timedelta(minutes=10), exit_code=3)
        chunked.compute.acts = (KEEPS, fails, ENDS)
        result = await chunked.ended(await submitted(chunked, retries=1))
        assert (result.outcome, result.attempts) == (Outcome.SUCCEEDED, 3)
        [retry] = decisions(chunked, "retry")
        assert retry["work_done_s"] == ran(chunked, 1).total_seconds()
        assert [spec.run.rpartition("-s")[2] for spec in chunked.compute.specs] == [
            *("0-a1", "1-a2", "1-a3")
        ]

    async def test_a_failure_without_retries_ends_the_job(self, chunked: Stage) -> None:
        """A chunk's failure is the program's."""
        fails = Act(ends=RunState.FAILED, after=timedelta(minutes=10), exit_code=3)
        chunked.compute.acts = (fails,)
        result = await chunked.ended(await submitted(chunked))
        assert (result.outcome, result.attempts) == (Outcome.FAILED, 1)


class TestReclaims:
    @pytest.mark.parametrize(("exit_code", "kept"), [(143, True), (137, False), (None, False)])
    async def test_a_reclaim_costs_what_no_checkpoint_holds(
        self, chunked: Stage, exit_code: int | None, kept: bool
    ) -> None:
        """With 143 nothing; killed or lost without a word, all since the checkpoint before."""
        reclaimed = Act(ends=RunState.RECLAIMED, after=timedelta(minutes=30), exit_code=exit_code)
        chunked.compute.acts = (reclaimed, KEEPS, ENDS)
        result = await chunked.ended(await submitted(chunked))
        assert (result.outcome, result.reclaims) == (Outcome.SUCCEEDED, 1)
        [again] = decisions(chunked, "reclaim")
        assert again["work_done_s"] == (1800.0 if kept else 0.0)
        assert again["checkpoint_region"] == (PARIS if kept else None)

    async def test_resuming_is_not_counted_as_work(self, chunked: Stage) -> None:
        """A second chunk that is taken back after half an hour has done 25 minutes."""
        reclaimed = Act(ends=RunState.RECLAIMED, after=timedelta(minutes=30), exit_code=143)
        chunked.compute.acts = (KEEPS, reclaimed, ENDS)
        await chunked.ended(await submitted(chunked))
        [again] = decisions(chunked, "reclaim")
        assert again["work_done_s"] == (ran(chunked, 1) + 25 * MINUTE).total_seconds()


class TestOverrides:
    async def test_cancelled_in_a_chunk_it_stops_and_is_not_resumed(self, chunked: Stage) -> None:
        """As any job; its run is confirmed dead."""
        job = await in_first_chunk(chunked)
        await job.execute_update(OverrideKind.CANCEL, OverrideRequest(reason="drill"))
        result = await chunked.ended(job)
        assert chunked.kinds() == ["plan", "look", *AGAIN, "cancel", "completion"]
        assert result.outcome is Outcome.CANCELLED

    async def test_cancelled_between_chunks_it_ends(self, chunked: Stage) -> None:
        """Nothing runs then."""
        job = await between_chunks(chunked)
        await job.execute_update(OverrideKind.CANCEL, OverrideRequest(reason="drill"))
        result = await chunked.ended(job)
        assert result.outcome is Outcome.CANCELLED
        assert len(chunked.compute.specs) == 1

    async def test_run_now_between_chunks_runs_the_rest_in_one_piece(self, chunked: Stage) -> None:
        """At once, from the checkpoint, and it is not stopped again."""
        job = await between_chunks(chunked)
        chunked.grid.set(ZONES[PARIS], clean_at(chunked.at(5), chunked.at(9)))
        await job.execute_update(OverrideKind.RUN_NOW, OverrideRequest(reason="drill"))
        result = await chunked.ended(job)
        assert result.attempts == 2
        [_, (region, at_second)] = dispatched(chunked)
        assert (region, at_second < chunked.at(5, 10)) == (PARIS, True)
        [hurried] = decisions(chunked, "override")
        assert hurried["work_done_s"] == ran(chunked, 1).total_seconds()
        assert ran(chunked, 2) == ENDS.after

    async def test_an_earlier_deadline_between_chunks_plans_what_is_left(
        self, chunked: Stage
    ) -> None:
        """It is met, and only what is left must fit."""
        job = await between_chunks(chunked)
        request = OverrideRequest(deadline=chunked.at(8), reason="needed earlier")
        await job.execute_update(OverrideKind.CHANGE_DEADLINE, request)
        result = await chunked.ended(job)
        assert (result.deadline_met, result.attempts) == (True, 2)
        [changed] = decisions(chunked, "override")
        assert changed["work_done_s"] == ran(chunked, 1).total_seconds()
        assert dispatched(chunked)[1][1] < chunked.at(7)

    async def test_an_earlier_deadline_in_a_chunk_keeps_it_running(self, chunked: Stage) -> None:
        """What would be left at 5:00 does not fit behind 9:00 any more: it is not stopped."""
        chunked.compute.acts = (Act(after=timedelta(minutes=100), stopped_with=143),)
        job = await in_first_chunk(chunked)
        request = OverrideRequest(deadline=chunked.at(9), reason="needed earlier")
        await job.execute_update(OverrideKind.CHANGE_DEADLINE, request)
        result = await chunked.ended(job)
        assert (result.outcome, result.deadline_met, result.attempts) == (
            Outcome.SUCCEEDED,
            True,
            1,
        )


class TestAgain:
    async def test_a_later_chunk_that_was_left_behind_is_stopped_first(
        self, chunked: Stage
    ) -> None:
        """Its workflow was terminated: the next execution finds the run by segment and attempt."""
        chunked.compute.acts = (KEEPS, KEEPS, Act(after=timedelta(minutes=50), stopped_with=143))
        first = await between_chunks(chunked)
        await chunked.skip_to(chunked.at(9, 20))
        await chunked.until(first, Phase.RUNNING)
        await first.terminate("drill")
        again = await submitted(chunked)
        await chunked.skip_to(chunked.at(29))
        await chunked.until(again, Phase.FINISHED)
        left_behind = run_name("job-default-nightly", segment=1, attempt=2)
        assert chunked.compute.terminated[left_behind] < chunked.at(9, 30)
        assert [event.data["attempt"] for event in chunked.events(EventKind.ATTEMPT)][:3] == [
            *(1, 2, 3)
        ]


class TestPromisesThatAreNotKept:
    async def test_without_a_checkpoint_it_is_not_cut_again(self, chunked: Stage) -> None:
        """Killed at the chunk's end, it begins anew, and then runs to its end."""
        chunked.grid.set(
            ZONES[PARIS], clean_at(chunked.at(4), chunked.at(9), chunked.at(13), chunked.at(17))
        )
        chunked.compute.acts = (
            Act(after=timedelta(hours=3), stopped_with=137),
            Act(after=timedelta(minutes=100), stopped_with=143),
        )
        result = await chunked.ended(await submitted(chunked))
        [resumed] = decisions(chunked, "resume")
        assert resumed["work_done_s"] == 0.0
        assert (result.outcome, result.attempts) == (Outcome.SUCCEEDED, 2)

    async def test_a_stop_that_cannot_be_confirmed_moves_the_job(self, chunked: Stage) -> None:
        """Out of reach at the chunk's end: run elsewhere from the beginning, in time."""
        endless = Act(after=timedelta(hours=30))
        chunked.compute.acts = (endless, Act(after=timedelta(minutes=90), stopped_with=143))
        job = await in_first_chunk(chunked, within=timedelta(hours=14))
        chunked.compute.down.add(PARIS)
        result = await chunked.ended(job)
        assert (result.outcome, result.deadline_met) == (Outcome.SUCCEEDED, True)
        assert result.region != PARIS
        [lost, _] = chunked.events(EventKind.ATTEMPT)
        assert lost.data["unconfirmed"]
        [moved] = decisions(chunked, "fallback")
        assert moved["excluded_regions"] == [PARIS]


async def test_a_portable_checkpoint_follows_the_clean_hours(stage: Stage) -> None:
    """From Paris at 4:00 to Stockholm at 9:00."""
    stage.grid.set(ZONES[PARIS], clean_at(stage.at(4)))
    stage.grid.set(ZONES[STOCKHOLM], clean_at(stage.at(9)))
    stage.compute.acts = (KEEPS, ENDS)
    portable = CHUNKED["interruptible"] | {"portable_checkpoint": True}  # type: ignore[operator]
    result = await stage.ended(await submitted(stage, interruptible=portable))
    assert result.outcome is Outcome.SUCCEEDED
    assert [region for region, _ in dispatched(stage)] == [PARIS, STOCKHOLM]
