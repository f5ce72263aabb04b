from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.reclaims import expected_rework_factor


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
