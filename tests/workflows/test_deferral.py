"""A deferred job: where it goes, when it looks again, and when it wakes."""

from __future__ import annotations

from datetime import datetime, timedelta

from domain.capacity import CapacityType
from domain.job import DecisionReason, Outcome, Phase
from domain.ledger import EventKind, LedgerEvent
from domain.timing import wake_time
from tests.workflows.grid import dip
from tests.workflows.harness import (
    PARIS,
    STOCKHOLM,
    ZONES,
    Stage,
    shipped_policy,
)

SOON = timedelta(seconds=30)
"""Real time that passes while a step is taken shows on the server's clock as well."""


def cell_of(decision: LedgerEvent) -> tuple[str, datetime]:
    cell = decision.data["placement"]["segments"][0]["cell"]
    return cell["region"], datetime.fromisoformat(cell["start"])


def made_at(decision: LedgerEvent) -> datetime:
    return datetime.fromisoformat(decision.data["now"])


class TestLooks:
    async def test_a_day_ahead_it_looks_three_times_and_runs_in_the_cleanest_cell(
        self, stage: Stage
    ) -> None:
        """Looks: when the wait has halved, when it has halved again, and before starting."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(25), low=10))
        stage.grid.set(ZONES[STOCKHOLM], dip(stage.at(9), low=60))
        job = await stage.submit()

        result = await job.result()

        assert (
            result.outcome,
            result.region,
            result.deadline_met,
        ) == (Outcome.SUCCEEDED, PARIS, True)
        assert (stage.kinds()) == [
            "plan",
            "look",
            "look",
            "look",
            "dispatch",
            "attempt",
            "completion",
        ]
        plan, *looks = stage.events(EventKind.DECISION)
        assert (PARIS, stage.at(25)) == cell_of(plan)
        wake_at = wake_time(
            job.id,
            stage.at(25),
            stage.at(30) - timedelta(minutes=45 + 2 * 125),
            shipped_policy().wake_jitter,
        )
        expected = [stage.at(12.5), stage.at(18.75), wake_at]
        for look, at in zip(looks, expected, strict=True):
            assert at <= made_at(look) < at + SOON
            assert cell_of(look)[0] == PARIS

    async def test_eight_hours_ahead_it_looks_once_before_starting(self, stage: Stage) -> None:
        """A remaining wait below six hours is not worth a look."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(8), low=10))
        job = await stage.submit()

        await job.result()

        assert stage.kinds() == ["plan", "look", "dispatch", "attempt", "completion"]
        assert stage.at(8) <= made_at(stage.events(EventKind.DECISION)[1])

    async def test_a_look_moves_the_job_to_a_better_cell(self, stage: Stage) -> None:
        """Another region has become cleaner by far, and earlier."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(25), low=100))
        job = await stage.submit()
        await stage.until(job, Phase.DEFERRED)
        stage.grid.set(ZONES[STOCKHOLM], dip(stage.at(15), low=5))

        result = await job.result()

        assert result.region == STOCKHOLM
        plan, look, *_ = stage.events(EventKind.DECISION)
        assert (PARIS, stage.at(25)) == cell_of(plan)
        assert look.data["reason"] == DecisionReason.LOOK
        assert (STOCKHOLM, stage.at(15)) == cell_of(look)
        [dispatch] = stage.events(EventKind.DISPATCH)
        assert stage.at(15) <= dispatch.recorded_at < stage.at(15, minutes=11)

    async def test_a_look_holds_the_plan_when_little_would_be_gained(self, stage: Stage) -> None:
        """A better cell by less than ``min_gain`` is no reason to move."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(25), low=100))
        job = await stage.submit()
        await stage.until(job, Phase.DEFERRED)
        stage.grid.set(
            ZONES[PARIS], lambda hour: {stage.at(25): 100, stage.at(22): 96}.get(hour, 500)
        )

        await job.result()

        cells = {cell_of(decision) for decision in stage.events(EventKind.DECISION)[:-1]}
        assert {(PARIS, stage.at(25))} == cells

    async def test_a_signal_makes_a_deferred_job_look_again(self, stage: Stage) -> None:
        """As after a change of policy; the new decision stands at once."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(20), low=100))
        job = await stage.submit()
        await stage.until(job, Phase.DEFERRED)
        stage.grid.set(ZONES[STOCKHOLM], dip(stage.at(4), low=5))
        await stage.skip_to(stage.at(minutes=5))

        await job.signal("look_again")
        status = await stage.until(
            job, lambda status: bool(status.placement and status.placement.cell.region != PARIS)
        )

        assert status.placement is not None
        assert (STOCKHOLM, stage.at(4)) == (
            status.placement.cell.region,
            status.placement.cell.start,
        )
        assert stage.kinds() == ["plan", "look"]
        assert stage.room_held() == {(STOCKHOLM, CapacityType.SPOT)}

    async def test_a_look_without_an_answer_leaves_the_plan_as_it_was(self, stage: Stage) -> None:
        """Decisions fail from the plan on: the job starts where and when it was planned."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(20), low=10))
        job = await stage.submit()
        await stage.until(job, Phase.DEFERRED)
        stage.grid.broken = True

        result = await job.result()

        assert (result.outcome, result.region) == (Outcome.SUCCEEDED, PARIS)
        assert stage.kinds() == ["plan", "dispatch", "attempt", "completion"]
        [dispatch] = stage.events(EventKind.DISPATCH)
        assert stage.at(20) <= dispatch.recorded_at < stage.at(20, minutes=15)


class TestWake:
    async def test_wakes_keep_within_the_slack_of_their_wall(self, stage: Stage) -> None:
        """The cleanest hour begins four minutes before the last start that is safe on Spot."""
        needs = timedelta(minutes=45 + 2 * (5 + 120))
        stage.grid.set(ZONES[PARIS], dip(stage.at(20), low=10))
        wall = stage.at(20, minutes=4)
        names = ["nightly", "align", "train-17", "z", "sort", "merge"]
        jobs = [
            await stage.submit(stage.manifest(name=name, deadline=wall + needs)) for name in names
        ]
        for job in jobs:
            await stage.until(job, Phase.DEFERRED)

        await stage.skip_to(stage.at(21))

        wakes = [(await stage.timers_fired(job))[1] for job in jobs]
        assert all(stage.at(20) <= wake <= wall for wake in wakes)
        assert max(wakes) - min(wakes) > timedelta(minutes=2)
        for name in names:
            [dispatch] = stage.events(EventKind.DISPATCH, name)
            cell = dispatch.data["cell"]
            assert (cell["region"], cell["capacity_type"]) == (PARIS, "spot")
            assert stage.at(20) <= dispatch.recorded_at < wall + SOON

    async def test_jobs_of_one_cell_do_not_wake_together(self, stage: Stage) -> None:
        """Each job's share of the jitter is its own."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(4), low=10))
        names = ["a", "b", "c", "d", "e", "f"]
        jobs = [await stage.submit(stage.manifest(name=name)) for name in names]
        for job in jobs:
            await stage.until(job, Phase.DEFERRED)

        await stage.skip_to(stage.at(5))

        wakes = [(await stage.timers_fired(job))[0] for job in jobs]
        jitter = shipped_policy().wake_jitter
        for job, wake in zip(jobs, wakes, strict=True):
            expected = wake_time(job.id, stage.at(4), stage.at(20), jitter)
            assert expected <= wake < expected + SOON
        assert max(wakes) - min(wakes) > jitter / 2
