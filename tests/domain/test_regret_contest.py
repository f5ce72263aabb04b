"""The forecast's choices against the greenest region by annual mean, at once."""

from __future__ import annotations

import numpy as np
import pytest

from domain.forecast import Signal
from domain.regret_learning import RegretHistory
from tests.domain.grids import DAY, START, Series, came, issue, issues, region, wandering

TWO = {"eu": [region("A", annual=10.0), region("B", annual=20.0)]}


def contest(
    told: Series, real: Series, days: range, before: RegretHistory | None = None
) -> RegretHistory:
    now = START + (days.stop + 2) * DAY
    history = before or RegretHistory(as_of=START + days.start * DAY)
    return history.learn(issues(told, days), came(real), TWO, now)


def rules(history: RegretHistory) -> frozenset[tuple[Signal, str]]:
    return history.regret().static_rule


def levels(a: float, b: float) -> Series:
    return {zone: np.full(70 * 24, level) for zone, level in (("A", a), ("B", b))}


LOST = frozenset({(Signal.AVERAGE, "eu")})


def test_forecasts_that_mislead_lose_and_win_again() -> None:
    """They say B is the cleaner one while A is, which its year says too; then they see it."""
    misled = contest(levels(300, 100), levels(50, 200), range(14))
    assert misled.contests[Signal.AVERAGE]["eu"].forecast_g_per_kwh == pytest.approx(200)
    assert misled.contests[Signal.AVERAGE]["eu"].static_g_per_kwh == pytest.approx(50)
    assert rules(misled) == LOST
    turned = levels(500, 100)
    after_three = contest(turned, turned, range(14, 17), misled)
    assert rules(after_three) == LOST
    assert rules(contest(turned, turned, range(17, 40), after_three)) == frozenset()


def test_less_than_a_week_decides_no_contest() -> None:
    """However clear it is."""
    assert rules(contest(levels(300, 100), levels(50, 200), range(6))) == frozenset()
    assert rules(contest(levels(300, 100), levels(50, 200), range(8))) == LOST


def test_a_forecast_that_sees_what_comes_never_loses() -> None:
    """Nor does one that chooses just what the year says."""
    for seed in range(3):
        assert rules(contest(wandering(seed), wandering(seed), range(20))) == frozenset()
    level = levels(50, 200)
    assert rules(contest(level, level, range(20))) == frozenset()


def test_the_choice_goes_by_what_is_expected() -> None:
    """B promises the moon tomorrow and keeps nothing, which was learned: A is chosen."""
    hours = np.arange(70 * 24)
    told = {"A": np.full(70 * 24, 90.0), "B": np.where(hours % 2, 1.0, 200.0)}
    real = {"A": np.full(70 * 24, 90.0), "B": np.full(70 * 24, 200.0)}
    even = [issue(told, hour) for hour in range(0, 30 * 24, 6)]
    first = RegretHistory(as_of=START).learn(even[:60], came(real), TWO, START + 17 * DAY)
    assert rules(first) == LOST
    wiser = first
    for day in range(15, 30):
        now = START + (day + 2) * DAY
        wiser = wiser.learn(even[day * 4 : day * 4 + 4], came(real), TWO, now)
    before, after = (it.contests[Signal.AVERAGE]["eu"] for it in (first, wiser))
    assert before.forecast_g_per_kwh == pytest.approx(200)
    assert after.forecast_g_per_kwh < 180


def test_power_usage_effectiveness_counts() -> None:
    """A is cleaner by its grid and dirtier by its halls, in the year and in the forecast."""
    level = levels(100, 120)
    classes = {"eu": [region("A", 100.0, pue=1.5), region("B", 120.0, pue=1.1)]}
    now = START + 22 * DAY
    found = RegretHistory(as_of=START).learn(issues(level, range(20)), came(level), classes, now)
    [held] = found.contests[Signal.AVERAGE].values()
    assert (held.forecast_g_per_kwh, held.static_g_per_kwh) == pytest.approx((132, 132))


def test_classes_are_held_apart() -> None:
    """Where a class has but one region, waiting is all that can be wrong."""
    classes = {**TWO, "b": TWO["eu"][1:], "nowhere": [], "unknown": [region("Z", 1.0)]}
    now = START + 22 * DAY
    found = RegretHistory(as_of=START).learn(
        issues(levels(300, 100), range(20)), came(levels(50, 200)), classes, now
    )
    assert found.contests[Signal.AVERAGE].keys() == {"eu", "b"}
    assert rules(found) == LOST


def test_no_contest_is_held_without_annual_means() -> None:
    """There is no rule to lose to."""
    classes = {"eu": [region("A"), region("B")]}
    now = START + 22 * DAY
    found = RegretHistory(as_of=START).learn(
        issues(levels(300, 100), range(20)), came(levels(50, 200)), classes, now
    )
    assert found.contests[Signal.AVERAGE]["eu"].days == 0
    assert rules(found) == frozenset()
