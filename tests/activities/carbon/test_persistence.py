"""Persistence over a store's observations: what it makes of them, and when it declines."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.carbon.persistence import Persistence, hourly_means, project
from activities.stores.sqlite import SqliteStore
from domain import persistence
from domain.forecast import Observation, Signal
from tests.activities.carbon.loopback import NOW, forecasts, reasons

HOUR = timedelta(hours=1)
LAST = NOW.replace(minute=0)
"""The end of the newest hour that is over."""


def hours(count: int, end: datetime = LAST, zone: str = "DE") -> list[Observation]:
    """Hourly observations up to ``end``: 100 at midnight to 123 at eleven at night."""
    starts = [end - n * HOUR for n in range(count, 0, -1)]
    return [
        Observation(zone, Signal.MARGINAL, at, 3600.0, 100.0 + at.hour, "watttime") for at in starts
    ]


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "lowtide.db")


async def test_a_daily_pattern_is_carried_on(store: SqliteStore) -> None:
    """Eight equal days go on as they were, from the hour in progress; marked as what it is."""
    store.put_observations(hours(8 * 24))
    [forecast] = (await Persistence(store, Signal.MARGINAL).fetch(["DE"], NOW)).forecasts
    wanted = [100.0 + (LAST + n * HOUR).hour for n in range(48)]
    assert wanted == pytest.approx(list(forecast.values))
    assert (forecast.start, forecast.step_s) == (LAST, 3600.0)
    assert (forecast.provider, forecast.issued_at) == ("persistence", NOW)
    assert forecast.methodology == f"{persistence.METHODOLOGY} of watttime"
    assert forecast.signal is Signal.MARGINAL


async def test_hours_that_are_not_published_yet_are_forecast_too(store: SqliteStore) -> None:
    """Observations lag: the series begins now all the same."""
    store.put_observations(hours(8 * 24, end=LAST - 5 * HOUR))
    [forecast] = (await Persistence(store, Signal.MARGINAL).fetch(["DE"], NOW)).forecasts
    assert forecast.start == LAST
    wanted = [100.0 + (LAST + n * HOUR).hour for n in range(48)]
    assert wanted == pytest.approx(list(forecast.values))


async def test_when_it_declines(store: SqliteStore) -> None:
    """Nothing, too old, too few, or of the other signal: each zone with its own reason.

    A trailing day that lacks its first hours does, as providers answer 23 of them.
    """
    store.put_observations(hours(48, end=LAST - 24 * HOUR, zone="FR"))
    store.put_observations(hours(20, zone="BE"))
    store.put_observations(hours(21, zone="PL"))
    provider = Persistence(store, Signal.MARGINAL)
    answer = await provider.fetch(["DE", "FR", "BE", "PL"], NOW)
    assert {"PL"} == set(forecasts(answer))
    assert reasons(answer) == {
        "DE": "persistence: nothing was observed",
        "FR": "persistence: nothing was observed since 2026-11-23T09:00Z",
        "BE": "persistence: 20 hours were observed in a row; 24 are needed",
    }
    other = await Persistence(store, Signal.AVERAGE).fetch(["PL"], NOW)
    assert "nothing was observed" in reasons(other)["PL"]
    older = Persistence(store, Signal.MARGINAL, max_age=timedelta(hours=25))
    assert {"FR"} == set(forecasts(await older.fetch(["FR"], NOW)))


def test_a_short_hole_is_bridged_and_a_long_one_ends_the_series() -> None:
    """Three hours missing are as the hour before; of four, what lies before is not used."""
    whole = hours(40)
    for hole, refused in ((3, False), (4, True)):
        holed = whole[:10] + whole[10 + hole :]
        if refused:
            with pytest.raises(Exception, match="26 hours were observed in a row; 30"):
                project(holed, NOW, min_hours=30)
        else:
            assert project(holed, NOW, min_hours=40).start == LAST


@given(
    st.lists(st.floats(0, 2000), min_size=24, max_size=24),
    st.sampled_from([300, 900, 1800, 3600]),
)
@settings(max_examples=30)
def test_steps_of_any_length_become_hours(values: list[float], step_s: int) -> None:
    """Five-minute observations of an hour count as their mean, whatever their number."""
    count = 3600 // step_s
    points = [
        Observation(
            "DE",
            Signal.MARGINAL,
            LAST - (24 - n) * HOUR + k * timedelta(seconds=step_s),
            float(step_s),
            value + (k - (count - 1) / 2),
            "watttime",
        )
        for n, value in enumerate(values)
        for k in range(count)
    ]
    means = hourly_means(points, NOW)
    assert list(means) == [LAST - (24 - n) * HOUR for n in range(24)]
    assert list(means.values()) == pytest.approx(values, abs=1e-9)


def test_an_hour_counts_when_half_of_it_was_observed() -> None:
    """Six of twelve steps do; five do not; the hour in progress never does."""
    five = timedelta(minutes=5)

    def steps(start: datetime, count: int) -> list[Observation]:
        return [
            Observation("DE", Signal.MARGINAL, start + k * five, 300.0, 50.0, "watttime")
            for k in range(count)
        ]

    found = hourly_means(
        [*steps(LAST - 2 * HOUR, 5), *steps(LAST - HOUR, 6), *steps(LAST, 12)], NOW
    )
    assert found == {LAST - HOUR: 50.0}
