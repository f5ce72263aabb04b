from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.reclaims import (
    HALF_LIFE,
    PSEUDO_EXPOSURE_H,
    Exposure,
    ReclaimHistory,
    expected_rework_factor,
    learned_rate,
)


def simulated_factor(reclaims_per_hour: float, hours: float, trials: int) -> float:
    """Mean running time over useful time, where each reclaim starts the job over."""
    chance = random.Random(20_261_124)  # noqa: S311 - a simulation
    total = 0.0
    for _ in range(trials):
        while (reclaimed_after := chance.expovariate(reclaims_per_hour)) < hours:
            total += reclaimed_after
        total += hours
    return total / trials / hours


@pytest.mark.parametrize(("rate", "hours"), [(0.02, 2.0), (0.1, 5.0), (0.05, 24.0), (0.5, 4.0)])
def test_the_formula_is_what_a_simulation_finds(rate: float, hours: float) -> None:
    """40,000 simulated jobs a point, up to an exposure of two expected reclaims."""
    assert expected_rework_factor(rate, hours) == pytest.approx(
        simulated_factor(rate, hours, 40_000), rel=0.03
    )


def test_without_reclaims_no_work_is_done_again() -> None:
    """On-demand has the factor one, and so has a run of no length."""
    assert expected_rework_factor(0.0, 100.0) == 1.0
    assert expected_rework_factor(0.3, 0.0) == 1.0


@given(st.floats(0, 1), st.floats(0, 48), st.floats(0, 48))
def test_it_is_at_least_one_and_grows_with_exposure(rate: float, left: float, right: float) -> None:
    """Longer runs never expect less rework, nor less than none."""
    short, long = sorted((left, right))
    assert 1.0 <= expected_rework_factor(rate, short) <= expected_rework_factor(rate, long) + 1e-12


def test_it_begins_without_a_step() -> None:
    """For small exposures it is 1 + exposure / 2, and meets the limit at none."""
    assert expected_rework_factor(1e-9, 0.999) == pytest.approx(1, abs=1e-8)
    assert expected_rework_factor(1e-9, 1.001) == pytest.approx(1, abs=1e-8)
    assert expected_rework_factor(0.001, 2.0) == pytest.approx(1.001, abs=1e-6)


# ── learned rates ────────────────────────────────────────────────────────────────────────────

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOURS = st.floats(0, 1e6)
RATES = st.floats(0, 1)


def runs(hours: float, reclaims: float) -> Exposure:
    return Exposure(hours=hours, reclaims=reclaims)


def test_the_belief_stands_until_our_own_runs_outweigh_it() -> None:
    """Without runs the belief; after as many hours as it counts for, half of each; then theirs."""
    believed, shown = 0.0001, 0.01
    assert learned_rate(believed, runs(0, 0)) == believed
    hours = PSEUDO_EXPOSURE_H
    assert learned_rate(believed, runs(hours, shown * hours)) == pytest.approx(0.00505)
    hours *= 1e6
    assert learned_rate(believed, runs(hours, shown * hours)) == pytest.approx(shown, rel=1e-5)


@given(RATES, st.floats(1e-3, 1e6), st.integers(0, 1000))
def test_a_learned_rate_lies_between_what_was_believed_and_what_was_shown(
    believed: float, hours: float, reclaims: int
) -> None:
    """Up to its last digit."""
    low, high = sorted((believed, reclaims / hours))
    assert low * (1 - 1e-5) <= learned_rate(believed, runs(hours, reclaims)) <= high * (1 + 1e-5)


def test_the_rate_that_runs_have_is_learned_from_them() -> None:
    """50,000 h at 0.01 an hour, run by run: within a tenth."""
    chance = random.Random(20_261_124)  # noqa: S311 - a simulation
    told = []
    for _ in range(10_000):
        after = chance.expovariate(0.01)
        told.append(("r", runs(min(after, 5.0), float(after < 5.0))))
    history = ReclaimHistory(as_of=NOW).and_then(told, NOW)
    assert learned_rate(0.0001, history.regions["r"]) == pytest.approx(0.01, rel=0.1)


def test_what_was_learned_counts_half_after_its_half_life() -> None:
    """Hours and reclaims alike, so that the rate fades to the belief and not to none."""
    first = ReclaimHistory(as_of=NOW).and_then([("a", runs(100, 4))], NOW)
    later = first.and_then([("b", runs(1, 0))], NOW + HALF_LIFE)
    assert later.regions["a"] == runs(50, 2)
    assert later.regions["b"] == runs(1, 0)
    much_later = later.and_then([], NOW + 60 * HALF_LIFE)
    assert learned_rate(0.0001, much_later.regions["a"]) == pytest.approx(0.0001)


@given(st.lists(st.tuples(st.sampled_from("ab"), HOURS, st.integers(0, 9)), max_size=6))
def test_the_order_of_runs_does_not_matter(told: list[tuple[str, float, int]]) -> None:
    """Nor whether a pass or two learned them, where no time lies between."""
    exposures = [(region, runs(hours, reclaims)) for region, hours, reclaims in told]
    empty = ReclaimHistory(as_of=NOW)
    together = empty.and_then(exposures, NOW)
    apart = empty.and_then(exposures[1:][::-1], NOW).and_then(exposures[:1], NOW)
    assert together.regions.keys() == apart.regions.keys() == {region for region, _, _ in told}
    for region, found in together.regions.items():
        assert found.hours == pytest.approx(apart.regions[region].hours)
        assert found.reclaims == apart.regions[region].reclaims


def test_a_clock_behind_the_last_ones_undoes_nothing() -> None:
    """Another worker's may be: what was learned does not grow by it."""
    first = ReclaimHistory(as_of=NOW).and_then([("a", runs(100, 4))], NOW)
    behind = first.and_then([("a", runs(1, 0))], NOW - HALF_LIFE)
    assert behind == ReclaimHistory(as_of=NOW, regions={"a": runs(101, 4)})


def test_it_is_read_back_as_it_was_written() -> None:
    """As a document that workers share; none of less than nothing."""
    history = ReclaimHistory(as_of=NOW, regions={"a": runs(0.1, 3)})
    assert ReclaimHistory.model_validate_json(history.model_dump_json()) == history
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        ReclaimHistory.model_validate_json(history.model_dump_json().replace("0.1", "-0.1"))
