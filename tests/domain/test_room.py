from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.room import Reserved, RoomView, hour_of, hour_start, hours_touched, stretches

TWO = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)

FIRST = hour_of(TWO)
SPOT = ("aws:eu-north-1", CapacityType.SPOT)
VIEW = RoomView(
    {
        SPOT: {FIRST + 1: Reserved(2.5, 0), FIRST: Reserved(4.0, 1)},
        ("aws:eu-central-1", CapacityType.ON_DEMAND): {FIRST: Reserved(1.0, 0)},
    }
)


@pytest.mark.parametrize(
    ("start", "duration", "hours"),
    [
        (TWO, HOUR, 1),
        (TWO, HOUR + timedelta(microseconds=1), 2),
        (TWO + HOUR / 2, HOUR, 2),
        (TWO + HOUR / 2, HOUR / 2, 1),
        (TWO, timedelta(0), 1),
        (TWO, 25 * HOUR, 25),
    ],
)
def test_a_run_holds_every_hour_that_it_touches(
    start: datetime, duration: timedelta, hours: int
) -> None:
    """An end on the hour does not touch the next one; even no time touches its own."""
    assert hours_touched(start, duration) == range(FIRST, FIRST + hours)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timedeltas(timedelta(microseconds=1), timedelta(days=3)),
)
def test_hours_touched_are_those_that_overlap(start: datetime, duration: timedelta) -> None:
    """The first holds the start, the last holds the last instant, and no other is held."""
    hours = hours_touched(start, duration)
    assert hour_start(hours[0]) <= start < hour_start(hours[0] + 1)
    assert hour_start(hours[-1]) < start + duration <= hour_start(hours[-1] + 1)


def test_a_view_is_its_canonical_form() -> None:
    """Whatever the order in which reservations were read."""
    turned = RoomView(dict(reversed([(key, dict(hours)) for key, hours in VIEW.reserved.items()])))
    assert turned.canonical() == VIEW.canonical()
    assert RoomView.from_json(VIEW.as_json()) == VIEW
    assert VIEW.sha256 == "44e77bddafd0988f0afdbb2c09177f8d81fab29df1c0f3e11f83985bb73b284b"


@given(st.sets(st.integers(0, 30)))
def test_stretches_are_the_same_hours_in_few_pieces(hours: set[int]) -> None:
    """In order, and none touches the next."""
    found = stretches(hours)
    assert [hour for stretch in found for hour in stretch] == sorted(hours)
    assert all(one.stop < other.start for one, other in pairwise(found))
