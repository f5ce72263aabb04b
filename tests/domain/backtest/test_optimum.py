"""The optimum against loops over every cell, and against what rules reach."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.backtest.case import Case, RuleName
from domain.backtest.feasible import Feasible
from domain.backtest.optimum import optimum
from domain.backtest.simulation import simulate
from domain.errors import NoLegalRegion
from domain.forecast import Signal
from domain.policy import RegionPolicy, ResidencyClass, RoomLimit
from domain.prices import ComputePrice
from tests.domain.backtest import naive
from tests.domain.backtest.small import case, job
from tests.domain.hand_made import BOTH, FRANCE, GERMANY

SPOT_ONLY = RegionPolicy(spot=RoomLimit(vcpus=100))
CALM = ComputePrice(0.01, 0.0, 0.0, 0.0)


@st.composite
def cases(draw: st.DrawFn, most: int, vcpus: tuple[float, ...] = (4.0,), **world) -> Case:
    """Two days in two zones; jobs at any minute, some too late for their deadline."""
    values = st.lists(st.integers(0, 500), min_size=48, max_size=48)
    grid = {"DE": draw(values), "SE-SE3": draw(values)}
    jobs = []
    for number in range(draw(st.integers(1, most))):
        runtime_h = draw(st.integers(1, 40)) / 10
        jobs.append(
            job(
                number,
                draw(st.sampled_from([0, 1, 1.25, 3.1])),
                runtime_h,
                draw(st.sampled_from([-0.5, 0, 1, 2.5, 9])),
                p95_h=runtime_h * draw(st.sampled_from([1.0, 1.5])),
                vcpus=draw(st.sampled_from(vcpus)),
                residency=draw(st.sampled_from(["eu", "eu", "abroad"])),
            )
        )
    jobs.sort(key=lambda item: item.submitted)
    plain = {
        "offer": draw(st.sampled_from([BOTH, SPOT_ONLY])),
        "start_up": timedelta(minutes=draw(st.sampled_from([0, 5]))),
        "safety_margin": timedelta(minutes=draw(st.sampled_from([0, 45]))),
        "steering_signal": draw(st.sampled_from([*Signal])),
        **world,
    }
    return case(grid, *jobs, marginal={zone: hours[::-1] for zone, hours in grid.items()}, **plain)


# ── without limits that bind ─────────────────────────────────────────────────────────────────


@given(cases(most=4))
@settings(max_examples=40, deadline=None)
def test_without_limits_it_is_what_loops_over_every_cell_find(made: Case) -> None:
    """Carbon of both signals, by walls of both capacity types, and nothing is called a bound."""
    result, signal = optimum(made), made.policy.steering_signal
    least = [min(cell.grams for cell in naive.cells(made, item)) for item in made.jobs]
    assert result.carbon_g[signal] == pytest.approx(sum(least), rel=1e-9, abs=1e-9)
    assert (result.gap, result.is_bound, result.over_room) == (None, False, 0)
    in_time = [
        item.deadline - item.submitted
        >= made.policy.start_up + timedelta(seconds=item.runtime_s + 1e-6)
        for item in made.jobs
    ]
    assert result.deadlines_missed <= len(made.jobs) - sum(in_time)


@given(cases(most=4))
@settings(max_examples=40, deadline=None)
def test_every_start_is_within_the_walls(made: Case) -> None:
    """Each job's cell is one of those that loops find."""
    feasible = Feasible.of(made, made.jobs)
    plan = feasible.cheapest(feasible.best())
    for item, place, start_s in zip(made.jobs, plan.places, plan.starts_s, strict=True):
        start = feasible.origin + timedelta(seconds=float(start_s))
        allowed = {cell.where for cell in naive.cells(made, item)}
        assert (*feasible.places[int(place)], start) in allowed


def test_of_cells_that_are_as_clean_the_earliest_then_the_cheapest_is_taken() -> None:
    """On a grid that never changes a job runs at once on Spot."""
    made = case({"DE": [100] * 48}, job(0, 0.5, 2, 12), offer=BOTH)
    result = optimum(made)
    assert result.delays_s.tolist() == [0.0]
    assert result.cost_usd == pytest.approx(4 * 2 * 0.01)
    assert result.vcpu_hours[GERMANY][:4].tolist() == [2.0, 4.0, 2.0, 0.0]


def test_a_job_that_cannot_be_in_time_runs_at_once_and_is_missed() -> None:
    """Nor does it wait for a cleaner hour."""
    made = case({"DE": [300, 200, 100, *[50] * 45]}, job(0, 0, 2, -1))
    result = optimum(made)
    assert result.deadlines_missed == 1
    assert result.delays_s.tolist() == [0.0]


def test_a_job_without_a_legal_place_is_refused() -> None:
    """As a placement would."""
    nowhere = {"eu": ResidencyClass(countries=("FR",))}
    made = case({"DE": [100] * 24}, job(0, 0, 1, 4), residency=nowhere)
    with pytest.raises(NoLegalRegion):
        optimum(made)


def test_a_place_above_the_ceiling_is_left_out() -> None:
    """The cleanest hour is behind Spot's wall; on-demand would reach it, and is too dear."""
    grid = {"DE": [300, 300, 200, 10, *[300] * 20]}
    jobs = job(0, 0, 1, 3)
    assert optimum(case(grid, jobs, offer=BOTH)).delays_s.tolist() == [3 * 3600.0]
    cheap = optimum(case(grid, jobs, offer=BOTH, max_usd_per_vcpu_hour=0.02))
    assert cheap.delays_s.tolist() == [2 * 3600.0]


@given(cases(most=6, offer=BOTH, spot_price=CALM, steering_signal=Signal.AVERAGE))
@settings(max_examples=30, deadline=None)
def test_the_product_with_a_perfect_forecast_reaches_it(made: Case) -> None:
    """Written apart, both find the same grams where carbon alone counts and nobody is late."""
    assume(all(len(naive.in_time(made, item)) for item in made.jobs))
    found, best = simulate(made, RuleName.LOWTIDE), optimum(made)
    for signal in Signal:
        assert found.carbon_g[signal] == pytest.approx(best.carbon_g[signal], rel=1e-6, abs=1e-6)


# ── with limits ──────────────────────────────────────────────────────────────────────────────

TIGHT = RegionPolicy(on_demand=RoomLimit(vcpus=8))


@given(cases(most=3, vcpus=(4.0, 8.0), offer=TIGHT))
@settings(max_examples=40, deadline=None)
def test_with_limits_it_is_the_best_of_all_ways_to_share_room(made: Case) -> None:
    """Where some way fits. What begins and ends between two ticks may slip in beside."""
    least, result = naive.least_g(made), optimum(made)
    assume(np.isfinite(least))
    found = result.carbon_g[made.policy.steering_signal]
    assert found <= least * (1 + 1e-4) + 1e-6
    assert result.over_room == 0
    if all(item.runtime_s % 300 == 0 and item.submitted.minute % 5 == 0 for item in made.jobs):
        assert found == pytest.approx(least, rel=1e-4, abs=1e-6)


def test_who_gains_most_gets_the_cleanest_hour() -> None:
    """One machine, two jobs: the larger one waits for it, though the smaller came first."""
    grid = {"DE": [300, 300, 10, 200, 200, 200, *[300] * 42]}
    one = RegionPolicy(on_demand=RoomLimit(vcpus=8))
    jobs = job(0, 0, 1, 5, vcpus=4.0), job(1, 0, 1, 5, vcpus=8.0)
    result = optimum(case(grid, *jobs, offer=one))
    assert [delay / 3600 for delay in result.delays_s] == [3.0, 2.0]
    assert result.gap is None
    assert not result.is_bound


def test_jobs_that_find_no_room_run_over_it_and_are_counted() -> None:
    """Three whole-machine jobs, all due at once, and one machine."""
    one = RegionPolicy(on_demand=RoomLimit(vcpus=4))
    result = optimum(case({"DE": [100] * 24}, *(job(at, 0, 2, 0) for at in range(3)), offer=one))
    assert result.over_room == 2
    assert result.deadlines_missed == 0


def test_a_grid_without_carbon_is_shared_too() -> None:
    """Nothing can be saved, and nothing divides by it."""
    one = RegionPolicy(on_demand=RoomLimit(vcpus=4))
    result = optimum(case({"DE": [0] * 48}, *(job(at, 0, 2, 9) for at in range(4)), offer=one))
    assert (result.over_room, result.carbon_g[Signal.AVERAGE]) == (0, 0.0)


@given(
    cases(most=8, vcpus=(4.0, 8.0), offer=TIGHT, spot_price=CALM),
    st.sampled_from([RuleName.LOWTIDE, RuleName.LOWTIDE_ONCE, RuleName.STATIC_GREENEST]),
)
@settings(max_examples=40, deadline=None)
def test_no_rule_that_stays_within_room_does_better(made: Case, rule: RuleName) -> None:
    """Though rules hold room by the hour and the optimum only while a run goes on."""
    result, best = simulate(made, rule), optimum(made)
    assume(not result.over_room)
    signal = made.policy.steering_signal
    least = best.carbon_g[signal] * (1 if best.is_bound else 1 - (best.gap or 0.0))
    assert result.carbon_g[signal] >= least * (1 - 1e-6) - 1e-6


def test_the_clock_and_progress_that_are_passed_in_are_used() -> None:
    """Nothing else tells the time."""
    told: list[int] = []
    ticks = iter([10.0, 12.5])
    made = case({"DE": [100] * 24, "FR": [50] * 24}, job(0, 0, 1, 4), job(1, 1, 1, 4))
    result = optimum(made, clock=lambda: next(ticks), progress=told.append)
    assert (result.seconds, told) == (2.5, [2])
    assert set(result.vcpu_hours) == {FRANCE}
