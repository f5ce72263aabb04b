"""Runs that end badly: reclaims are planned again, failures of the program follow its retries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.job import Outcome, Phase, RunState
from domain.ledger import EventKind
from tests.scripted_compute import Act
from tests.workflows.grid import dip
from tests.workflows.harness import PARIS, STOCKHOLM, ZONES, Stage

AGAIN = ["dispatch", "attempt"]


def reclaimed(minutes: float) -> Act:
    return Act(ends=RunState.RECLAIMED, after=timedelta(minutes=minutes))


FAILS = Act(ends=RunState.FAILED, after=timedelta(minutes=10), exit_code=3)
SUCCEEDS = Act(after=timedelta(minutes=30))


def capacity_types(stage: Stage) -> list[str]:
    return [event.data["cell"]["capacity_type"] for event in stage.events(EventKind.DISPATCH)]


class TestReclaims:
    async def test_twice_reclaimed_it_goes_on_demand_when_a_third_would_be_too_late(
        self, stage: Stage
    ) -> None:
        """Spot is safe until 1:05: deadline 6:00, margin 45 min, two worst cases of 2:05 each."""
        stage.compute.acts = (reclaimed(35), reclaimed(35), SUCCEEDS)
        result = await stage.ended(await stage.submit(stage.manifest(timedelta(hours=6))))

        assert stage.kinds() == [
            *("plan", *AGAIN, "reclaim", *AGAIN, "reclaim", *AGAIN, "completion")
        ]
        assert capacity_types(stage) == ["spot", "spot", "on_demand"]
        assert (result.outcome, result.deadline_met) == (Outcome.SUCCEEDED, True)
        assert (result.attempts, result.reclaims) == (3, 2)

    async def test_fencing_numbers_and_run_names_rise_with_each_run(self, stage: Stage) -> None:
        """No two runs of a job can be taken for one another."""
        stage.compute.acts = (reclaimed(5), reclaimed(5), SUCCEEDS)
        await stage.ended(await stage.submit())

        assert [spec.attempt for spec in stage.compute.specs] == [1, 2, 3]
        assert [event.data["attempt"] for event in stage.events(EventKind.ATTEMPT)] == [1, 2, 3]
        assert len({spec.run for spec in stage.compute.specs}) == 3

    async def test_on_demand_starts_at_once_when_runway_is_short(self, stage: Stage) -> None:
        """The decision after the last reclaim waits for nothing, however clean a later hour is."""
        stage.compute.acts = (reclaimed(70), SUCCEEDS)
        job = await stage.submit(stage.manifest(timedelta(hours=6)))
        await stage.until(job, Phase.RUNNING)
        stage.grid.set(ZONES[PARIS], dip(stage.at(3), low=1))
        await stage.ended(job)

        first, second = stage.events(EventKind.DISPATCH)
        assert capacity_types(stage) == ["spot", "on_demand"]
        assert second.recorded_at - first.recorded_at < timedelta(minutes=71)

    async def test_with_runway_left_a_reclaimed_job_waits_for_the_next_clean_hour(
        self, stage: Stage
    ) -> None:
        """A reclaim is planned again like a submission."""
        stage.grid.set(ZONES[STOCKHOLM], dip(stage.at(3), low=10))
        stage.grid.set(ZONES[PARIS], dip(stage.at(9), low=100))
        stage.compute.acts = (reclaimed(55), SUCCEEDS)
        result = await stage.ended(await stage.submit())

        assert stage.kinds() == [*("plan", "look", *AGAIN, "reclaim", "look", *AGAIN, "completion")]
        cells = [event.data["cell"] for event in stage.events(EventKind.DISPATCH)]
        assert [cell["region"] for cell in cells] == [STOCKHOLM, PARIS]
        assert result.finished_at > stage.at(9)

    async def test_the_counterfactual_stays_that_of_the_submission(self, stage: Stage) -> None:
        """What is saved is counted against one thing only, whatever happens later."""
        stage.compute.acts = (reclaimed(5), reclaimed(5), SUCCEEDS)
        await stage.ended(await stage.submit())
        first, *later = [
            event.data["placement"]["counterfactual"] for event in stage.events(EventKind.DECISION)
        ]
        assert later == [first, first]


class TestFailures:
    async def test_without_retries_the_first_failure_ends_the_job(self, stage: Stage) -> None:
        """And is no reclaim."""
        stage.compute.acts = (FAILS,)
        result = await stage.ended(await stage.submit())

        assert stage.kinds() == ["plan", *AGAIN, "completion"]
        assert (result.outcome, result.attempts, result.reclaims) == (Outcome.FAILED, 1, 0)
        assert result.message == "the program failed: exit code 3"
        assert not result.deadline_met

    @pytest.mark.parametrize(("retries", "outcome"), [(1, Outcome.FAILED), (2, Outcome.SUCCEEDED)])
    async def test_the_manifest_says_how_many_failures_are_run_again(
        self, stage: Stage, retries: int, outcome: Outcome
    ) -> None:
        """The program fails twice, then would succeed."""
        stage.compute.acts = (FAILS, FAILS, SUCCEEDS)
        result = await stage.ended(await stage.submit(stage.manifest(retries=retries)))

        assert result.outcome is outcome
        assert result.attempts == min(retries, 2) + 1
        assert stage.kinds() == ["plan", *AGAIN, *(["retry", *AGAIN] * retries), "completion"]

    async def test_a_reclaim_uses_up_no_retry(self, stage: Stage) -> None:
        """Reclaimed, failed, then it succeeds with the one retry that it has."""
        stage.compute.acts = (reclaimed(5), FAILS, SUCCEEDS)
        result = await stage.ended(await stage.submit(stage.manifest(retries=1)))

        assert (result.outcome, result.reclaims) == (Outcome.SUCCEEDED, 1)
        assert stage.kinds() == [
            *("plan", *AGAIN, "reclaim", *AGAIN, "retry", *AGAIN, "completion")
        ]
