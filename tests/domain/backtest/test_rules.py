"""Each rule on a grid on which it differs from the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domain.backtest.case import Case, RuleName
from domain.backtest.forecasts import Noisy, Perfect
from domain.backtest.rules import rule_of
from domain.backtest.simulation import simulate
from domain.capacity import CapacityType
from domain.forecast import Signal
from domain.policy import JobClass, RegionPolicy, RoomLimit, Weights
from domain.prices import ComputePrice
from tests.domain.backtest.small import HORIZON, case, hours_under, job, runs_under, trace
from tests.domain.hand_made import BOTH, FRANCE, GERMANY, SWEDEN

LUCKY = 1
"""A seed by which the first job is not reclaimed."""
ONE_JOB = RegionPolicy(on_demand=RoomLimit(vcpus=4))

GRID = {
    # Lowest point in hour 3, lowest pair in 6 and 7.
    "DE": [500, 400, 400, 100, 400, 400, 150, 150] + [500] * 40,
    # Cleanest now, dirty by its mean.
    "FR": [40, 600, 600, 600, 600, 600, 600, 600] + [600] * 40,
    # Cleanest by its mean, dirty now.
    "SE-SE3": [300, 300, 300, 300, 30, 30, 300, 300] + [200] * 40,
}


def test_run_at_once_is_at_home_at_submission() -> None:
    made = case(GRID, job(0, 1.5, 2, 20))
    assert hours_under(made, RuleName.RUN_AT_ONCE) == [(GERMANY, 1.5, 3.5)]


def test_run_at_once_knows_no_room() -> None:
    made = case(GRID, *(job(number, 1, 2, 20) for number in range(3)), offer=ONE_JOB)
    assert hours_under(made, RuleName.RUN_AT_ONCE) == [(GERMANY, 1, 3)] * 3
    assert simulate(made, RuleName.RUN_AT_ONCE).over_room == 0


def test_run_at_once_is_at_home_where_policy_does_not_enable_it() -> None:
    made = case(GRID, job(0, 1, 2, 20), regions=(FRANCE, SWEDEN))
    assert hours_under(made, RuleName.RUN_AT_ONCE) == [(GERMANY, 1, 3)]


def test_run_at_once_does_not_hear_forecasts() -> None:
    jobs = [job(number, number / 2, 2, 20) for number in range(8)]
    average = {Signal.AVERAGE: trace(GRID)}
    wild = case(GRID, *jobs, forecasts=Noisy(average, HORIZON, 2.0, seed=3))
    assert hours_under(wild, RuleName.RUN_AT_ONCE) == hours_under(
        case(GRID, *jobs), RuleName.RUN_AT_ONCE
    )


def test_static_greenest_goes_to_the_lowest_annual_mean_at_once() -> None:
    made = case(GRID, job(0, 0, 2, 20))
    assert hours_under(made, RuleName.STATIC_GREENEST) == [(SWEDEN, 0, 2)]


def test_static_greenest_takes_the_next_greenest_where_room_is_full() -> None:
    made = case(GRID, *(job(number, 0, 2, 20) for number in range(3)), offer=ONE_JOB)
    told = [run[0] for run in hours_under(made, RuleName.STATIC_GREENEST)]
    assert sorted(told) == sorted([SWEDEN, GERMANY, FRANCE])


def test_who_runs_at_once_waits_for_room_where_there_is_none_anywhere() -> None:
    """Room that is held for a p95 run is free again when the run has ended."""
    jobs = [job(number, 0, 2, 20) for number in range(4)]
    made = case(GRID, *jobs, offer=ONE_JOB)
    for rule in (RuleName.STATIC_GREENEST, RuleName.CHEAPEST):
        begins = [run[1] for run in hours_under(made, rule)]
        assert begins == [0, 0, 0, 2]
        assert simulate(made, rule).over_room == 0


def test_cheapest_goes_where_the_price_is_lowest_at_once() -> None:
    made = case(GRID, job(0, 0, 2, 20))
    cheap = {(FRANCE, CapacityType.ON_DEMAND): ComputePrice(0.02, 0.0, 0.0, 0.0)}
    made.prices.compute.update(cheap)
    assert hours_under(made, RuleName.CHEAPEST) == [(FRANCE, 0, 2)]


def test_lowest_point_starts_at_the_lowest_value_of_all_regions() -> None:
    made = case({"DE": GRID["DE"]}, job(0, 0, 2, 20))
    assert hours_under(made, RuleName.LOWEST_POINT) == [(GERMANY, 3, 5)]
    everywhere = case(GRID, job(0, 1, 2, 20))
    assert hours_under(everywhere, RuleName.LOWEST_POINT) == [(SWEDEN, 4, 6)]


def test_lowest_point_keeps_the_wall_of_the_whole_run() -> None:
    """The lowest value in time for the deadline is not the lowest of all."""
    made = case({"DE": GRID["DE"]}, job(0, 0, 2, 2))
    assert hours_under(made, RuleName.LOWEST_POINT) == [(GERMANY, 1, 3)]


def test_lowest_window_takes_the_lowest_mean_at_home() -> None:
    made = case(GRID, job(0, 0, 2, 20))
    assert hours_under(made, RuleName.LOWEST_WINDOW) == [(GERMANY, 6, 8)]


def test_lowest_window_takes_the_greenest_legal_region_where_home_is_not_legal() -> None:
    made = case(GRID, job(0, 0, 2, 20, residency="abroad"))
    assert hours_under(made, RuleName.LOWEST_WINDOW) == [(SWEDEN, 4, 6)]


def test_peers_take_the_cheaper_capacity_type() -> None:
    """Carbon alone would tell Spot's rework from on-demand; peers do not know of reclaims."""
    spot = ComputePrice(0.01, 0.0, 0.0, 0.05)
    made = case(GRID, job(0, 0, 2, 20), offer=BOTH, spot_price=spot, seed=LUCKY)
    for rule in (RuleName.STATIC_GREENEST, RuleName.LOWEST_POINT, RuleName.LOWEST_WINDOW):
        assert {kind for _, kind in runs_under(made, rule)} == {CapacityType.SPOT}


def test_what_bounds_our_own_choice_does_not_bind_peers() -> None:
    """A job class that asks for the impossible, and a marginal signal that forbids every move."""
    made = case(GRID, job(0, 0, 2, 20), marginal={**GRID, "DE": [1.0] * 48})
    told = Perfect(made.truth, HORIZON)
    asks_all = {"job_classes": {"batch": JobClass(min_saving_percent=100)}}
    for bound in (asks_all, {"no_harm": True}):
        policy = made.policy.model_copy(update=bound)
        bounded = replace(made, policy=policy, forecasts=told)
        assert hours_under(bounded, RuleName.LOWTIDE) == [(GERMANY, *_at(bounded))]
        assert hours_under(bounded, RuleName.LOWEST_POINT) == [(SWEDEN, 4, 6)]


def _at(made: Case) -> tuple[float, float]:
    """Without harm the best hours at home are still free; without a saving it runs now."""
    return (6, 8) if made.policy.no_harm else (0, 2)


@pytest.mark.parametrize("rule", [RuleName.LOWTIDE, RuleName.LOWTIDE_ONCE])
def test_lowtide_takes_the_cleanest_region_and_hours(rule) -> None:
    made = case(GRID, job(0, 0, 2, 20))
    assert hours_under(made, rule) == [(SWEDEN, 4, 6)]


def test_lowtide_goes_by_the_weights_of_its_policy() -> None:
    """By cost alone, equal prices leave the earliest start."""
    made = case(GRID, job(0, 0.5, 2, 20), weights=Weights(carbon=0, cost=1))
    assert hours_under(made, RuleName.LOWTIDE)[0][1] == 0.5


def test_the_optimum_is_no_rule() -> None:
    with pytest.raises(KeyError):
        rule_of(case(GRID, job(0, 0, 2, 20)), RuleName.OPTIMUM)


def test_every_rule_keeps_residency() -> None:
    jobs = [job(number, number / 3, 2, 9, residency="abroad") for number in range(12)]
    made = case(GRID, *jobs, offer=ONE_JOB)
    for rule in set(RuleName) - {RuleName.OPTIMUM}:
        assert {region for region, _ in runs_under(made, rule)} <= {FRANCE, SWEDEN}
        assert sum(len(runs.vcpus) for runs in runs_under(made, rule).values()) == len(jobs)
    assert np.mean(GRID["SE-SE3"]) < np.mean(GRID["FR"])
