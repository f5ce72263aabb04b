"""The optimum of jobs that may be cut into chunks."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.backtest.case import Case
from domain.backtest.feasible import Feasible
from domain.backtest.job import BacktestJob
from domain.backtest.optimum import optimum
from domain.backtest.slots import cleanest_steps
from domain.manifest import Interruptible
from domain.policy import RegionPolicy, RoomLimit
from tests.domain.backtest import naive
from tests.domain.backtest.small import START, case, job
from tests.domain.hand_made import FRANCE, GERMANY, HOUR

HOURS = st.lists(st.integers(1, 400), min_size=24, max_size=24)


def terms(least: str = "1h", overhead: str = "0m", *, portable: bool = False) -> Interruptible:
    return Interruptible(
        min_chunk=least,
        checkpoint=True,
        resume_overhead=overhead,
        portable_checkpoint=portable,
    )


def in_hours(made: Case, item: BacktestJob, hours: tuple[int, ...], region: str) -> float:
    """Grams of working all through some hours."""
    at = (START + hour * HOUR for hour in hours)
    signal = made.policy.steering_signal
    return sum(naive.emitted(made, item, region, hour, hour + HOUR, signal) for hour in at)


@given(HOURS, HOURS, st.integers(1, 4), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_it_is_the_best_of_all_sets_of_hours(
    german: list[int], french: list[int], work: int, slack: int
) -> None:
    """In one region, and for a portable checkpoint in any region each hour."""
    grid = {"DE": german, "FR": french}
    fixed = job(0, 2, work, slack, interruptible=terms())
    made = case(grid, fixed)
    signal = made.policy.steering_signal
    sets = list(itertools.combinations(range(2, 2 + work + slack), work))
    least = min(
        in_hours(made, fixed, hours, region) for hours in sets for region in (GERMANY, FRANCE)
    )
    result = optimum(made)
    assert result.carbon_g[signal] == pytest.approx(least, rel=1e-9)
    assert not result.is_bound
    assert result.deadlines_missed == 0

    portable = job(0, 2, work, slack, interruptible=terms(portable=True))
    moved = case(grid, portable)
    least = min(
        sum(
            min(in_hours(moved, portable, (hour,), at) for at in (GERMANY, FRANCE))
            for hour in hours
        )
        for hours in sets
    )
    assert optimum(moved).carbon_g[signal] == pytest.approx(least, rel=1e-9)


@given(HOURS, st.integers(2, 4), st.integers(1, 6), st.sampled_from(["20m", "1h"]))
@settings(max_examples=40, deadline=None)
def test_where_chunks_cost_something_it_lies_between_the_hours_and_one_piece(
    german: list[int], work: int, slack: int, overhead: str
) -> None:
    """Never cleaner than the cleanest hours, never dirtier than without a break."""
    cut = job(0, 0, work, slack, interruptible=terms(overhead=overhead))
    made, whole = case({"DE": german}, cut), case({"DE": german}, job(0, 0, work, slack))
    signal = made.policy.steering_signal
    result = optimum(made)
    low = cleanest_steps(Feasible.of(made, made.jobs), 0, terms()).grams
    assert low <= result.carbon_g[signal] * (1 + 1e-9)
    assert result.carbon_g[signal] <= optimum(whole).carbon_g[signal] * (1 + 1e-9)
    assert not result.is_bound
    assert result.deadlines_missed == 0


def test_resuming_is_paid_for_and_the_gap_is_counted() -> None:
    """One clean hour, and two later: the second chunk works half an hour more."""
    grid = {"DE": [10, 500, 500, 10, 10, *[500] * 19]}
    made = case(grid, job(0, 0, 3, 6, interruptible=terms(overhead="30m")))
    result = optimum(made)
    assert result.vcpu_hours[GERMANY].tolist()[:6] == [4.0, 0.0, 0.0, 4.0, 4.0, 2.0]
    assert result.delays_s.tolist() == [2.5 * 3600]


def test_no_chunk_is_shorter_than_it_may_be() -> None:
    """Single clean hours are of no use to a job whose chunks last two."""
    grid = {"DE": [10, 500, 10, 500, 10, 500, 60, 60, 60, 60, *[500] * 14]}
    made = case(grid, job(0, 0, 4, 12, interruptible=terms("4h")))
    assert optimum(made).vcpu_hours[GERMANY].tolist()[6:10] == [4.0] * 4


def test_with_start_up_each_chunk_waits_for_its_machine() -> None:
    """The machine is there at the hour; work begins when it has started."""
    grid = {"DE": [10, 500, 500, 10, *[500] * 20]}
    made = case(grid, job(0, 0, 1, 6, interruptible=terms("30m")), start_up=timedelta(minutes=30))
    hours = optimum(made).vcpu_hours[GERMANY]
    assert hours[:4].tolist() == [2.0, 0.0, 0.0, 2.0]


def test_chunks_that_do_not_fit_beside_other_jobs_make_it_a_bound() -> None:
    """Room for one job only, and both want the same hour."""
    one = RegionPolicy(on_demand=RoomLimit(vcpus=4))
    grid = {"DE": [300, 10, *[300] * 22]}
    cut = job(1, 0, 1, 4, interruptible=terms())
    alone = optimum(case(grid, cut, offer=one))
    beside = optimum(case(grid, job(0, 0, 1, 4), cut, offer=one))
    assert (alone.is_bound, beside.is_bound) == (False, True)
