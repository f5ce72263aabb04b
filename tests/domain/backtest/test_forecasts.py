from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from domain.backtest.case import ForecastModel
from domain.backtest.forecasts import Noisy, Perfect, Persistence
from domain.forecast import Signal
from domain.persistence import DAYS_OF_PATTERN, persistence_forecast
from domain.trace import Trace
from tests.domain.backtest.scenarios import START

HOUR = timedelta(hours=1)
DAY_S = 86_400
Floats = NDArray[np.float64]
Truth = Mapping[Signal, Trace]

MODELS: Mapping[str, Callable[[Truth, timedelta], ForecastModel]] = {
    "perfect": Perfect,
    "persistence": Persistence,
    "noisy:0.1": lambda truth, horizon: Noisy(truth, horizon, 0.1, seed=5),
}


def grid(days: int = 10, step_s: int = 3600, zones: str = "AB", seed: int = 0) -> Trace:
    rng = np.random.default_rng(seed)
    steps = days * DAY_S // step_s
    day = np.sin(np.arange(steps) * 2 * math.pi * step_s / DAY_S)
    return Trace(
        START, {zone: 300 + 80 * day + rng.normal(0, 20, steps) for zone in zones}, float(step_s)
    )


def average(trace: Trace) -> Truth:
    return {Signal.AVERAGE: trace}


moments = st.integers(0, 10 * DAY_S - 1).map(lambda second: START + timedelta(seconds=second))


class TestIssues:
    @pytest.mark.parametrize("name", MODELS)
    @given(now=moments)
    def test_an_issue_begins_with_the_step_in_progress(self, name: str, now: datetime) -> None:
        """Of every zone and signal in order, issued when the step began."""
        truth = {Signal.MARGINAL: grid(step_s=900), Signal.AVERAGE: grid(zones="BA")}
        model = MODELS[name](truth, timedelta(hours=30))
        assert model.name == name
        issued = model.issue(max(now, START + timedelta(days=1)))
        now = max(now, START + timedelta(days=1))
        assert [(item.signal, item.zone) for item in issued] == [
            (signal, zone) for signal in (Signal.AVERAGE, Signal.MARGINAL) for zone in "AB"
        ]
        for item in issued:
            step = timedelta(seconds=truth[item.signal].step_s)
            assert item.start <= now < item.start + step
            assert (item.start - START) % step == timedelta(0)
            assert item.issued_at == item.start
            assert now - item.issued_at <= model.max_age
            assert len(item.values) <= timedelta(hours=30) / step
            assert item.at(now) == item.values[0]

    @pytest.mark.parametrize("name", MODELS)
    def test_the_same_objects_stand_until_a_step_begins(self, name: str) -> None:
        """So that decisions of one step share what depends on forecasts alone."""
        truth = {Signal.AVERAGE: grid(), Signal.MARGINAL: grid(step_s=1800)}
        model = MODELS[name](truth, timedelta(hours=24))
        at = START + timedelta(days=2)
        first = model.issue(at)
        assert model.issue(at + timedelta(minutes=29, seconds=59)) is first
        second = model.issue(at + timedelta(minutes=30))
        assert second is not first
        assert second[0] is first[0]  # average is hourly
        assert second[2].start == at + timedelta(minutes=30)
        third = model.issue(at + HOUR)
        assert third[0].start == at + HOUR
        assert model.issue(at) == first

    @pytest.mark.parametrize("name", MODELS)
    def test_nothing_is_issued_outside_the_trace(self, name: str) -> None:
        """Neither before it begins nor after its end."""
        model = MODELS[name](average(grid()), timedelta(hours=24))
        assert model.issue(START - timedelta(seconds=1)) == ()
        assert model.issue(START + timedelta(days=10)) == ()


@given(now=moments, step_s=st.sampled_from([300, 1800, 3600]))
def test_a_perfect_forecast_is_the_truth(now: datetime, step_s: int) -> None:
    """As far as horizon and trace reach."""
    trace = grid(step_s=step_s)
    for item in Perfect(average(trace), timedelta(hours=36)).issue(now):
        first = trace.step_at(now)
        own = trace.zones[item.zone][first : first + 36 * 3600 // step_s]
        assert item.values == tuple(own.tolist())


class TestPersistence:
    @given(now=moments, seed=st.integers(1, 1000), step_s=st.sampled_from([900, 3600]))
    def test_it_does_not_see_the_future(self, now: datetime, seed: int, step_s: int) -> None:
        """Whatever comes from the step in progress on, the same is issued."""
        trace, other = grid(step_s=step_s), grid(step_s=step_s, seed=seed)
        step = trace.step_at(now)
        changed = {
            zone: np.concatenate((series[:step], other.zones[zone][step:]))
            for zone, series in trace.zones.items()
        }
        horizon = timedelta(hours=48)
        issued = Persistence(average(trace), horizon).issue(now)
        again = Persistence(average(Trace(START, changed, step_s)), horizon).issue(now)
        assert issued == again

    @given(day=st.integers(1, 29), hour=st.integers(0, 23), step_s=st.sampled_from([900, 3600]))
    def test_it_is_production_s_of_the_days_before(self, day: int, hour: int, step_s: int) -> None:
        """The same formula on the steps that are over."""
        trace = grid(days=30, step_s=step_s)
        now = START + timedelta(days=day, hours=hour)
        a_day = DAY_S // step_s
        for item in Persistence(average(trace), timedelta(hours=48)).issue(now):
            observed = trace.zones[item.zone][: trace.step_at(now)][-DAYS_OF_PATTERN * a_day :]
            assert item.values == persistence_forecast(observed, 2 * a_day, a_day)

    def test_a_day_must_have_been_observed(self) -> None:
        """Less has no shape: production issues nothing either."""
        model = Persistence(average(grid()), timedelta(hours=24))
        assert model.issue(START + timedelta(hours=23, minutes=59)) == ()
        assert len(model.issue(START + timedelta(hours=24))) == 2


def errors_of(model: ForecastModel, trace: Trace, issues: int, reach: int) -> Floats:
    """(issues, zones, reach): how far what was issued lies from the truth, relative to it."""
    step = timedelta(seconds=trace.step_s)
    rows = []
    for number in range(issues):
        issued = model.issue(trace.start + number * step)
        told = np.array([item.values for item in issued])
        came = np.stack([trace.zones[item.zone][number : number + reach] for item in issued])
        rows.append(told / came - 1)
    return np.stack(rows)


class TestNoisy:
    @pytest.mark.parametrize("step_s", [1800, 3600])
    @pytest.mark.parametrize("sigma", [0.05, 0.2])
    def test_errors_grow_with_lead_to_sigma_at_a_day(self, sigma: float, step_s: int) -> None:
        """From nothing, as the square root of the lead; correlated from hour to hour."""
        zones = "".join(chr(ord("A") + place) for place in range(20))
        trace = grid(days=60, step_s=step_s, zones=zones)
        an_hour = 3600 // step_s
        reach = 48 * an_hour + 1
        model = Noisy(average(trace), timedelta(seconds=reach * step_s), sigma, seed=1)
        errors = errors_of(model, trace, 50 * 24 * an_hour, reach)
        assert errors[..., 0] == pytest.approx(0)
        for lead_h in (1, 6, 24, 48):
            deviation = errors[..., lead_h * an_hour].std()
            assert deviation == pytest.approx(sigma * math.sqrt(lead_h / 24), rel=0.1)
        near = errors[..., 23 * an_hour].ravel(), errors[..., 24 * an_hour].ravel()
        assert np.corrcoef(*near)[0, 1] > 0.9
        # The same hour, by the issue of an hour later.
        later = (
            errors[an_hour:, :, 23 * an_hour].ravel(),
            errors[:-an_hour, :, 24 * an_hour].ravel(),
        )
        assert np.corrcoef(*later)[0, 1] > 0.9

    def test_the_seed_is_all_that_it_is_drawn_from(self) -> None:
        """A zone's errors do not depend on which others there are; signals err apart."""
        both, one = grid(zones="AB"), grid(zones="AB").cut("B", START, START + timedelta(days=10))

        def issued(truth: Truth, seed: int) -> Any:
            model = Noisy(truth, timedelta(hours=24), 0.1, seed)
            return {(item.signal, item.zone): item.values for item in model.issue(START)}

        alone = issued(average(one), 1)
        assert issued(average(both), 1)[Signal.AVERAGE, "B"] == alone[Signal.AVERAGE, "B"]
        assert issued(average(one), 2) != alone
        twice = issued({Signal.AVERAGE: one, Signal.MARGINAL: one}, 1)
        assert twice[Signal.AVERAGE, "B"] != twice[Signal.MARGINAL, "B"]

    def test_no_intensity_is_below_zero(self) -> None:
        """However far off the forecast is."""
        model = Noisy(average(grid()), timedelta(hours=48), 3.0, seed=1)
        values = np.array([item.values for item in model.issue(START)])
        assert values.min() == 0
        assert values.max() > 300

    def test_without_noise_it_is_perfect(self) -> None:
        """Sigma 0 is the truth."""
        truth = average(grid())
        noisy = Noisy(truth, timedelta(hours=24), 0.0, seed=1).issue(START)
        perfect = Perfect(truth, timedelta(hours=24)).issue(START)
        assert [item.values for item in noisy] == [item.values for item in perfect]
