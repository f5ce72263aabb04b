"""The normaliser: what it takes comes out tidy, and every kind of fault is refused by name."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.carbon.normalise import (
    AHEAD,
    MAX_G_PER_KWH,
    Point,
    Series,
    observed,
    tidy,
)
from activities.errors import AnswerRefused

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
DAY = timedelta(days=1)
TERMS = {"min_horizon": DAY, "stale_after": timedelta(minutes=30)}

steps = st.sampled_from([300, 600, 900, 1200, 1800, 3600]).map(lambda s: timedelta(seconds=s))
intensities = st.floats(0, MAX_G_PER_KWH)


@st.composite
def good(draw: st.DrawFn) -> list[Point]:
    """A forecast as it should be: a day or more, from a step that is over, or not yet, to ahead."""
    step = draw(steps)
    begun = NOW - (NOW - datetime(2026, 1, 1, tzinfo=UTC)) % step
    first = begun - draw(st.integers(0, 3)) * step
    count = DAY // step + draw(st.integers(0, 5))
    zone = timezone(timedelta(minutes=draw(st.integers(-840, 840))))
    values = draw(st.lists(intensities, min_size=3, max_size=9))
    return [
        Point((first + n * step).astimezone(zone), value)
        for n, value in zip(range(count), itertools.cycle(values))
    ]


def refused(points: list[Point], **more: Any) -> str:
    with pytest.raises(AnswerRefused) as caught:
        tidy(points, more.pop("issued_at", NOW), more.pop("now", NOW), **{**TERMS, **more})
    return str(caught.value)


@given(good())
def test_a_good_answer_becomes_current_and_horizon(points: list[Point]) -> None:
    """The step in progress first, UTC, the same distance, every later value untouched."""
    series = tidy(points, NOW, NOW, **TERMS)
    step = timedelta(seconds=series.step_s)
    assert points[1].at - points[0].at == step
    assert series.start <= NOW < series.start + step
    assert series.start.tzinfo is UTC
    assert series.start + step * len(series.values) == points[-1].at + step
    assert [p.g_per_kwh for p in points][-len(series.values) :] == list(series.values)


@given(good(), st.data())
def test_one_bad_point_spoils_the_whole(points: list[Point], data: st.DataObject) -> None:
    """A gap, a duplicate, two points swapped, a bad value: each is refused by its name."""
    inner = data.draw(st.integers(2, len(points) - 2))
    gap = points[:inner] + points[inner + 1 :]
    twice = [*points[:inner], points[inner], *points[inner:]]
    swapped = [*points]
    swapped[inner], swapped[inner - 1] = swapped[inner - 1], swapped[inner]
    assert "gap" in refused(gap)
    assert "comes twice" in refused(twice)
    assert "out of order" in refused(swapped)
    bad = data.draw(
        st.floats(max_value=0, exclude_max=True)
        | st.floats(min_value=MAX_G_PER_KWH, exclude_min=True)
        | st.just(float("nan"))
    )
    assert "can be" in refused(
        [*points[:inner], points[inner]._replace(g_per_kwh=bad), *points[inner + 1 :]]
    )


@given(
    st.lists(
        st.builds(
            Point,
            st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(DAY / 2)))
            | st.datetimes(
                NOW.replace(tzinfo=None) - DAY,
                NOW.replace(tzinfo=None) + DAY,
                timezones=st.just(UTC),
            ),
            st.floats(),
        ),
        max_size=6,
    )
)
def test_nothing_but_a_refusal_comes_of_rubbish(points: list[Point]) -> None:
    """Whatever is answered, no other error escapes, and what is taken is in bounds."""
    for look in (
        lambda: tidy(points, NOW, NOW, min_horizon=timedelta(0), stale_after=DAY),
        lambda: observed(points, 3600.0, NOW),
    ):
        try:
            taken = look()
        except AnswerRefused:
            continue
        values = taken.values if isinstance(taken, Series) else [p.g_per_kwh for p in taken]
        assert all(0 <= value <= MAX_G_PER_KWH for value in values)


def hours(count: int, step: timedelta = timedelta(hours=1), first: datetime | None = None) -> Any:
    first = first or NOW.replace(minute=0)
    return [Point(first + n * step, 100.0) for n in range(count)]


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([], "0 points"),
        (hours(1), "1 points"),
        (hours(23), "covers 23:00:00, less than 1 day"),
        (hours(2000, timedelta(minutes=1)), "not on a multiple of five minutes"),
        (hours(12, timedelta(hours=2)), "steps of 7200 s"),
        (hours(48, first=NOW.replace(minute=40)), "begins at 2026-11-24T09:40Z, after now"),
        (hours(24, first=NOW - 2 * DAY), "ends at 2026-11-23T09:20Z, before now"),
        (hours(48, first=NOW.replace(tzinfo=None)), "has no time zone"),
        (hours(48, first=NOW - 40 * DAY), "more than 31 days from now"),
        (hours(48, first=NOW.replace(minute=2)), "not on a multiple of five minutes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_series_that_do_not_serve(points: list[Point], why: str) -> None:
    """Too short, of another step, not now, not of this time: the reason says which."""
    if "no time zone" in why:
        points = [point._replace(at=point.at.replace(tzinfo=None)) for point in points]
    assert why in refused(points)


def test_age_of_a_forecast() -> None:
    """Issued long ago is stale; issued in the future is a wrong clock; a little of both is not."""
    points = hours(48)
    assert "stale: issued 2026-11-24T08:49Z" in refused(
        points, issued_at=NOW - timedelta(minutes=31)
    )
    assert "a clock is wrong" in refused(points, issued_at=NOW + AHEAD + timedelta(seconds=1))
    for minutes in (-30, 10):
        assert tidy(points, NOW + timedelta(minutes=minutes), NOW, **TERMS)


class TestObserved:
    def test_only_steps_that_are_over(self) -> None:
        """The hour in progress is not an observation yet."""
        points = hours(3, first=NOW.replace(minute=0) - timedelta(hours=2))
        assert [p.at.hour for p in observed(points, 3600.0, NOW)] == [7, 8]

    def test_steps_may_be_missing(self) -> None:
        """Each observation stands for itself."""
        points = hours(5, first=NOW.replace(minute=0) - timedelta(hours=6))
        assert len(observed([points[0], points[4]], 3600.0, NOW)) == 2

    @pytest.mark.parametrize(
        ("minutes", "why"),
        [((0, 0), "comes twice"), ((60, 0), "out of order"), ((0, 90), "not on the steps")],
    )
    def test_disorder_is_refused(self, minutes: tuple[int, int], why: str) -> None:
        """What cannot be a series of this step is no history."""
        start = NOW.replace(minute=0) - timedelta(hours=5)
        points = [Point(start + timedelta(minutes=m), 1.0) for m in minutes]
        with pytest.raises(AnswerRefused, match=why):
            observed(points, 3600.0, NOW)
