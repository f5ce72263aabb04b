"""Assignments of many jobs to little room: bound, plan, and the order between them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from domain.backtest.assignment import QUICK, assign, fits, lower_bound
from domain.backtest.case import Case
from domain.backtest.feasible import Feasible
from domain.backtest.optimum import limits, optimum
from domain.backtest.rolling import rolling_optimum
from domain.policy import RegionPolicy, RoomLimit
from tests.domain.backtest import naive
from tests.domain.backtest.small import case, job
from tests.domain.hand_made import HOUR

EXACT = 1 + 1e-9


def crowded(seed: int, count: int, vcpus: float = 16.0, **world) -> Case:
    """Three days in two regions, most of whose room is wanted."""
    dice = np.random.default_rng(seed)
    hours = np.arange(96)
    grid = {
        "DE": 300 + 150 * np.sin(hours / 24 * 2 * np.pi) + dice.normal(0, 20, 96),
        "SE-SE3": 60 + 20 * np.sin(hours / 24 * 2 * np.pi + 1) + dice.normal(0, 5, 96),
    }
    jobs = [
        job(
            number,
            float(hour),
            float(dice.integers(1, 7)),
            float(dice.integers(3, 30)),
            vcpus=float(dice.choice([2, 4, 8])),
        )
        for number, hour in enumerate(np.sort(dice.integers(0, 20, count)))
    ]
    offer = RegionPolicy(on_demand=RoomLimit(vcpus=vcpus))
    return case(
        {zone: values.tolist() for zone, values in grid.items()}, *jobs, offer=offer, **world
    )


@pytest.mark.parametrize("seed", range(3))
def test_bound_plan_and_first_come_first_served_are_in_order(seed: int) -> None:
    """No bound is above any plan; the plan fits and is no worse than jobs one after the other."""
    made = crowded(seed, 18, start_up=timedelta(minutes=7 * (seed % 2)))
    feasible = Feasible.of(made, made.jobs)
    room = limits(made, feasible.places, feasible.last_tick)
    quick, thorough, low = (
        assign(feasible, room, effort=QUICK),
        assign(feasible, room),
        lower_bound(feasible, room),
    )
    unlimited = float(feasible.best().values.min(axis=1).sum())
    first_come = one_after_the_other(made)
    assert not thorough.over_room.any()
    assert fits(feasible.used(thorough.plan, feasible.last_tick), room)
    for found in (quick, thorough, low):
        assert unlimited <= low.bound * EXACT
        assert found.bound <= thorough.value * EXACT
        assert found.bound <= found.value * EXACT
    assert thorough.value <= first_come * EXACT
    assert thorough.gap < 0.05
    assert thorough.value > unlimited * 1.01  # room did bind


def one_after_the_other(made: Case) -> float:
    """Each job takes the cleanest cell that the ones before it leave, by loops."""
    chosen: list[naive.NaiveCell] = []
    for item in made.jobs:
        for cell in sorted(naive.cells(made, item), key=lambda cell: cell.grams):
            if naive.fit(made, (*chosen, cell)):
                chosen.append(cell)
                break
        else:
            raise AssertionError("no room at all: not the case that is wanted")
    return sum(cell.grams for cell in chosen)


def test_a_wide_gap_makes_the_optimum_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that is too large for an assignment: the grams are the bound's, the rest a plan's."""
    made = crowded(3, 18)
    exact = optimum(made)
    monkeypatch.setattr("domain.backtest.optimum.MOST_CELLS", 0)
    found, signal = optimum(made), made.policy.steering_signal
    assert found.is_bound
    assert found.gap
    assert found.carbon_g[signal] <= exact.carbon_g[signal] * EXACT
    assert found.carbon_g[signal] >= exact.carbon_g[signal] * 0.8
    assert found.deadlines_missed == 0
    assert sum(hours.sum() for hours in found.vcpu_hours.values()) == pytest.approx(
        sum(item.vcpus * item.runtime_s / 3600 for item in made.jobs)
    )


# ── jobs that come one after the other ───────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(2))
def test_with_all_jobs_there_at_once_rolling_is_clairvoyant(seed: int) -> None:
    """Within the gaps that both tell."""
    made = crowded(seed, 14)
    together = [
        job(number, 0, item.runtime_s / 3600, 30, vcpus=item.vcpus)
        for number, item in enumerate(made.jobs)
    ]
    made = crowded_again(made, together)
    signal = made.policy.steering_signal
    rolling, best = rolling_optimum(made), optimum(made)
    gap = (rolling.gap or 0.0) + (best.gap or 0.0) + 1e-4
    assert rolling.carbon_g[signal] == pytest.approx(best.carbon_g[signal], rel=gap)


def crowded_again(made: Case, jobs: list) -> Case:
    grid = {
        zone: values.tolist()
        for zone, values in made.truth[made.policy.steering_signal].zones.items()
    }
    offer = RegionPolicy(on_demand=RoomLimit(vcpus=16))
    return case(grid, *jobs, offer=offer)


@pytest.mark.parametrize("seed", range(2))
def test_rolling_lies_between_the_clairvoyant_and_first_come_first_served(seed: int) -> None:
    """It knows less than the one and more than the other; no deadline is missed."""
    made = crowded(seed, 18)
    signal = made.policy.steering_signal
    rolling, best = rolling_optimum(made), optimum(made)
    least = best.carbon_g[signal] * (1 if best.is_bound else 1 - (best.gap or 0.0))
    assert least <= rolling.carbon_g[signal] * EXACT
    assert (rolling.deadlines_missed, rolling.over_room) == (0, 0)


def test_who_is_not_there_yet_is_not_waited_for() -> None:
    """The first job takes the cleanest hours, though a larger one will come that wants the second
    of them; the clairvoyant leaves it to that one.
    """
    grid = {"DE": [300, 300, 300, 10, 10, 250, *[300] * 42]}
    one = RegionPolicy(on_demand=RoomLimit(vcpus=8))
    made = case(grid, job(0, 0, 2, 8, vcpus=4.0), job(1, 4, 1, 1, vcpus=8.0), offer=one)
    assert [delay / 3600 for delay in rolling_optimum(made).delays_s] == [3.0, 1.0]
    assert [delay / 3600 for delay in optimum(made).delays_s] == [2.0, 0.0]


def test_rolling_reconsiders_what_has_not_started() -> None:
    """The second comes before the cleanest hour, and gets it from the first."""
    grid = {"DE": [300, 300, 300, 10, 200, 250, *[300] * 42]}
    one = RegionPolicy(on_demand=RoomLimit(vcpus=8))
    made = case(grid, job(0, 0, 1, 5, vcpus=4.0), job(1, 2, 1, 3, vcpus=8.0), offer=one)
    told: list[int] = []
    result = rolling_optimum(made, progress=told.append)
    assert [delay / 3600 for delay in result.delays_s] == [4.0, 1.0]
    assert told == [1, 2]
    assert result.gap is None


def test_rolling_plans_nothing_into_the_past() -> None:
    """Who has to give up an hour goes to a later one, though an earlier would have been cleaner."""
    grid = {"DE": [300, 300, 50, 300, 10, 200, *[300] * 42]}
    one = RegionPolicy(on_demand=RoomLimit(vcpus=8))
    made = case(grid, job(0, 0, 1, 8, vcpus=4.0), job(1, 3, 1, 1, vcpus=8.0), offer=one)
    assert [delay / 3600 for delay in rolling_optimum(made).delays_s] == [5.0, 1.0]


def test_rolling_starts_at_the_submission_where_that_is_best() -> None:
    """Inside a step, though steps are looked at as a whole."""
    made = case({"DE": [100, *[300] * 47]}, job(0, 0.25, 0.5, 9), start_up=0 * HOUR)
    assert rolling_optimum(made).delays_s.tolist() == [0.0]
