from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from domain.backtest.case import Issue
from domain.backtest.learning import Learning
from domain.forecast import Signal
from domain.policy import ResidencyClass
from domain.regret import Regret
from domain.trace import Trace
from tests.domain.grids import DAY, HOUR, HOURS, START, Series, issue, noise, region, wandering
from tests.domain.recorded import shipped

BASE = shipped()
CATALOGUE = replace(
    BASE.catalogue,
    regions={f"aws:{zone}": region(zone, annual) for zone, annual in (("A", 1.0), ("B", 2.0))},
)
POLICY = BASE.policy.model_copy(
    update={
        "regions": dict.fromkeys(CATALOGUE.regions, BASE.policy.regions["aws:eu-central-1"]),
        "residency": {"eu": ResidencyClass(regions=tuple(CATALOGUE.regions))},
    }
)


def learning(real: Series) -> Learning:
    return Learning({Signal.AVERAGE: Trace(START, dict(real))}, POLICY, CATALOGUE)


def run(
    real: Series, told: Series, days: int, every: timedelta = HOUR, begins_in: int = 0
) -> list[Regret | None]:
    """What decisions of each hour go by."""
    found, going = learning(real), []
    for hour in range(0, days * 24, every // HOUR):
        found.see(issue(told, hour + begins_in), START + hour * HOUR)
        going.append(found.regret(START + hour * HOUR))
    return going


def test_nothing_is_known_until_the_hours_of_a_forecast_have_passed() -> None:
    """Two days, and to the next daily update; then shares, and the same object for a day."""
    going = run(wandering(1), noise(1), 6)
    assert going[:48] == [None] * 48
    assert going[-1] is not None
    assert len({id(item) for item in going if item is not None}) <= 4
    assert {id(item) for item in going[48:72]} == {id(going[48])}


@pytest.mark.parametrize("begins_in", [0, 12])
def test_what_is_to_come_changes_nothing(begins_in: int) -> None:
    """Two grids that agree until a moment have taught the same at it, whatever they do next, also
    where forecasts begin only later.
    """
    real, until = wandering(1), 20 * 24
    other = {
        zone: np.concatenate((series[:until], 1000.0 - series[until:]))
        for zone, series in real.items()
    }
    told = noise(1)
    one, two = (run(grid, told, 30, begins_in=begins_in) for grid in (real, other))
    assert one[: until + 1] == two[: until + 1]
    assert one[until + 24 * 4] != two[until + 24 * 4]


def test_it_learns_what_forecasts_are_worth() -> None:
    """All of one that sees what comes, little of one that does not."""
    real = wandering(1)
    perfect, chance = run(real, real, 40)[-1], run(real, noise(9), 40)[-1]
    assert perfect is not None
    assert chance is not None
    assert set(perfect.survival[Signal.AVERAGE, "A"]) == {1.0}
    assert chance.survival[Signal.AVERAGE, "A"][5] < 0.6
    assert perfect.static_rule == frozenset()


def test_the_same_object_stands_while_nothing_else_was_learned() -> None:
    """Of a perfect forecast nothing new is learned, day after day."""
    real = wandering(1)
    assert len({id(item) for item in run(real, real, 20) if item is not None}) == 1


def test_a_forecast_that_loses_to_the_annual_mean_is_found_out() -> None:
    """A is the cleaner one, by its year and in truth; the forecast says B."""
    real = {"A": np.full(HOURS, 50.0), "B": np.full(HOURS, 200.0)}
    told = {"A": np.full(HOURS, 300.0), "B": np.full(HOURS, 100.0)}
    last = run(real, told, 20)[-1]
    assert last is not None
    assert last.static_rule == {(Signal.AVERAGE, "eu")}


def test_few_issues_are_enough() -> None:
    """Asked for each hour or every five, it learns from the same."""
    dense, thin = (run(wandering(1), noise(1), 25, every * HOUR)[-1] for every in (1, 5))
    assert dense is not None
    assert thin is not None
    assert thin.survival[Signal.AVERAGE, "A"] == pytest.approx(
        dense.survival[Signal.AVERAGE, "A"], abs=0.05
    )


def test_the_end_of_a_trace_and_zones_without_one_teach_nothing() -> None:
    """What is not recorded was not observed."""
    told = noise(1, "ABC")
    found = learning({zone: series[: 10 * 24] for zone, series in wandering(1).items()})
    seen: Sequence[Issue] = [issue(told, hour) for hour in range(0, 40 * 24, 5)]
    for number, one in enumerate(seen):
        found.see(one, START + number * 5 * HOUR)
        found.regret(START + number * 5 * HOUR)
    assert found.history is not None
    zones = found.history.zones[Signal.AVERAGE]
    assert sum(zones["C"].days) == 0
    assert 0 < zones["A"].days[1] < 10
    assert found.regret(START + 40 * DAY) is found.regret(START + 40 * DAY)
