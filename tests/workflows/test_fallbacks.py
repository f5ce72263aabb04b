"""When the world is not as planned: short deadlines, lost signals, regions out of reach."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from domain.forecast import Signal
from domain.job import Outcome, Phase
from domain.ledger import EventKind
from domain.policy import OnSignalLoss
from domain.steps import Queue, Step
from tests.scripted_compute import Act
from tests.workflows.grid import dip, flat
from tests.workflows.harness import (
    PARIS,
    STOCKHOLM,
    ZONES,
    Stage,
    shipped_policy,
)

AT_ONCE = timedelta(minutes=1)
SIX_HOURS = timedelta(hours=6)
SAFE_UNTIL = timedelta(hours=3, minutes=10)
"""Latest safe start of a job that has 6 h: 45 min of margin, 5 min of start-up, p95 of 2 h."""

STUCK = Act(queued=timedelta(days=9))


async def queues(job: WorkflowHandle, step: Step) -> list[str]:
    """The queues that a step was scheduled on."""
    scheduled = [
        event.activity_task_scheduled_event_attributes
        async for event in job.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    return [item.task_queue.name for item in scheduled if item.activity_type.name == step]


class TestDeadlines:
    async def test_near_its_deadline_a_job_runs_on_demand_where_spot_is_not_safe(
        self, stage: Stage
    ) -> None:
        """Four hours leave no time for a reclaim; the clean hour is out of reach."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(3), low=1))
        result = await stage.ended(await stage.submit(stage.manifest(timedelta(hours=4))))

        [dispatch] = stage.events(EventKind.DISPATCH)
        assert dispatch.data["cell"]["capacity_type"] == "on_demand"
        assert dispatch.recorded_at < stage.start + AT_ONCE
        assert result.deadline_met

    @pytest.mark.parametrize(("minutes", "met"), [(40, True), (90, False)])
    async def test_a_deadline_at_risk_is_run_at_once_and_reported(
        self, stage: Stage, minutes: int, met: bool
    ) -> None:
        """An hour is less than a slow run needs; it is never dropped, and the end says how late."""
        stage.compute.acts = (Act(after=timedelta(minutes=minutes)),)
        job = await stage.submit(stage.manifest(timedelta(hours=1)))
        status = await stage.until(job, Phase.RUNNING)
        result = await stage.ended(job)

        assert status.placement is not None
        assert status.placement.at_risk
        assert "no cell within every wall (run now)" in status.message
        assert stage.events(EventKind.DISPATCH)[0].recorded_at < stage.start + AT_ONCE
        assert (result.outcome, result.deadline_met) == (Outcome.SUCCEEDED, met)

    async def test_an_urgent_job_starts_at_once_past_the_line(self, stage: Stage) -> None:
        """In the cleanest region of now, by the queue of urgent submissions."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(9), low=1))
        stage.grid.set(ZONES[STOCKHOLM], flat(100))
        urgent = await stage.submit(stage.manifest(flexibility="urgent"))
        result = await stage.ended(urgent)

        assert result.region == STOCKHOLM
        assert stage.events(EventKind.DISPATCH)[0].recorded_at < stage.start + AT_ONCE
        assert await queues(urgent, Step.DISPATCH_RUN) == [Queue.URGENT]

    async def test_a_flexible_job_is_dispatched_under_the_rate_limit(self, stage: Stage) -> None:
        """By the other queue."""
        job = await stage.submit()
        await job.result()
        assert await queues(job, Step.DISPATCH_RUN) == [Queue.DISPATCH]


class TestSignals:
    async def test_without_a_fresh_signal_it_goes_by_cost_alone_and_says_so(
        self, stage: Stage
    ) -> None:
        """Both signals stopped an hour before: nothing is known of a better hour."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(9), low=1))
        stage.parts.signals.put_forecasts(stage.grid.issued(stage.at(-1)))
        stage.grid.lost = dict.fromkeys(Signal, stage.at(-1))
        job = await stage.submit()
        status = await stage.until(job, Phase.RUNNING)
        await job.result()

        [plan] = stage.events(EventKind.DECISION)
        assert plan.data["placement"]["basis"] == "cost_only"
        assert "by cost alone: no fresh signal" in status.message
        assert stage.events(EventKind.DISPATCH)[0].recorded_at < stage.start + AT_ONCE

    async def test_with_one_signal_lost_the_whole_decision_moves_to_the_other(
        self, stage: Stage
    ) -> None:
        """Paris is clean on average, Stockholm at the margin: they are never mixed."""
        stage.grid.set(ZONES[PARIS], average=dip(stage.at(9), low=10), marginal=flat(700))
        stage.grid.set(ZONES[STOCKHOLM], average=flat(500), marginal=dip(stage.at(5), low=300))
        stage.parts.signals.put_forecasts(stage.grid.issued(stage.at(-1)))
        stage.grid.lost = {Signal.AVERAGE: stage.at(-1)}
        result = await stage.ended(await stage.submit())

        assert result.region == STOCKHOLM
        plan, *_ = stage.events(EventKind.DECISION)
        assert plan.data["placement"]["basis"] == "marginal"
        assert plan.data["placement"]["estimate"]["average_carbon_g"] is None
        assert "marginal carbon" in plan.data["placement"]["reason"]

    @pytest.mark.parametrize(
        "policy",
        [shipped_policy().model_copy(update={"on_signal_loss": OnSignalLoss.COST_ONLY})],
        ids=["cost-only"],
    )
    async def test_policy_may_ask_for_cost_alone_instead(self, stage: Stage) -> None:
        """The other signal is fresh and not used."""
        stage.grid.lost = {Signal.AVERAGE: stage.at(-1)}
        await stage.ended(await stage.submit())
        [plan] = stage.events(EventKind.DECISION)
        assert plan.data["placement"]["basis"] == "cost_only"

    async def test_signals_lost_while_it_sleeps_are_noticed_by_the_next_look(
        self, stage: Stage
    ) -> None:
        """By cost alone there is nothing to wait for: the cheapest region, at once."""
        stage.grid.set(ZONES[PARIS], dip(stage.at(20), low=10))
        job = await stage.submit()
        await stage.until(job, Phase.DEFERRED)
        stage.grid.lost = dict.fromkeys(Signal, stage.at(1))
        result = await job.result()

        assert result.region == STOCKHOLM
        placements = [event.data["placement"] for event in stage.events(EventKind.DECISION)]
        assert [placement["basis"] for placement in placements] == ["average", "cost_only"]
        assert "by cost alone: no fresh signal" in placements[1]["reason"]
        look = stage.at(10)
        assert look <= stage.events(EventKind.DISPATCH)[0].recorded_at < look + AT_ONCE


class TestRegions:
    async def test_a_region_out_of_reach_at_dispatch_is_left_at_the_latest_safe_start(
        self, stage: Stage
    ) -> None:
        """Whether its run lives cannot be told: the deadline outranks, the ledger says so."""
        stage.grid.set(ZONES[PARIS], flat(10))
        stage.compute.down = {PARIS}
        result = await stage.ended(await stage.submit(stage.manifest(SIX_HOURS)))

        assert stage.kinds() == ["plan", "attempt", "fallback", "dispatch", "attempt", "completion"]
        lost, ran = (event.data for event in stage.events(EventKind.ATTEMPT))
        assert (lost["attempt"], lost["unconfirmed"], lost["cell"]["region"]) == (1, True, PARIS)
        assert (ran["attempt"], ran["unconfirmed"]) == (2, False)
        assert [spec.attempt for spec in stage.compute.specs] == [2]
        [dispatch] = stage.events(EventKind.DISPATCH)
        # The last retry that fits is up to a minute before.
        assert abs(dispatch.recorded_at - (stage.start + SAFE_UNTIL)) < timedelta(minutes=2)
        assert dispatch.data["cell"]["capacity_type"] == "on_demand"
        assert result.region != PARIS
        assert result.deadline_met

    async def test_a_region_that_answers_again_is_left_as_soon_as_nothing_runs_there(
        self, stage: Stage
    ) -> None:
        """Its run is confirmed never to start, and the job moves with all its runway."""
        stage.grid.set(ZONES[PARIS], flat(10))
        stage.compute.down = {PARIS}
        job = await stage.submit(stage.manifest(SIX_HOURS))
        await stage.skip_to(stage.at(minutes=20))
        await stage.until(job, Phase.STOPPING)
        stage.compute.down.clear()
        result = await stage.ended(job)

        assert stage.kinds() == ["plan", "attempt", "fallback", "dispatch", "attempt", "completion"]
        lost, _ = (event.data for event in stage.events(EventKind.ATTEMPT))
        assert (lost["unconfirmed"], lost["report"]["state"]) == (False, "terminated")
        assert stage.events(EventKind.DISPATCH)[0].recorded_at < stage.at(1)
        assert result.region != PARIS

    async def test_a_run_stuck_in_its_queue_is_ended_and_moved_at_the_latest_safe_start(
        self, stage: Stage
    ) -> None:
        """Terminated, confirmed, then moved: never two at once."""
        stage.compute.acts = (STUCK, Act())
        result = await stage.ended(await stage.submit(stage.manifest(SIX_HOURS)))

        assert stage.kinds() == [
            *("plan", "dispatch", "attempt", "fallback", "dispatch", "attempt", "completion")
        ]
        stuck, moved = stage.compute.specs
        assert stuck.region != moved.region
        assert (stuck.attempt, moved.attempt) == (1, 2)
        ended = stage.compute.terminated[stuck.run]
        assert stage.start + SAFE_UNTIL <= ended < stage.start + SAFE_UNTIL + AT_ONCE
        assert ended <= stage.compute.submitted_at[moved.run]
        assert result.deadline_met

    async def test_a_deadline_brought_forward_moves_a_stuck_run_sooner(self, stage: Stage) -> None:
        """The latest safe start goes with the deadline, while the run waits in its queue."""
        stage.compute.acts = (STUCK, Act())
        job = await stage.submit(stage.manifest(timedelta(hours=30)))
        await stage.until(job, Phase.QUEUED)
        await stage.sdk(job).change_deadline(stage.at(4), "the report is due")
        result = await stage.ended(job)

        stuck, _ = stage.compute.specs
        safe_until = stage.at(1, minutes=10)
        assert safe_until <= stage.compute.terminated[stuck.run] < safe_until + AT_ONCE
        assert (result.deadline, result.deadline_met) == (stage.at(4), True)

    async def test_a_stuck_run_that_cannot_be_confirmed_dead_is_left_behind(
        self, stage: Stage
    ) -> None:
        """Its region fell silent: a poll and a stop have a minute each, which is all that the
        deadline leaves for them.
        """
        stage.compute.acts = (STUCK, Act())
        job = await stage.submit(stage.manifest(SIX_HOURS))
        status = await stage.until(job, Phase.QUEUED)
        assert status.run is not None
        stage.compute.down = {status.run.region}
        result = await stage.ended(job)

        lost, ran = (event.data for event in stage.events(EventKind.ATTEMPT))
        assert (lost["unconfirmed"], ran["unconfirmed"]) == (True, False)
        assert ran["attempt"] == 2
        _, moved = stage.events(EventKind.DISPATCH)
        assert moved.recorded_at < stage.start + SAFE_UNTIL + 3 * AT_ONCE
        assert result.deadline_met

    async def test_a_run_that_its_region_lost_is_run_elsewhere(self, stage: Stage) -> None:
        """The safety poll finds no trace; it is seen to that it never starts."""
        stage.compute.news_is_lost = True
        job = await stage.submit(stage.manifest(SIX_HOURS))
        await stage.until(job, Phase.QUEUED)
        [(lost, _)] = stage.compute.submitted_at.items()
        del stage.compute.submitted_at[lost]
        result = await stage.ended(job)

        poll = stage.at(2, minutes=5)
        assert poll <= stage.compute.terminated[lost] < poll + AT_ONCE
        assert stage.kinds() == [
            *("plan", "dispatch", "attempt", "fallback", "dispatch", "attempt", "completion")
        ]
        assert (result.outcome, result.attempts) == (Outcome.SUCCEEDED, 2)
        assert stage.compute.specs[0].region != stage.compute.specs[1].region


class TestNews:
    async def test_a_lost_signal_only_delays(self, stage: Stage) -> None:
        """The poll at p95 run time finds the end; the end counts from when the run ended."""
        stage.compute.news_is_lost = True
        job = await stage.submit()
        result = await job.result()

        assert stage.kinds() == ["plan", "dispatch", "attempt", "completion"]
        poll = stage.at(2, minutes=5)
        assert poll <= stage.events(EventKind.COMPLETION)[0].recorded_at < poll + AT_ONCE
        assert result.finished_at < stage.at(minutes=31)
        assert await queues(job, Step.DESCRIBE_RUN) == [Queue.DISPATCH]

    async def test_polls_of_a_long_run_grow_rare(self, stage: Stage) -> None:
        """Each after twice the time of the one before: a run of 15 h costs four, not 450."""
        stage.compute.news_is_lost = True
        stage.compute.acts = (Act(after=timedelta(hours=15)),)
        job = await stage.submit()
        await job.result()
        fired = await stage.timers_fired(job)
        hours = [(at - stage.start) / timedelta(hours=1) for at in fired]
        assert [round(hour, 1) for hour in hours] == [2.1, 4.2, 8.3, 16.7]

    async def test_news_in_the_wrong_order_changes_nothing(self, stage: Stage) -> None:
        """A watcher may tell twice, late, and of other runs."""
        stage.compute.acts = (Act(after=timedelta(hours=1)),)
        job = await stage.submit()
        await stage.until(job, Phase.RUNNING)
        [spec] = stage.compute.specs
        running = stage.compute.report(spec.run, spec.region, stage.at(minutes=1))
        earlier = running.model_copy(update={"state": "queued"})
        other = running.model_copy(update={"state": "failed", "run": "another-run"})
        for report in (running, other, earlier):
            await job.signal("run_changed", report)
        assert (await stage.sdk(job).status()).phase is Phase.RUNNING
        assert (await job.result()).outcome is Outcome.SUCCEEDED
        assert stage.kinds() == ["plan", "dispatch", "attempt", "completion"]
