"""When the run of a chunk is stopped, by hand.

An hour of work (p95 two hours), cut at 2:00 and resumed at 6:00; start-up 5 minutes, margin 45
minutes, resuming costs 10 minutes, half an hour at least. Times are minutes after 1:00.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.job import Cell, Counterfactual, Estimate, Placement, RunState, Segment, SignalBasis
from domain.manifest import JobManifest, parse_manifest
from domain.messages import JobState, Plan
from domain.progress import Progress
from workflows import chunks
from workflows.run import WatchedRun

START = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
HOME, ELSEWHERE = "aws:eu-central-1", "aws:eu-north-1"
SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
LEAD = timedelta(minutes=45 + 5 + 120)
"""Of a job that has nothing behind it."""


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def segment(start: float, end: float, region: str = HOME, kind: CapacityType = SPOT) -> Segment:
    cell = Cell(region=region, capacity_type=kind, start=at(start))
    return Segment(cell=cell, duration_s=60 * (end - start))


FIRST, LAST = segment(0, 60), segment(300, 345)


def plan(*segments: Segment, lead: timedelta = LEAD) -> Plan:
    nothing = Estimate(energy_kwh=0, average_carbon_g=0, marginal_carbon_g=0, cost_usd=0)
    cell = segments[0].cell
    placement = Placement(
        segments=segments,
        basis=SignalBasis.AVERAGE,
        estimate=nothing,
        counterfactual=Counterfactual(cell=cell, estimate=nothing),
        score=0.0,
        latest_safe_start=at(600),
        reason="by hand",
    )
    return Plan(
        placement=placement,
        next_seq=2,
        wake_at=cell.start,
        lead_s=lead.total_seconds(),
        start_up_s=300.0,
        look_min_remaining_s=3600.0,
    )


def manifest(**fields: object) -> JobManifest:
    return parse_manifest(
        {
            "name": "x",
            "image": "x",
            "resources": {"vcpus": 1, "memory_gib": 1},
            "deadline": at(900),
            "runtime": "1h",
            "p95_runtime": "2h",
            "max_runtime": "3h",
            "residency": "eu",
            "home_region": HOME,
            "interruptible": {"checkpoint": True, "min_chunk": "30m", "resume_overhead": "10m"},
            **fields,
        }
    )


def running(started: float | None = 5, region: str = HOME) -> WatchedRun:
    cell = Cell(region=region, capacity_type=SPOT, start=START)
    run = WatchedRun("job-default-x", 1, cell, START)
    begun = None if started is None else at(started)
    state = RunState.QUEUED if started is None else RunState.RUNNING
    run.learn(run.report.model_copy(update={"state": state, "started_at": begun}))
    return run


def stopped(
    *segments: Segment,
    run: WatchedRun | None = None,
    state: JobState | None = None,
    deadline: float = 900,
    lead: timedelta = LEAD,
    **fields: object,
) -> float | None:
    """Minutes after START."""
    found = chunks.stop_at(
        run or running(),
        plan(*segments, lead=lead),
        manifest(**fields),
        state or JobState(),
        at(deadline),
    )
    return None if found is None else (found - START) / timedelta(minutes=1)


class TestWhen:
    def test_at_the_end_of_its_segment(self) -> None:
        """However early it began."""
        assert stopped(FIRST, LAST) == 60
        assert stopped(FIRST, LAST, run=running(1)) == 60

    def test_the_last_segment_runs_to_its_own_end(self) -> None:
        """It is never stopped by plan, however long it takes."""
        assert stopped(LAST) is None

    def test_a_run_that_began_late_has_its_least_chunk(self) -> None:
        """Half an hour, of which start-up took five minutes."""
        assert stopped(FIRST, LAST, run=running(50)) == 75

    def test_a_run_that_has_not_begun_is_not_stopped(self) -> None:
        """Its region may still be told to leave by other rules."""
        assert stopped(FIRST, LAST, run=running(None)) is None

    @pytest.mark.parametrize(
        ("following", "end"),
        [
            (segment(60, 120), 180),
            (segment(60, 120, ELSEWHERE), 60),
            (segment(60, 120, kind=ON_DEMAND), 60),
            (segment(61, 120), 60),
        ],
    )
    def test_what_follows_at_once_in_one_place_is_one_run(
        self, following: Segment, end: float
    ) -> None:
        """Another region, another capacity type or a pause is not."""
        third = segment(120, 180) if end == 180 else segment(400, 460)
        assert stopped(FIRST, following, third, LAST) == end

    def test_a_whole_plan_in_one_place_is_never_stopped(self) -> None:
        """Nothing would be gained."""
        assert stopped(FIRST, segment(60, 120), segment(120, 180)) is None

    @pytest.mark.parametrize("fields", [{"start_now": True}, {"checkpoint_missed": True}])
    def test_in_a_hurry_or_without_checkpoints_it_runs_on(self, fields: dict[str, bool]) -> None:
        """Neither is resumed: there is no time, or nothing to resume from."""
        assert stopped(FIRST, LAST, state=JobState(**fields)) is None

    def test_a_job_in_one_piece_is_never_stopped(self) -> None:
        """Whatever its plan looks like."""
        assert stopped(FIRST, LAST, interruptible=None) is None


class TestTheDeadlineIsAWall:
    """Stopped at 60 after 55 minutes: 65 of 120 minutes left, 10 to resume, 50 beside: 125."""

    def test_to_the_minute(self) -> None:
        """What is left fits behind 300 until 425; a minute less is made up by a minute's work."""
        assert stopped(FIRST, LAST, deadline=425) == 60
        assert stopped(FIRST, LAST, deadline=424) == 61
        assert stopped(FIRST, LAST, deadline=361) == 124

    def test_where_it_fits_nowhere_it_runs_on(self) -> None:
        """With a slow run's whole length behind it, nothing but resuming is left to fit."""
        assert stopped(FIRST, LAST, deadline=170) is None
        assert stopped(segment(0, 60), segment(60, 120, ELSEWHERE), deadline=184) is None
        assert stopped(segment(0, 60), segment(60, 120, ELSEWHERE), deadline=185) == 60

    def test_what_was_done_before_counts(self) -> None:
        """40 minutes were done, and 10 of this run's 55 went into resuming: 75 + 10 left."""
        state = JobState(work_done_s=2400, checkpoint_region=HOME)
        lead = LEAD - timedelta(minutes=30)
        assert stopped(FIRST, LAST, state=state, lead=lead, deadline=395) == 60
        assert stopped(FIRST, LAST, state=state, lead=lead, deadline=394) == 61

    def test_begun_anew_elsewhere_nothing_counts_but_this_run(self) -> None:
        """The checkpoint stayed where it was, and the plan was for the whole job."""
        state = JobState(work_done_s=2400, checkpoint_region=ELSEWHERE)
        assert stopped(FIRST, LAST, state=state, deadline=425) == 60
        assert stopped(FIRST, LAST, state=state, deadline=424) == 61

    @given(
        started=st.integers(0, 120),
        deadline=st.integers(60, 1200),
        done=st.integers(0, 119),
        following=st.integers(60, 600),
    )
    def test_a_slow_run_always_fits_behind_what_comes_next(
        self, started: int, deadline: int, done: int, following: int
    ) -> None:
        """Whatever happened before: margin, start-up, resuming and the rest of p95."""
        state = JobState(work_done_s=60 * done, checkpoint_region=HOME if done else None)
        lead = LEAD - timedelta(minutes=done - 10 if done else 0)
        stop = stopped(
            FIRST,
            segment(following, following + 60, ELSEWHERE),
            run=running(started),
            state=state,
            lead=lead,
            deadline=deadline,
        )
        if stop is not None:
            ran = stop - started
            left = max(0, 120 - done - max(0, ran - (10 if done else 0)))
            assert stop >= max(60, started + 25)
            assert max(stop, following) + 45 + 5 + 10 + left <= deadline


class TestProgress:
    def test_resuming_is_no_work(self) -> None:
        """An hour behind it, then half an hour of running: 80 minutes."""
        promise = manifest().interruptible
        assert promise is not None
        before = Progress(timedelta(hours=1), HOME)
        ran = timedelta(minutes=30)
        assert before.running(ran, HOME, promise) == timedelta(minutes=80)
        assert before.running(ran, ELSEWHERE, promise) == ran
        assert before.running(timedelta(minutes=3), HOME, promise) == timedelta(hours=1)
