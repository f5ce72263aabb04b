"""Cumulative curves against a walk through the forecast's steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.curves import NO_FORECAST, Curves
from domain.forecast import Forecast, Signal
from tests.domain.brute_force import mean_intensity

NOW = datetime(2026, 11, 24, 2, tzinfo=UTC)


def series(zone: str, *values: float, step_s: float = 3600.0, **fields) -> Forecast:
    plain = Forecast(
        zone, Signal.AVERAGE, "test", "test", NOW, NOW, step_s, tuple(map(float, values))
    )
    return replace(plain, **fields)


MILLISECONDS = st.integers(1, 20_000_000).map(lambda number: number / 1000)
VALUES = st.lists(st.floats(0, 1000), min_size=1, max_size=12)


@given(
    values=st.lists(VALUES, min_size=1, max_size=3),
    steps=st.lists(st.sampled_from([300.0, 900.0, 2700.0]), min_size=3, max_size=3),
    begins_s=st.lists(MILLISECONDS, min_size=1, max_size=5),
    durations_s=st.lists(MILLISECONDS, min_size=1, max_size=3),
)
def test_means_are_those_of_a_walk(values, steps, begins_s, durations_s) -> None:
    """For every zone, duration and begin, across steps of different lengths and past the end."""
    forecasts = [
        series(f"zone-{number}", *own, step_s=step_s)
        for number, (own, step_s) in enumerate(zip(values, steps, strict=False))
    ]
    curves = Curves.of(forecasts)
    means = curves.means(np.array(begins_s), np.array(durations_s)[:, None])
    for forecast in forecasts:
        row = curves.row(forecast.zone)
        for at, duration_s in enumerate(durations_s):
            for number, begin_s in enumerate(begins_s):
                begin = NOW + timedelta(seconds=begin_s)
                walked = mean_intensity(forecast, begin, begin + timedelta(seconds=duration_s))
                assert means[row, at, number] == pytest.approx(walked, abs=1e-3, rel=1e-6)
                assert curves.mean(row, begin_s, duration_s) == means[row, at, number]


def test_zones_that_begin_later_are_on_the_same_grid() -> None:
    """The grid begins with the earliest forecast and has the smallest step."""
    curves = Curves.of(
        [series("DE", 100, 200, start=NOW + timedelta(hours=1)), series("FR", 10, 20, step_s=900.0)]
    )
    assert curves.origin == NOW
    assert curves.step_s == 900
    assert curves.seconds(NOW + timedelta(hours=1)) == 3600
    assert curves.mean(curves.row("DE"), 3600 + 1800, 3600) == pytest.approx(150)
    assert curves.mean(curves.row("FR"), 0, 1800) == pytest.approx(15)


def test_edges_lie_after_the_instant_and_as_far_as_the_forecasts() -> None:
    """An edge that is now itself is no later start; the last is the first past every horizon."""
    curves = Curves.of([series("DE", 1, 2, 3)])
    assert curves.edges_between(0.0, 1e9).tolist() == [3600, 7200, 10800, 14400]
    assert curves.edges_between(3600.0, 7200.0).tolist() == [7200]
    assert curves.edges_between(3599.999999, 7199.999999).tolist() == [3600]
    assert curves.edges_between(7200.0, 3600.0).tolist() == []


@pytest.mark.parametrize(
    ("fields", "fresh"),
    [
        ({}, True),
        ({"issued_at": NOW - timedelta(minutes=30)}, True),
        ({"issued_at": NOW - timedelta(minutes=30, microseconds=1)}, False),
        ({"start": NOW + timedelta(microseconds=1)}, False),
        ({"start": NOW - timedelta(hours=3)}, False),
        ({"start": NOW - timedelta(hours=3) + timedelta(microseconds=1)}, True),
    ],
)
def test_fresh_is_young_enough_and_covering_now(fields, fresh) -> None:
    """To the microsecond, at both ends."""
    curves = Curves.of([series("DE", 1, 2, 3, **fields), series("FR", 1, 2, 3)])
    found = curves.fresh(NOW, np.full(len(curves.providers), 1800.0))
    assert bool(found[curves.row("DE")]) is fresh
    assert found[curves.row("FR")]


def test_a_zone_without_a_forecast_is_never_fresh() -> None:
    """So no cell of it has carbon."""
    curves = Curves.of([series("DE", 1, 2, 3)])
    for zone in ("FR", None):
        assert curves.row(zone) == NO_FORECAST
        assert not curves.fresh(NOW, np.full(len(curves.providers), 1800.0))[curves.row(zone)]
