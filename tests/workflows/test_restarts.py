"""Workers and workflows come to an end in the middle: nothing is run twice, nothing is lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from domain.job import Outcome, Phase, RunState
from domain.ledger import EventKind
from domain.policy import ResidencyClass
from tests.scripted_compute import Act
from tests.workflows.grid import flat
from tests.workflows.harness import PARIS, ZONES, Stage, real_time, shipped_policy, staged

LONG = Act(after=timedelta(hours=10))
SIX_HOURS = timedelta(hours=6)


async def test_a_policy_that_forbids_the_planned_region_is_obeyed_at_dispatch(
    tmp_path: Path,
) -> None:
    """The second check of residency: planned for Paris, and France is no longer allowed."""
    narrower = ResidencyClass(countries=("DE", "SE"))
    policy = shipped_policy().model_copy(
        update={"residency": {**shipped_policy().residency, "eu": narrower}}
    )
    # In real time: the time-skipping server leaves a task with the worker that is gone.
    async with real_time() as env:
        async with staged(env, tmp_path) as before:
            before.grid.set(ZONES[PARIS], flat(10))
            before.compute.down = {PARIS}
            job = await before.submit()
            await before.until(job, Phase.DISPATCHING)
        async with staged(env, tmp_path, policy) as after:
            after.compute.acts = (Act(after=timedelta(seconds=1)),)
            after.grid.set(ZONES[PARIS], flat(10))
            result = await after.ended(job)
            after.assert_ledger_holds()
            assert after.kinds() == [
                *("plan", "attempt", "fallback", "dispatch", "attempt", "completion")
            ]

    assert before.compute.specs == []
    assert PARIS not in {spec.region for spec in after.compute.specs}
    assert result.region != PARIS


class TestTerminatedWorkflows:
    async def test_the_run_that_one_left_is_stopped_before_the_job_runs_again(
        self, stage: Stage
    ) -> None:
        """Under a higher fencing number, and the ledger has the end of both."""
        stage.compute.acts = (LONG, Act())
        first, second = await rerun(stage, region_answers=True)
        result = await stage.ended(second)

        assert first in stage.compute.terminated
        assert (result.outcome, result.deadline_met) == (Outcome.SUCCEEDED, True)
        assert [spec.attempt for spec in stage.compute.specs] == [1, 2]
        left, ran = (event.data for event in stage.events(EventKind.ATTEMPT))
        assert (left["attempt"], left["report"]["state"]) == (1, RunState.TERMINATED)
        assert (ran["attempt"], ran["report"]["state"]) == (2, RunState.SUCCEEDED)
        assert stage.compute.terminated[first] <= stage.compute.submitted_at[ran["report"]["run"]]

    async def test_a_run_that_cannot_be_confirmed_dead_does_not_hold_up_the_deadline(
        self, stage: Stage
    ) -> None:
        """It is waited for until the latest safe start; the ledger says that it may still live."""
        stage.compute.acts = (LONG, Act())
        _, second = await rerun(stage, region_answers=False)
        result = await stage.ended(second)

        assert (result.outcome, result.deadline_met) == (Outcome.SUCCEEDED, True)
        assert stage.kinds() == [
            *("plan", "dispatch", "plan", "attempt", "fallback"),
            *("dispatch", "attempt", "completion"),
        ]
        left, ran = (event.data for event in stage.events(EventKind.ATTEMPT))
        assert (left["attempt"], left["unconfirmed"]) == (1, True)
        assert (ran["attempt"], ran["unconfirmed"]) == (2, False)
        assert ran["cell"]["region"] != left["cell"]["region"]
        assert stage.events(EventKind.DISPATCH)[1].recorded_at < stage.at(3, minutes=11)


async def rerun(stage: Stage, *, region_answers: bool):
    """A job whose workflow was terminated while it ran, submitted again; and that first run."""
    manifest = stage.manifest(SIX_HOURS)
    # The time-skipping clock leaps to the end of a closed workflow's time-out.
    first = await stage.submit(manifest, run_timeout=timedelta(minutes=1))
    status = await stage.until(first, Phase.RUNNING)
    assert status.run is not None
    await first.terminate("an operator's mistake")
    stage.compute.down = set() if region_answers else {status.run.region}
    return status.run.run, await stage.submit(manifest, rerun=True)
