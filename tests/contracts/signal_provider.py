"""What every ``SignalProvider`` does.

An adapter's tests subclass this with the fixtures ``provider``, ``zones`` (that it covers) and
``now`` (at which it has something to say).
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timedelta

import pytest

from domain.forecast import Forecast, Observation, Signal
from domain.ports import ProviderAnswer, SignalProvider

NOWHERE = "XX-NOWHERE"


def keys(answer: ProviderAnswer) -> set[tuple[str, Signal]]:
    return {(item.zone, item.signal) for item in answer.forecasts}


def end_of(item: Observation) -> datetime:
    return item.start + timedelta(seconds=item.step_s)


class SignalProviderContract:
    @pytest.fixture
    async def answer(
        self, provider: SignalProvider, zones: tuple[str, ...], now: datetime
    ) -> ProviderAnswer:
        return await provider.fetch(zones, now)

    def test_it_has_something_to_say(self, answer: ProviderAnswer, zones: tuple[str, ...]) -> None:
        """A forecast and observations of every zone that it covers."""
        assert set(zones) == {item.zone for item in answer.forecasts}
        assert set(zones) == {item.zone for item in answer.observations}

    def test_a_forecast_says_who_made_it_and_how(
        self, answer: ProviderAnswer, provider: SignalProvider
    ) -> None:
        """So that a decision can be held against its source."""
        for item in answer.forecasts:
            assert item.provider == provider.name != ""
            assert item.methodology
        assert {item.provider for item in answer.observations} == {provider.name}

    def test_a_forecast_is_issued_by_now_and_reaches_beyond(
        self, answer: ProviderAnswer, now: datetime
    ) -> None:
        """It covers the moment at which it is asked for, and some time after it."""
        for item in answer.forecasts:
            assert item.issued_at <= now
            assert item.start <= now < item.end

    def test_every_instant_is_aware_and_every_step_has_a_length(
        self, answer: ProviderAnswer
    ) -> None:
        """An instant without a zone could be anywhere in a day."""
        series: list[Forecast | Observation] = [*answer.forecasts, *answer.observations]
        for item in series:
            assert item.start.utcoffset() == timedelta(0)
            assert item.step_s > 0
        for forecast in answer.forecasts:
            assert forecast.issued_at.utcoffset() == timedelta(0)

    def test_every_figure_is_an_intensity(self, answer: ProviderAnswer) -> None:
        """Finite, not negative, below what any grid can emit: neither kWh nor lb/MWh."""
        figures = [value for item in answer.forecasts for value in item.values]
        figures += [item.g_per_kwh for item in answer.observations]
        assert figures
        assert all(math.isfinite(value) and 0 <= value < 2000 for value in figures)

    def test_observations_are_of_the_past(self, answer: ProviderAnswer, now: datetime) -> None:
        """A step that is not over has not been observed."""
        assert all(end_of(item) <= now for item in answer.observations)

    def test_each_series_comes_once(self, answer: ProviderAnswer) -> None:
        """One forecast a zone and signal, one observation a step."""
        forecasts = Counter((item.zone, item.signal) for item in answer.forecasts)
        observed = Counter((item.zone, item.signal, item.start) for item in answer.observations)
        assert set(forecasts.values()) == {1}
        assert set(observed.values()) == {1}

    async def test_a_zone_that_it_does_not_cover_is_left_out(
        self, provider: SignalProvider, zones: tuple[str, ...], now: datetime
    ) -> None:
        """It is no reason to fail the others."""
        answer = await provider.fetch([*zones, NOWHERE], now)
        assert keys(answer) == keys(await provider.fetch(zones, now))
        assert NOWHERE not in {item.zone for item in answer.observations}

    async def test_only_what_was_asked_for_is_answered(
        self, provider: SignalProvider, zones: tuple[str, ...], now: datetime
    ) -> None:
        """One zone of several, or none."""
        answer = await provider.fetch(zones[:1], now)
        assert {item.zone for item in (*answer.forecasts, *answer.observations)} == {zones[0]}
        assert await provider.fetch([], now) == ProviderAnswer((), ())
