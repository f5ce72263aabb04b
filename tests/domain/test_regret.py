from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.forecast import Forecast, Signal
from domain.regret import BUCKETS, Regret
from domain.rows import ground_of
from tests.domain.recorded import make_world

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR_S = 3600.0
VALUES = st.lists(st.floats(0, 1000), min_size=1, max_size=90)
SHARES = st.lists(st.floats(0, 1), min_size=BUCKETS, max_size=BUCKETS).map(tuple)


def forecast(*values: float, zone: str = "DE", step_s: float = HOUR_S) -> Forecast:
    return Forecast(zone, Signal.AVERAGE, "test", "test", NOW, NOW, step_s, values)


def regret(*shares: float, zone: str = "DE") -> Regret:
    return Regret(survival={(Signal.AVERAGE, zone): shares})


@given(VALUES, SHARES)
def test_what_is_expected_lies_between_now_and_what_was_promised(
    values: list[float], shares: tuple[float, ...]
) -> None:
    """Hour by hour, and all else of the forecast stays."""
    issued = forecast(*values)
    expected = regret(*shares).expected(issued)
    assert issued == replace(expected, values=issued.values)
    assert issued.values[0] == expected.values[0]
    for promised, left in zip(issued.values, expected.values, strict=True):
        low, high = sorted((issued.values[0], promised))
        assert low - 1e-9 <= left <= high + 1e-9


@given(VALUES)
def test_a_zone_of_which_nothing_is_known_is_taken_at_its_word(values: list[float]) -> None:
    """And so is the other signal, and one of which all comes true, to the last digit."""
    issued = forecast(*values)
    assert issued == Regret().expected(issued)
    assert issued == regret(*(0.0,) * BUCKETS, zone="FR").expected(issued)
    marginal = replace(issued, signal=Signal.MARGINAL)
    assert marginal == regret(*(0.0,) * BUCKETS).expected(marginal)
    assert issued == regret(*(1.0,) * BUCKETS).expected(issued)


def test_a_share_holds_at_the_centre_of_its_bucket_and_is_interpolated_between() -> None:
    """[1, 2) has its centre at 1.5 h, [2, 3) at 2.5 h: halfway, half of both."""
    shares = [0.0, 0.8, 0.4, *[0.0] * (BUCKETS - 3)]
    hourly = regret(*shares).expected(forecast(0.0, 100.0, 100.0))
    assert hourly.values == pytest.approx((0.0, 80.0, 40.0))
    halves = regret(*shares).expected(forecast(0.0, *[100.0] * 5, step_s=HOUR_S / 2))
    # The middles lie at 0.25, 0.75, 1.25, 1.75, 2.25 and 2.75 h.
    assert halves.values == pytest.approx((0.0, 20.0, 60.0, 70.0, 50.0, 35.0), abs=1.0)


@given(SHARES, st.sampled_from([(3, 2.0), (8, 3.0), (15, 6.0), (30, 12.0), (60, 24.0)]))
def test_no_edge_of_a_bucket_shows(shares: tuple[float, ...], known: tuple[int, float]) -> None:
    """Of one change that is promised for all hours, neighbours keep nearly the same: all that two
    buckets can differ by is spread over the hours between their centres.
    """
    first, hours_apart = known
    expected = regret(*shares).expected(forecast(0.0, *[1.0] * 80)).values[first:]
    for left, right in itertools.pairwise(expected):
        assert abs(right - left) <= 1 / hours_apart + 1e-9


def test_lead_times_are_accounted_hours() -> None:
    """A trace that is replayed compressed has lost as much as the hours that it stands for."""
    values = (300.0, *[100.0] * 47)
    learned = regret(*(1 - n / BUCKETS for n in range(BUCKETS)))
    real = learned.expected(forecast(*values))
    compressed = learned.expected(forecast(*values, step_s=2.0), time_scale=1800.0)
    assert real.values == pytest.approx(compressed.values)
    assert real.values != pytest.approx(learned.expected(forecast(*values, step_s=2.0)).values)


def test_decisions_reckon_with_accounted_lead_times() -> None:
    """What a compressed world expects is what the world that it stands for does."""
    learned = regret(*(1 - n / BUCKETS for n in range(BUCKETS)))
    issued = forecast(300.0, *[100.0] * 47)
    real = replace(make_world(issued), regret=learned)
    fast = replace(make_world(replace(issued, step_s=2.0), time_scale=1800.0), regret=learned)
    means = [
        ground_of(world).expected[Signal.AVERAGE].mean(0, 24 * step_s, step_s)
        for world, step_s in ((real, HOUR_S), (fast, 2.0))
    ]
    assert means[0] == pytest.approx(means[1])
    assert 100 < means[0] < 300


@given(
    st.dictionaries(st.tuples(st.sampled_from(Signal), st.sampled_from("ABC")), SHARES),
    st.frozensets(st.tuples(st.sampled_from(Signal), st.sampled_from(["eu", "germany"]))),
)
def test_it_is_read_back_as_it_was_written(
    survival: dict[tuple[Signal, str], tuple[float, ...]], rule: frozenset[tuple[Signal, str]]
) -> None:
    """And has one hash, whatever the order in which it was learned."""
    learned = Regret(survival, rule)
    back = Regret.from_json(json.loads(learned.canonical()))
    assert learned == back
    turned = Regret(dict(reversed(survival.items())), rule)
    assert learned.sha256 == back.sha256 == turned.sha256
