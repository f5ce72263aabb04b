"""Every provider of this package keeps the contract of ``SignalProvider``."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from activities.carbon.persistence import Persistence
from activities.carbon.published import Published
from activities.stores.sqlite import SqliteStore
from domain.forecast import Observation, Signal
from domain.ports import ProviderAnswer, SignalProvider
from tests.activities.carbon.loopback import EVERY_TIME, NOW, electricity_maps, watttime
from tests.contracts.signal_provider import SignalProviderContract
from tests.servers.carbon import CarbonServer
from tests.servers.carbon_grid import catalogue


class Here(SignalProviderContract):
    @pytest.fixture
    def zones(self) -> tuple[str, ...]:
        return ("DE", "FR")

    @pytest.fixture
    def now(self) -> datetime:
        return NOW


class ForecastsOnly(Here):
    """For those that make forecasts and observe nothing."""

    def test_it_has_something_to_say(self, answer: ProviderAnswer, zones: tuple[str, ...]) -> None:
        """A forecast of every zone that it covers, and not one observation of its own."""
        assert set(zones) == {item.zone for item in answer.forecasts}
        assert answer.observations == ()

    def test_a_forecast_says_who_made_it_and_how(
        self, answer: ProviderAnswer, provider: SignalProvider
    ) -> None:
        """So that a decision can be held against its source."""
        for item in answer.forecasts:
            assert item.provider == provider.name != ""
            assert item.methodology

    def test_each_series_comes_once(self, answer: ProviderAnswer) -> None:
        """One forecast a zone and signal."""
        forecasts = Counter((item.zone, item.signal) for item in answer.forecasts)
        assert set(forecasts.values()) == {1}


class TestElectricityMaps(Here):
    @pytest.fixture
    def provider(self, server: CarbonServer, client: httpx.AsyncClient) -> SignalProvider:
        server.electricity_maps.estimated_for = timedelta(0)
        return electricity_maps(server, client, pace=EVERY_TIME)


class TestWattTime(Here):
    @pytest.fixture(params=list(Signal))
    def provider(
        self, server: CarbonServer, client: httpx.AsyncClient, request: pytest.FixtureRequest
    ) -> SignalProvider:
        server.watttime.imputed_for = timedelta(0)
        return watttime(server, client, request.param, pace=EVERY_TIME)


class TestPublished(ForecastsOnly):
    @pytest.fixture(params=list(Signal))
    def provider(self, request: pytest.FixtureRequest) -> SignalProvider:
        return Published(catalogue(), request.param)


class TestPersistence(ForecastsOnly):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> SignalProvider:
        store = SqliteStore(tmp_path / "lowtide.db")
        hour, last = timedelta(hours=1), NOW.replace(minute=0)
        store.put_observations(
            [
                Observation(zone, Signal.MARGINAL, last - n * hour, 3600.0, 100.0, "watttime")
                for zone in ("DE", "FR")
                for n in range(1, 49)
            ]
        )
        return Persistence(store, Signal.MARGINAL)
