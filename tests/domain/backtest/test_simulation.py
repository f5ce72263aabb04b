"""Jobs under rules, event by event."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import numpy as np
import pytest

from domain.backtest.case import Case, RuleName
from domain.backtest.luck import Luck
from domain.backtest.result import RuleResult
from domain.backtest.simulation import simulate
from domain.capacity import CapacityType
from domain.forecast import Forecast, Signal
from domain.manifest import Interruptible
from domain.policy import JobClass, RegionPolicy, RoomLimit, Weights
from domain.prices import ComputePrice
from tests.domain.backtest.small import (
    START,
    Told,
    case,
    hours_under,
    job,
    runs_under,
)
from tests.domain.hand_made import BOTH, GERMANY, HOUR

RULES = sorted(set(RuleName) - {RuleName.OPTIMUM})
ONE_JOB = RegionPolicy(on_demand=RoomLimit(vcpus=4))
FLAT = [100.0] * 120
FREQUENT = ComputePrice(0.01, 0.0, 0.0, 0.2)
"""Spot that is taken back every five hours."""


# ── a run ────────────────────────────────────────────────────────────────────────────────────


def test_a_run_begins_after_start_up_and_is_delayed_by_its_wait() -> None:
    grid = {"DE": [300, 300, 300, 100, 100, *FLAT]}
    made = case(grid, job(0, 0.5, 2, 9), start_up=timedelta(minutes=30))
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 3.5, 5.5)]
    result = simulate(made, RuleName.LOWTIDE)
    assert result.delays_s.tolist() == [2.5 * 3600]
    assert result.deadlines_missed == 0


def test_both_signals_are_accounted_whichever_steers() -> None:
    """4 vCPUs and 16 GiB draw the same in every hour: grams go as the intensities do."""
    average, marginal = {"DE": [300, 100, *FLAT]}, {"DE": [50, 900, *FLAT]}
    made = case(average, job(0, 0, 1, 1), marginal=marginal)
    steered, at_once = simulate(made, RuleName.LOWTIDE), simulate(made, RuleName.RUN_AT_ONCE)
    share = {name: steered.carbon_g[name] / at_once.carbon_g[name] for name in Signal}
    assert share == pytest.approx({Signal.AVERAGE: 100 / 300, Signal.MARGINAL: 900 / 50})


def test_a_deadline_that_cannot_be_met_is_missed_and_counted() -> None:
    made = case({"DE": FLAT}, job(0, 0, 4, -1), job(1, 0, 4, 0))
    result = simulate(made, RuleName.LOWTIDE)
    assert result.deadlines_missed == 1
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 0, 4)] * 2


# ── room ─────────────────────────────────────────────────────────────────────────────────────


def test_the_second_job_waits_for_the_room_that_the_first_has_taken() -> None:
    grid = {"DE": [300, 300, 100, 100, 200, 200, *[300] * 60]}
    made = case(grid, job(0, 0, 2, 9), job(1, 0.5, 2, 9), offer=ONE_JOB)
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 2, 4), (GERMANY, 4, 6)]


def test_room_held_for_a_slow_run_is_free_when_the_run_has_ended() -> None:
    """The first job ends at 2, though it might have held its machine until 6."""
    first, second = job(0, 0, 2, 0, p95_h=6), job(1, 2, 1, 9)
    made = case({"DE": [100, 100, 100, *[300] * 60]}, first, second, offer=ONE_JOB)
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 0, 2), (GERMANY, 2, 3)]


def test_a_job_that_has_no_time_to_wait_goes_over_the_room_and_is_counted() -> None:
    jobs = [job(number, 0, 2, 0) for number in range(3)]
    result = simulate(case({"DE": FLAT}, *jobs, offer=ONE_JOB), RuleName.LOWTIDE)
    assert (result.over_room, result.deadlines_missed) == (2, 0)


# ── looking again ────────────────────────────────────────────────────────────────────────────

CHANGED = Told(
    (0, {"DE": [300] * 20 + [100] * 4 + [300] * 24}),
    (6, {"DE": [300] * 4 + [50] * 4 + [300] * 40}),
)
"""Hours 20 to 23 are promised; from hour 6 on, hours 10 to 13."""


def test_a_job_that_looks_again_goes_by_the_newer_forecast() -> None:
    made = case({"DE": FLAT}, job(0, 0, 4, 40), forecasts=CHANGED, forecast_max_age=24 * HOUR)
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 10, 14)]
    assert hours_under(made, RuleName.LOWTIDE_ONCE) == [(GERMANY, 20, 24)]


def test_looks_come_as_the_wait_halves_and_once_before_the_start() -> None:
    """A wait of 24 h: at 12 h and 18 h, and at the start; with the plan itself four decisions."""
    grid = {"DE": [300] * 24 + [100] * 24}
    made = case(grid, job(0, 0, 4, 40))
    assert simulate(made, RuleName.LOWTIDE).decisions == 4
    assert simulate(made, RuleName.LOWTIDE_ONCE).decisions == 1


def test_the_look_before_the_start_still_can_put_it_off() -> None:
    told = Told(
        (0, {"DE": [300] * 3 + [100] * 4 + [300] * 24}),
        (3, {"DE": [300] * 4 + [50] * 4 + [300] * 40}),
    )
    made = case({"DE": FLAT}, job(0, 0, 4, 40), forecasts=told, forecast_max_age=24 * HOUR)
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 7, 11)]


def test_a_look_keeps_the_plan_that_is_as_good_as_the_new_one() -> None:
    """The new cell is 1 % of the range better, where 2 % are asked for."""
    told = Told(
        (0, {"DE": [300] * 3 + [100] * 4 + [300] * 40}),
        (3, {"DE": [100] * 4 + [300] * 4 + [98] * 4 + [300] * 40}),
    )
    made = case({"DE": FLAT}, job(0, 0, 4, 40), forecasts=told, forecast_max_age=24 * HOUR)
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 3, 7)]


class Boastful:
    """Promises half the carbon ten hours ahead, every hour anew; it never comes."""

    name, max_age = "boastful", 2 * HOUR

    @cache  # noqa: B019 - one object for each hour, as long as the test
    def _issued(self, hour: int) -> tuple[Forecast, ...]:
        at = START + hour * HOUR
        promised = (100.0,) * 10 + (50.0,) * 4 + (100.0,) * 34
        return (Forecast("DE", Signal.AVERAGE, "told", "told", at, at, 3600.0, promised),)

    def issue(self, now: datetime) -> tuple[Forecast, ...]:
        return self._issued((now - START) // HOUR)


def test_a_forecast_that_never_keeps_its_promises_is_not_waited_for_any_more() -> None:
    """What is learned on the way leaves less of its saving than the class asks for."""
    days, asks = 20, {"batch": JobClass(min_saving_percent=20)}
    jobs = [job(number, number * 24, 4, 14) for number in range(days)]
    made = case({"DE": [100.0] * (days + 3) * 24}, *jobs, forecasts=Boastful(), job_classes=asks)
    begins = [run[1] for run in hours_under(made, RuleName.LOWTIDE_ONCE)]
    assert begins[0] == 10
    assert begins[-1] == (days - 1) * 24


# ── reclaims ─────────────────────────────────────────────────────────────────────────────────


def reclaimed(seed: int = 3, **job_fields) -> Case:
    """Twenty jobs on Spot that is often taken back."""
    jobs = [job(number, number, 4, 40, **job_fields) for number in range(20)]
    return case(
        {"DE": FLAT},
        *jobs,
        offer=BOTH,
        spot_price=FREQUENT,
        seed=seed,
        weights=Weights(carbon=0, cost=1),
        start_up=HOUR / 4,
    )


def test_reclaimed_work_is_charged_wasted_and_done_again() -> None:
    made = reclaimed()
    result = simulate(made, RuleName.RUN_AT_ONCE)
    by_place = runs_under(made, RuleName.RUN_AT_ONCE)
    lengths = np.concatenate([runs.hours for runs in by_place.values()])
    assert result.reclaims == np.count_nonzero(lengths < 4 - 1e-9) > 0
    assert np.count_nonzero(np.isclose(lengths, 4)) == 20
    assert result.wasted_vcpu_hours == pytest.approx(4 * lengths[lengths < 4 - 1e-9].sum())


def test_all_rules_meet_the_same_reclaims() -> None:
    """Where there is but one place at one time, every rule has the same runs."""
    jobs = [job(number, 5 * number, 4, 40) for number in range(20)]
    spot = RegionPolicy(spot=RoomLimit(vcpus=1000))
    made = case({"DE": [100.0] * 200}, *jobs, offer=spot, spot_price=FREQUENT)
    told = [hours_under(made, rule) for rule in RULES]
    assert len(told[0]) > 20
    assert all(runs == told[0] for runs in told)


def test_the_same_seed_has_the_same_result_and_another_has_another() -> None:
    results = [simulate(reclaimed(seed), RuleName.LOWTIDE) for seed in (3, 3, 4)]
    again, other = (_differs(results[0], result) for result in results[1:])
    assert not again
    assert other


def _differs(left: RuleResult, right: RuleResult) -> bool:
    plain = [
        (item.carbon_g, item.cost_usd, item.reclaims, item.wasted_vcpu_hours, item.decisions)
        for item in (left, right)
    ]
    return plain[0] != plain[1] or not np.array_equal(left.delays_s, right.delays_s)


def test_without_runway_for_another_reclaim_a_job_goes_on_demand() -> None:
    """Room for one reclaim of a run of four hours, not for two."""
    made = reclaimed()
    short = [replace(item, deadline=item.submitted + 9 * HOUR) for item in made.jobs]
    made = replace(made, jobs=short)
    result = simulate(made, RuleName.LOWTIDE)
    assert result.deadlines_missed == 0 < result.reclaims
    assert {kind for _, kind in runs_under(made, RuleName.LOWTIDE)} == set(CapacityType)


def test_after_a_reclaim_without_runway_it_does_not_wait_for_a_cleaner_hour() -> None:
    """Taken back at 2, when only on-demand is safe: at once, though hour 5 is as clean as could
    be.
    """
    rate = Luck(1, 1).lasts_s(0, 0, 1.0) / 3600 / 2
    made = case(
        {"DE": [10] * 4 + [300] + [10] * 60},
        job(0, 0, 4, 5),
        offer=BOTH,
        spot_price=replace(FREQUENT, reclaims_per_hour=rate),
        weights=Weights(carbon=0.1, cost=0.9),
        seed=1,
    )
    assert hours_under(made, RuleName.LOWTIDE) == [(GERMANY, 0, 2), (GERMANY, 2, 6)]


def test_luck_is_by_job_and_attempt_and_scales_with_the_rate() -> None:
    luck, later = Luck(1, 1000), Luck(1, 1000)
    later.lasts_s(0, 2, 1.0)
    assert luck.lasts_s(7, 2, 0.5) == later.lasts_s(7, 2, 0.25) / 2
    assert luck.lasts_s(7, 0, 1.0) != luck.lasts_s(7, 1, 1.0) != luck.lasts_s(8, 1, 1.0)
    assert luck.lasts_s(7, 0, 0.0) == float("inf")
    mean_h = np.mean([luck.lasts_s(number, 0, 0.2) for number in range(1000)]) / 3600
    assert mean_h == pytest.approx(5, rel=0.1)


# ── chunks ───────────────────────────────────────────────────────────────────────────────────

IN_CHUNKS = Interruptible(min_chunk=HOUR, checkpoint=True)
COSTLY = Interruptible(min_chunk=HOUR, checkpoint=True, resume_overhead=timedelta(minutes=15))


@pytest.mark.parametrize("rule", [RuleName.LOWTIDE, RuleName.LOWTIDE_ONCE])
def test_an_interruptible_job_runs_in_the_cleanest_hours(rule: RuleName) -> None:
    grid = {"DE": [300, 100, 300, 300, 50, 300, 80, *[300] * 60]}
    made = case(grid, job(0, 0, 3, 20, interruptible=IN_CHUNKS))
    assert hours_under(made, rule) == [(GERMANY, 1, 2), (GERMANY, 4, 5), (GERMANY, 6, 7)]
    assert simulate(made, rule).wasted_vcpu_hours == 0


def test_peers_run_an_interruptible_job_in_one_piece() -> None:
    grid = {"DE": [300, 100, 300, 300, 50, 300, 80, *[300] * 60]}
    made = case(grid, job(0, 0, 3, 20, interruptible=IN_CHUNKS))
    assert hours_under(made, RuleName.LOWEST_WINDOW) == [(GERMANY, 4, 7)]


def test_taking_up_a_checkpoint_takes_time_and_counts_as_wasted() -> None:
    grid = {"DE": [300, 10, 300, 300, 10, 10, *[300] * 60]}
    made = case(grid, job(0, 0, 2.5, 20, interruptible=COSTLY))
    told, result = hours_under(made, RuleName.LOWTIDE), simulate(made, RuleName.LOWTIDE)
    assert told == [(GERMANY, 1, 2), (GERMANY, 4, 5.75)]
    assert result.wasted_vcpu_hours == pytest.approx(4 * 0.25)


@pytest.mark.parametrize("rule", RULES)
def test_a_reclaim_costs_an_interruptible_job_no_work(rule: RuleName) -> None:
    made = reclaimed(interruptible=IN_CHUNKS)
    result = simulate(made, rule)
    assert result.reclaims > 0
    assert result.wasted_vcpu_hours == 0
    ran = sum(runs.hours.sum() for runs in runs_under(made, rule).values())
    assert ran == pytest.approx(20 * 4)


def test_a_chunk_gives_its_room_back_when_it_is_over() -> None:
    """The second job finds the machine free between the chunks of the first."""
    grid = {"DE": [100, 300, 300, 100, *[400] * 60]}
    first = job(0, 0, 2, 20, interruptible=IN_CHUNKS)
    made = case(grid, first, job(1, 0.5, 2, 20), offer=ONE_JOB)
    assert hours_under(made, RuleName.LOWTIDE) == [
        (GERMANY, 0, 1),
        (GERMANY, 1, 3),
        (GERMANY, 3, 4),
    ]
