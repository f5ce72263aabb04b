from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.forecast import Forecast, Observation, Signal
from domain.regret import BUCKETS, LEAD_EDGES_H
from domain.regret_learning import HALF_LIFE, PSEUDO_DAYS, RegretHistory
from domain.settlement import observed_from
from tests.domain.grids import (
    DAY,
    HOUR,
    START,
    Series,
    came,
    compressed,
    issue,
    issues,
    noise,
    region,
    wandering,
)

LEARNED = slice(1, LEAD_EDGES_H.index(48) + 1)
"""Buckets of hourly forecasts of 48 h; the first holds the first hour alone."""
MONTH = range(30)


def learned(told: Series, real: Series, days: range = MONTH, every: int = 6) -> RegretHistory:
    now = START + (days.stop + 2) * DAY
    return RegretHistory(as_of=now).learn(issues(told, days, every), came(real), {}, now)


def shares(history: RegretHistory, zone: str = "A") -> np.ndarray:
    return np.array(history.regret().survival[Signal.AVERAGE, zone])


# ── what is learned ──────────────────────────────────────────────────────────────────────────


def test_nothing_is_known_of_what_was_never_seen() -> None:
    """No zone is named, and no rule holds."""
    regret = RegretHistory(as_of=START).regret()
    assert (regret.survival, regret.static_rule) == ({}, frozenset())


@given(st.integers(0, 99), st.integers(1, 9))
@settings(max_examples=10)
def test_of_a_perfect_forecast_all_comes_true(seed: int, days: int) -> None:
    """However little was seen of it."""
    grid = wandering(seed)
    assert shares(learned(grid, grid, range(days))).tolist() == [1.0] * BUCKETS


@pytest.mark.parametrize("seed", range(5))
def test_of_a_forecast_of_chance_nothing_comes_true(seed: int) -> None:
    """Two months of it: what is left is the belief that it began with, and luck."""
    found = learned(noise(seed), noise(seed + 100), range(60), every=5)
    assert shares(found)[LEARNED].max() < 0.3
    assert shares(found)[LEARNED].mean() < 0.12


def test_a_first_value_that_errs_does_not_pass_for_skill() -> None:
    """A grid that stands still, forecasts that are noise around it: nothing promised ever comes."""
    still = {zone: np.full_like(series, 300.0) for zone, series in noise(1).items()}
    found = learned(noise(1), still, range(60), every=5)
    assert shares(found)[LEARNED].max() < 0.3
    assert {kept.product for kept in found.zones[Signal.AVERAGE].values()} == {(0.0,) * BUCKETS}


def test_a_forecast_that_promises_twice_what_comes_keeps_half() -> None:
    """By each zone on its own: what is thin beside it does not move a month of data far."""
    grid = wandering(3)
    doubled = {"A": 300 + 2 * (grid["A"] - 300), "B": grid["B"]}
    found = learned(doubled, grid, range(60), every=5)
    assert shares(found, "A")[LEARNED] == pytest.approx(0.5, abs=0.13)
    assert shares(found, "B")[LEARNED] == pytest.approx(1.0, abs=0.13)


def test_what_is_far_loses_more_where_errors_grow_with_lead_time() -> None:
    """Each forecast is the truth for six hours, and its first value and chance after them."""
    real, chance = wandering(4), noise(5)

    def spoiled(hour: int) -> tuple[Forecast, ...]:
        return tuple(
            replace(true, values=(*true.values[:6], *(true.values[0] + far for far in errors)))
            for true, zone in zip(issue(real, hour), real, strict=True)
            if (errors := (chance[zone][hour + 6 : hour + 48] - 300).tolist())
        )

    told = [spoiled(hour) for hour in range(0, 60 * 24, 5)]
    now = START + 62 * DAY
    found = shares(RegretHistory(as_of=now).learn(told, came(real), {}, now))
    assert found[:4].tolist() == [1.0] * 4
    assert found[4:9].max() < 0.35


def test_lead_times_beyond_what_is_learned_are_believed_like_the_last() -> None:
    """Not more than what lies nearer: nothing is learned beyond 48 h."""
    found = shares(learned(noise(1), noise(2), range(60)))
    assert found[-2:] == pytest.approx(found[-3], abs=0.15)
    assert found[-1] < 0.3


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=20)
def test_a_share_is_a_share(seed: int, days: int) -> None:
    """Whatever came: opposite, manifold or nothing of what was promised."""
    grid = wandering(seed, "ABC")
    told = {
        "A": 600 - grid["A"],
        "B": 300 + (grid["B"] - 300) / 9,
        "C": np.full(len(grid["C"]), 7.0),
    }
    regret = learned(told, grid, range(days)).regret()
    assert len(regret.survival) == 3
    for found in regret.survival.values():
        assert all(0.0 <= share <= 1.0 for share in found)


# ── thin data ────────────────────────────────────────────────────────────────────────────────


def test_a_day_moves_what_is_believed_less_than_a_month() -> None:
    """From 1 towards what the data say, which is nothing."""
    flat = {zone: np.full_like(series, 300.0) for zone, series in noise(1).items()}
    thin, thick = (shares(learned(noise(1), flat, range(days))) for days in (1, 40))
    assert (thick[LEARNED] < thin[LEARNED]).all()
    assert thin[1] > 0.7
    assert thick[1] < 0.2


def test_a_zone_with_thin_data_is_believed_like_the_others() -> None:
    """Two zones have kept nothing for a month; of a third a day is known, which went well."""
    real = wandering(6, "ABC")
    told = {**noise(7, "AB"), "C": real["C"]}
    bad = {zone: told[zone] for zone in "AB"}
    now = START + 42 * DAY
    alone = RegretHistory(as_of=now).learn(issues({"C": told["C"]}, range(1)), came(real), {}, now)
    together = RegretHistory(as_of=now).learn(
        [*issues(bad, range(40)), *issues({"C": told["C"]}, range(40, 41))], came(real), {}, now
    )
    assert shares(alone, "C")[4] == 1.0
    assert shares(together, "A")[4] < shares(together, "C")[4] < 0.5


def test_the_pseudo_weight_is_days() -> None:
    """As many days as a belief counts for: half of it is left for all zones, a quarter for one."""
    still = {"A": np.full(70 * 24, 300.0)}
    told = {"A": noise(1)["A"]}
    found = learned(told, still, range(int(PSEUDO_DAYS)), every=1)
    days = found.zones[Signal.AVERAGE]["A"].days[1]
    assert days == pytest.approx(PSEUDO_DAYS, abs=0.5)
    left = PSEUDO_DAYS / (PSEUDO_DAYS + days)
    assert shares(found)[1] == pytest.approx(left**2, abs=0.01)


# ── counted once ─────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 99), st.data())
@settings(max_examples=10)
def test_neither_order_nor_repetition_within_a_pass_matters(seed: int, data: st.DataObject) -> None:
    """Many jobs see the same forecast; it is learned from once, to the last digit."""
    told, real = issues(noise(seed), range(3)), wandering(seed)
    order = data.draw(st.permutations([*told, *told[:5]]))
    empty, now = RegretHistory(as_of=START), START + 6 * DAY
    classes = {"all": [region("A", 1.0), region("B", 2.0)]}
    assert empty.learn(told, came(real), classes, now) == empty.learn(
        order, came(real), classes, now
    )


def test_an_issue_counts_once_over_passes() -> None:
    """Nor does one that comes late, when a later one was learned already."""
    told, real = issues(noise(1), range(3)), came(wandering(1))
    now = START + 6 * DAY
    once = RegretHistory(as_of=now).learn(told, real, {}, now)
    assert once == once.learn(told, real, {}, now)
    assert once == once.learn(told[3:4], real, {}, now)


def test_forecasts_count_for_the_time_between_them() -> None:
    """Asked for every hour, or every six, a month is a month; one a week is not a week."""
    grid = wandering(1)
    found = [
        learned(noise(1), grid, every=every).zones[Signal.AVERAGE]["A"].days[1]
        for every in (1, 6, 12)
    ]
    assert found == pytest.approx([30.0] * 3, abs=0.6)
    weekly = learned(noise(1), grid, range(28), every=168).zones[Signal.AVERAGE]["A"].days[1]
    assert weekly == 4 * 0.5


# ── time ─────────────────────────────────────────────────────────────────────────────────────


def test_what_was_learned_counts_half_after_its_half_life() -> None:
    """Days and sums alike, so that the slope stays and its weight goes."""
    first = learned(noise(1), wandering(1))
    later = first.learn([], came({}), {}, first.as_of + HALF_LIFE)
    before, after = (it.zones[Signal.AVERAGE]["A"] for it in (first, later))
    for name in ("days", "promised", "product"):
        halves = [value / 2 for value in getattr(before, name)]
        assert getattr(after, name) == pytest.approx(halves)
    gone = first.learn([], came({}), {}, first.as_of + 40 * HALF_LIFE)
    assert shares(gone).tolist() == [1.0] * BUCKETS


def test_a_clock_behind_the_last_ones_undoes_nothing() -> None:
    """Another worker's may be."""
    first = learned(noise(1), wandering(1))
    assert first == first.learn([], came({}), {}, first.as_of - DAY)


def test_a_compressed_trace_teaches_what_its_hours_do() -> None:
    """Lead times, days and decay are accounted ones."""
    told, real = issues(noise(1), range(10)), came(wandering(1))
    classes = {"all": [region("A", 1.0), region("B", 2.0)]}
    plain = RegretHistory(as_of=START).learn(told, real, classes, START + 12 * DAY)
    scale = 1800.0
    fast_told, fast_real = compressed(told, real, scale)
    fast = RegretHistory(as_of=START).learn(
        fast_told, fast_real, classes, START + 12 * DAY / scale, time_scale=scale
    )
    assert plain.regret() == fast.regret()
    later = START + (12 * DAY + HALF_LIFE) / scale
    [contest] = fast.learn([], fast_real, {}, later, scale).contests[Signal.AVERAGE].values()
    [before] = fast.contests[Signal.AVERAGE].values()
    assert contest.days == pytest.approx(before.days / 2)


# ── observations ─────────────────────────────────────────────────────────────────────────────


def of_steps(real: Series, minutes: int) -> list[Observation]:
    """Zone A in steps of some minutes."""
    step, count = timedelta(minutes=minutes), 60 // minutes
    return [
        Observation(
            *("A", Signal.AVERAGE, START + n * HOUR + part * step, minutes * 60.0),
            *(float(value) + (part - (count - 1) / 2), "test"),
        )
        for n, value in enumerate(real["A"][: 24 * 9])
        for part in range(count)
    ]


def test_steps_of_observations_may_differ_from_those_of_forecasts() -> None:
    """Quarters of an hour have the hour's mean; a gap is left out, and so is what is to come."""
    told, real = {"A": noise(1)["A"]}, {"A": wandering(1)["A"]}
    now, empty = START + 8 * DAY, RegretHistory(as_of=START)
    points = {("A", Signal.AVERAGE): of_steps(real, 15)}
    by_quarter = empty.learn(issues(told, range(5)), observed_from(points), {}, now)
    by_hour = empty.learn(issues(told, range(5)), came(real), {}, now)
    assert by_hour.zones[Signal.AVERAGE]["A"].product == pytest.approx(
        by_quarter.zones[Signal.AVERAGE]["A"].product
    )
    cut = came(real, until=START + 5 * HOUR)
    [early] = empty.learn([issue(told, 0)], cut, {}, now).zones[Signal.AVERAGE].values()
    assert [days > 0 for days in early.days] == [False, True, True, True] + [False] * 8


def test_observations_of_two_lengths_that_overlap_count_once() -> None:
    """An hour told whole and in quarters is that hour."""
    told, real = {"A": noise(1)["A"]}, {"A": wandering(1)["A"]}
    now, empty = START + 8 * DAY, RegretHistory(as_of=START)
    whole = list(came(real)("A", Signal.AVERAGE, START, START + 9 * DAY))
    flat = [
        replace(whole[point // 4], start=START + point * HOUR / 4, step_s=900.0)
        for point in range(24 * 4 * 9)
    ]
    both = sorted([*whole, *flat], key=lambda point: (point.start, point.step_s))
    expected = empty.learn(issues(told, range(5)), came(real), {}, now)
    found = empty.learn(
        issues(told, range(5)), observed_from({("A", Signal.AVERAGE): both}), {}, now
    )
    assert expected.regret() == found.regret()


def test_a_forecast_that_promises_no_change_teaches_nothing() -> None:
    """Nor does an empty one, nor one of a zone that nobody observed."""
    flat = {"A": np.full(70 * 24, 300.0)}
    found = learned(flat, wandering(1))
    assert found.zones[Signal.AVERAGE]["A"].days == (0.0,) * BUCKETS
    assert shares(found).tolist() == [1.0] * BUCKETS
    assert learned(noise(1), {}).zones[Signal.AVERAGE]["A"].days == (0.0,) * BUCKETS
    [first, *_] = issue(flat, 0)
    empty = RegretHistory(as_of=START)
    assert empty == empty.learn([(replace(first, values=()),)], came(flat), {}, START)


# ── as a document ────────────────────────────────────────────────────────────────────────────


def test_it_is_read_back_as_it_was_written() -> None:
    """None of less than nothing, and none of other lead times."""
    told, real = issues(noise(1), range(10)), came(wandering(1))
    classes = {"all": [region("A", 1.0), region("B", 2.0)]}
    history = RegretHistory(as_of=START).learn(told, real, classes, START + 12 * DAY)
    text = history.model_dump_json()
    assert RegretHistory.model_validate_json(text) == history
    assert RegretHistory.model_validate_json(text).regret().sha256 == history.regret().sha256
    for days in ([0.0], [-1.0] * BUCKETS, [math.nan] * BUCKETS):
        wrong = {"as_of": START, "zones": {"average": {"A": {"days": days}}}}
        with pytest.raises(ValueError, match="days"):
            RegretHistory.model_validate(wrong)


def test_shares_have_two_digits() -> None:
    """So that a moment more, after a month, seldom makes another table."""
    found = learned(noise(1), wandering(1)).regret().survival[Signal.AVERAGE, "A"]
    assert found == tuple(round(share, 2) for share in found)
    assert len(set(found)) > 5
