from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.refresh import Signals
from activities.stores.sqlite import SqliteStore
from domain.forecast import Forecast, Observation, Signal
from domain.ports import ProviderAnswer, Refusal

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Answering:
    """A provider that answers for every zone asked for, and refuses one of them."""

    name = "answering"

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.asked: list[tuple[tuple[str, ...], datetime]] = []

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        self.asked.append((tuple(zones), now))
        taken = [zone for zone in zones if zone != self.refused]
        return ProviderAnswer(
            tuple(
                Forecast(zone, Signal.AVERAGE, self.name, "m", now, now, 3600.0, (1.0, 2.0))
                for zone in taken
            ),
            tuple(
                Observation(zone, Signal.AVERAGE, now - HOUR, 3600.0, 3.0, self.name)
                for zone in taken
            ),
            tuple(
                Refusal(zone, Signal.AVERAGE, "in lb/MWh") for zone in zones if zone not in taken
            ),
        )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened:
        yield opened


async def test_a_refresh_stores_what_came_and_tells_what_was_refused(store: SqliteStore) -> None:
    """A zone whose answer cannot be trusted keeps the forecast that it had."""
    await Signals(Answering(), store, ("DE", "FR")).refresh(NOW)
    report = await Signals(Answering("FR"), store, ("DE", "FR")).refresh(NOW + HOUR)
    assert (report.forecasts, report.observations) == (1, 1)
    assert report.refused == ("FR average: in lb/MWh",)
    issued = {item.zone: item.issued_at for item in store.forecasts()}
    assert issued == {"DE": NOW + HOUR, "FR": NOW}
    observed = store.observations("DE", Signal.AVERAGE, NOW - HOUR, NOW + HOUR)
    assert [item.start for item in observed] == [NOW - HOUR, NOW]


async def test_a_refresh_may_come_twice(store: SqliteStore) -> None:
    """Several clocks may call it at once: the second changes nothing, not even the revision."""
    await Signals(Answering(), store, ("DE",)).refresh(NOW)
    before = store.revision(), store.forecasts()
    await Signals(Answering(), store, ("DE",)).refresh(NOW)
    assert (store.revision(), store.forecasts()) == before


async def test_the_activity_asks_for_its_zones_at_the_servers_time(store: SqliteStore) -> None:
    """The time is the attempt's, so that a time-skipping server is obeyed."""
    provider = Answering()
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, started_time=NOW)
    report = await environment.run(Signals(provider, store, ["DE", "FR"]).refresh_signals)
    assert provider.asked == [(("DE", "FR"), NOW)]
    assert report.forecasts == len(store.forecasts()) == 2
