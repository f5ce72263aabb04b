from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.persistence import (
    CORRECTION_DECAY_PER_HOUR,
    DAYS_OF_PATTERN,
    persistence_forecast,
)

INTENSITIES = st.floats(0, 2000, allow_nan=False)


def day(hour: float) -> float:
    """A pure daily wave."""
    return 300 + 200 * math.sin(2 * math.pi * hour / 24)


@pytest.mark.parametrize("days", [1, 3, 7, 25])
@pytest.mark.parametrize("steps_per_day", [24, 48, 288])
def test_a_pure_daily_wave_goes_on_as_it_was(days: int, steps_per_day: int) -> None:
    """Each step ahead takes its own hour of the day: an hour's mistake would cost up to 52 g."""
    at = [step * 24 / steps_per_day for step in range((days + 2) * steps_per_day)]
    wave = [day(hour) for hour in at]
    past, future = wave[: days * steps_per_day], wave[days * steps_per_day :]
    forecast = persistence_forecast(past, len(future), steps_per_day)
    assert forecast == pytest.approx(future, abs=0.001)


def test_a_wave_that_does_not_begin_at_midnight_goes_on_as_it_was() -> None:
    """What counts is the distance in days, wherever the series begins or ends."""
    wave = [day(hour) for hour in range(5, 5 + 100 + 30)]
    assert persistence_forecast(wave[:100], 30) == pytest.approx(wave[100:], abs=0.001)


def test_newer_days_count_for_more() -> None:
    """Two days at 100, yesterday at 170: the days count for 0.81, 0.9 and 1."""
    past = [100.0] * 24 * 2 + [170.0] * 24
    far = persistence_forecast(past, 24 * 9)[-1]
    assert far == pytest.approx((0.81 * 100 + 0.9 * 100 + 170) / 2.71, abs=0.001)


def test_the_newest_deviation_fades_with_the_lead_time() -> None:
    """A last hour of 150 g after two days at 100 g, reckoned by hand.

    That hour's pattern is (0.9 x 100 + 150) / 1.9 = 126.316; the deviation of 23.684 is 0.93 of
    itself an hour ahead, 0.93 squared two hours ahead, and little after two days.
    """
    past = [100.0] * (24 * 2 - 1) + [150.0]
    forecast = persistence_forecast(past, 48)
    assert forecast[0] == pytest.approx(100 + 23.684 * 0.93, abs=0.01)
    assert forecast[1] == pytest.approx(100 + 23.684 * 0.93**2, abs=0.01)
    assert forecast[23] == pytest.approx(126.316 + 23.684 * 0.93**24, abs=0.01)
    assert forecast[46] == pytest.approx(100 + 23.684 * 0.93**47, abs=0.02)


def test_half_hours_fade_at_the_same_pace() -> None:
    """The decay is by hours, whatever the step."""
    past = [100.0] * (48 * 2 - 1) + [150.0]
    forecast = persistence_forecast(past, 4, steps_per_day=48)
    deviation = 150 - 126.316
    expected = [100 + deviation * CORRECTION_DECAY_PER_HOUR**lead for lead in (0.5, 1.0, 1.5, 2.0)]
    assert forecast == pytest.approx(expected, abs=0.01)


def test_less_than_a_day_carries_the_last_value_on() -> None:
    """There is no pattern yet."""
    assert persistence_forecast([80.0, 90.0, 120.0], 5) == (120.0,) * 5
    assert persistence_forecast([80.0] * 22 + [120.0], 2) == (120.0,) * 2


def test_nothing_observed_is_refused() -> None:
    """A forecast out of nothing would look like a forecast."""
    with pytest.raises(ValueError, match="at least one observation"):
        persistence_forecast([], 24)


@given(
    st.lists(INTENSITIES, min_size=1, max_size=24 * 9),
    st.integers(1, 200),
    st.sampled_from([24, 48]),
)
def test_never_negative_always_finite_and_as_long_as_asked(
    past: list[float], horizon: int, steps_per_day: int
) -> None:
    """A deviation downwards never goes below nothing."""
    forecast = persistence_forecast(past, horizon, steps_per_day)
    assert len(forecast) == horizon
    assert all(value >= 0 and math.isfinite(value) for value in forecast)
    assert persistence_forecast(np.asarray(past), horizon, steps_per_day) == forecast


@given(st.integers(0, 2**32 - 1))
def test_older_days_do_not_count(seed: int) -> None:
    """Whatever was before them."""
    past = np.random.default_rng(seed).uniform(0, 2000, 24 * DAYS_OF_PATTERN).tolist()
    assert persistence_forecast([999.0] * 24 + past, 48) == persistence_forecast(past, 48)
