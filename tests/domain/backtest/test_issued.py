from __future__ import annotations

import gzip
import random
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backtest.issued import Issued, parse_issued
from domain.errors import InvalidScenario, TraceUnreadable
from domain.forecast import Signal
from tests.domain.backtest.scenarios import START

HEADER = "issued_at,zone,time,g_per_kwh"
Issues = dict[tuple[str, int], tuple[int, list[float]]]
"""(zone, minute of issue) -> (minute of the first step, values)."""


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def rows_of(issues: Issues, step: int) -> list[str]:
    return [
        f"{at(issued):%Y-%m-%dT%H:%M:%SZ},{zone},{at(first + step * place):%Y-%m-%dT%H:%MZ},{value}"
        for (zone, issued), (first, values) in issues.items()
        for place, value in enumerate(values)
    ]


def read(rows: list[str], zones: tuple[str, ...] = ("A",), hours: float = 48) -> Issued:
    content = "\n".join((HEADER, *rows)).encode()
    return parse_issued("f.csv", content, Signal.MARGINAL, zones, timedelta(hours=hours))


@st.composite
def some_issues(draw: st.DrawFn) -> tuple[int, Issues]:
    """A step in minutes, and issues of two zones at or before their first steps."""
    step = draw(st.sampled_from([5, 15, 60]))
    value = st.integers(0, 900).map(float)
    issues: Issues = {}
    for zone in "AB":
        for first in draw(st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True)):
            early = draw(st.integers(0, step))
            values = draw(st.lists(value, min_size=1 if issues else 2, max_size=9))
            issues[zone, first * step - early] = (first * step, values)
    return step, issues


def stood(issues: Issues, step: int, zone: str, now: float) -> tuple[int, int, list[float]] | None:
    """What stood for a zone, by going through all issues one by one."""
    known = sorted(issued for own, issued in issues if own == zone and issued <= now)
    if not known:
        return None
    first, values = issues[zone, known[-1]]
    begin = int(now // step) * step
    steps = dict(enumerate(values, start=first // step))
    for place in range(begin // step, first // step):
        steps[place] = values[0]
        if len(known) > 1:
            older_first, older = issues[zone, known[-2]]
            steps[place] = dict(enumerate(older, start=older_first // step)).get(place, values[0])
    ahead = [steps[place] for place in sorted(steps) if place >= begin // step]
    return (known[-1], begin, ahead) if ahead else None


@given(some_issues(), st.integers(-60, 60 * 50), st.randoms(use_true_random=False))
def test_the_newest_issue_of_each_zone_stands(
    given_issues: tuple[int, Issues], now: int, shuffle: random.Random
) -> None:
    """From the step in progress on, whatever the order of the rows."""
    step, issues = given_issues
    rows = rows_of(issues, step)
    shuffle.shuffle(rows)
    found = {
        item.zone: (item.issued_at, item.start, list(item.values))
        for item in read(rows, ("A", "B")).issue(at(now))
    }
    expected = {zone: stood(issues, step, zone, now) for zone in "AB"}
    assert found == {
        zone: (at(item[0]), at(item[1]), item[2]) for zone, item in expected.items() if item
    }


@given(some_issues(), st.integers(0, 60 * 50), st.data())
def test_it_does_not_see_the_future(
    given_issues: tuple[int, Issues], now: int, data: st.DataObject
) -> None:
    """Issues after now could be any others."""
    step, issues = given_issues
    other = {
        key: (first, [float(data.draw(st.integers(0, 900))) for _ in values])
        if key[1] > now
        else (first, values)
        for key, (first, values) in issues.items()
    }
    assert read(rows_of(issues, step), ("A", "B")).issue(at(now)) == read(
        rows_of(other, step), ("A", "B")
    ).issue(at(now))


HOURLY: Issues = {("A", 0): (0, [1.0, 2.0, 3.0]), ("A", 90): (120, [7.0, 8.0])}


def test_the_same_objects_stand_until_something_is_new() -> None:
    """A step or an issue."""
    model = read(rows_of(HOURLY, 60))
    first = model.issue(at(60))
    assert model.issue(at(89)) is first
    second = model.issue(at(90))
    assert [item.values for item in second] == [(2.0, 7.0, 8.0)]
    assert model.issue(at(119)) is second
    assert [item.start for item in model.issue(at(120))] == [at(120)]


def test_the_horizon_cuts_what_was_issued() -> None:
    """As a provider's plan would."""
    (item,) = read(rows_of(HOURLY, 60), hours=2).issue(at(0))
    assert item.values == (1.0, 2.0)
    assert (item.signal, item.step_s) == (Signal.MARGINAL, 3600)


def test_an_issue_is_fresh_until_twice_the_usual_gap() -> None:
    """However long an outage was."""
    issues: Issues = {("A", start): (start, [1.0] * 9) for start in (0, 180, 360, 6000)}
    assert read(rows_of(issues, 60)).max_age == timedelta(minutes=360)


def test_a_fraction_of_a_second_is_rounded_up() -> None:
    """Nothing is known before its issue; instants may be written in any zone."""
    model = read(["2022-01-01 01:00:00.25+01:00,A,2022-01-01T00:00:00Z,5"])
    assert model.issue(at(0)) == ()
    assert [item.values for item in model.issue(at(1))] == [(5.0,)]


def test_a_file_may_be_gzipped_and_tell_of_other_zones() -> None:
    """Those are left out."""
    content = "\n".join((HEADER, *rows_of(HOURLY | {("Z", 7): (9, [1.0])}, 60))).encode()
    model = parse_issued(
        "f.csv.gz", gzip.compress(content), Signal.MARGINAL, ("A",), timedelta(hours=9)
    )
    assert model.issue(at(90)) == read(rows_of(HOURLY, 60)).issue(at(90))
    with pytest.raises(TraceUnreadable, match=r"f\.csv\.gz"):
        parse_issued("f.csv.gz", gzip.compress(content)[:30], Signal.MARGINAL, "A", timedelta(1))


GOOD = "2022-01-01T00:00:00Z,A,2022-01-01T00:00Z,5"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "no row"),
        ([GOOD, "2022-01-01T00:00:00,A,2022-01-01T01:00Z,5"], "line 3, issued_at: .*time zone"),
        ([GOOD, "2022-01-01T00:00:00Z,A,soon,5"], "line 3, time: 'soon'"),
        ([GOOD, "2022-01-01T00:00:00Z,A,2022-01-01T01:00Z,"], "line 3, g_per_kwh: ''"),
        ([GOOD, "2022-01-01T00:00:00Z,A,2022-01-01T01:00Z,nan"], "line 3, g_per_kwh: 'nan'"),
        ([GOOD, "2022-01-01T00:00:00Z,A,2022-01-01T01:00Z,-1"], "line 3, g_per_kwh: '-1'"),
        ([GOOD, "2022-01-01T00:00:00Z,A,2022-01-01T01:00Z"], "line 3: 3 cells .*4"),
        ([GOOD, "", GOOD], "line 3: 0 cells .*4"),
        ([GOOD, GOOD], "a step of 0:00:00"),
        ([GOOD, "2022-01-01T00:00:00Z,A,2022-01-01T00:07Z,5"], "a step of 0:07:00"),
        (
            [
                GOOD,
                "2022-01-01T00:00:00Z,A,2022-01-01T03:00Z,5",
                "2022-01-01T00:00:00Z,A,2022-01-01T01:00Z,5",
            ],
            "line 3, time: 2022-01-01T03:00:00.*an instant 1:00:00 after",
        ),
        (
            [GOOD, "2022-01-01T01:00:00Z,A,2022-01-01T01:30Z,5"],
            "line 3, time: 2022-01-01T01:30:00",
        ),
        (["2022-01-01T00:00:00Z,Z,2022-01-01T00:00Z,5"], "no issue of A"),
    ],
)
def test_a_bad_file_is_told_by_line(rows: list[str], told: str) -> None:
    """With column and value where there is one."""
    with pytest.raises(InvalidScenario, match=rf"f\.csv.*{told}"):
        read(rows)


def test_the_columns_are_named() -> None:
    """In any order, and no others."""
    swapped = b"zone,issued_at,g_per_kwh,time\nA,2022-01-01T00:00Z,5,2022-01-01T00:00Z"
    model = parse_issued("f.csv", swapped, Signal.MARGINAL, ("A",), timedelta(hours=9))
    assert [item.values for item in model.issue(at(0))] == [(5.0,)]
    with pytest.raises(InvalidScenario, match=r"f\.csv, line 1: 'zone,time'"):
        parse_issued("f.csv", b"zone,time\n", Signal.MARGINAL, ("A",), timedelta(hours=9))
