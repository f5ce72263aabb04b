"""Failover: by zone, by signal, in order; everything told; back as soon as a provider is back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from activities.carbon.api import BreakerSettings
from activities.carbon.failover import Failover
from activities.carbon.persistence import Persistence
from activities.carbon.published import Published
from activities.carbon.trace import Replay, TraceProvider
from activities.carbon.watttime import WattTime
from activities.errors import StoreUnavailable
from activities.stores.sqlite import SqliteStore
from domain.forecast import Forecast, Observation, Signal
from domain.ports import ProviderAnswer, Refusal, SignalProvider
from tests.activities.carbon.loopback import (
    EVERY_TIME,
    NO_PAST,
    NOW,
    REGIONS,
    ZONES,
    account,
    electricity_maps,
)
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME, CarbonServer
from tests.servers.carbon_faults import Kind
from tests.servers.carbon_grid import catalogue, traces

FLAT = Forecast("", Signal.AVERAGE, "", "", NOW, NOW, 3600.0, (1.0,))


class Source:
    """A provider that answers for some zones and refuses others; it counts what it is asked."""

    def __init__(
        self,
        name: str,
        covers: Sequence[str] = (),
        refuses: Mapping[str, str] | None = None,
        fails: Exception | None = None,
        *,
        hangs: bool = False,
    ) -> None:
        self.name = name
        self.covers = covers
        self.refuses = refuses or {}
        self.fails = fails
        self.hangs = hangs
        self.asked: list[tuple[str, ...]] = []

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        self.asked.append(tuple(zones))
        await asyncio.sleep(0)  # whoever has no time left is stopped here
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        made = [
            replace(FLAT, zone=zone, signal=signal, provider=self.name, issued_at=now)
            for zone in zones
            if zone in self.covers
            for signal in Signal
        ]
        return ProviderAnswer(
            tuple(made),
            tuple(
                Observation(item.zone, item.signal, NOW, 3600.0, 1.0, self.name) for item in made
            ),
            tuple(
                Refusal(zone, signal, f"{self.name}: {why}")
                for zone, why in self.refuses.items()
                if zone in zones
                for signal in Signal
            ),
        )


def average(*sources: SignalProvider) -> Failover:
    return Failover({Signal.AVERAGE: sources}, whole_s=0.1, least_s=0.3)


def providers(answer: ProviderAnswer, signal: Signal = Signal.AVERAGE) -> dict[str, str]:
    return {item.zone: item.provider for item in answer.forecasts if item.signal is signal}


class TestOrder:
    async def test_each_zone_takes_the_first_that_answers(self) -> None:
        """Refused or not covered, a zone goes on; an answered one is not asked for again."""
        first = Source("first", ["DE"], {"FR": "spoilt"})
        second = Source("second", ["DE", "FR"])
        third = Source("third", ["DE", "FR", "PL"])
        answer = await average(first, second, third).fetch(["DE", "FR", "PL"], NOW)
        assert providers(answer) == {"DE": "first", "FR": "second", "PL": "third"}
        assert second.asked == [("FR", "PL")]
        assert third.asked == [("PL",)]

    async def test_nothing_more_is_asked_than_needed(self) -> None:
        """While the first serves all, the others rest."""
        second = Source("second", ZONES)
        answer = await average(Source("first", ZONES), second).fetch(ZONES, NOW)
        assert set(providers(answer).values()) == {"first"}
        assert second.asked == []

    async def test_every_refusal_is_told(self) -> None:
        """Also of a zone that a later provider answered, or none."""
        answer = await average(
            Source("first", [], {"FR": "spoilt", "PL": "unknown"}),
            Source("second", ["FR"], {"PL": "no plan"}),
        ).fetch(["FR", "PL"], NOW)
        assert [item.reason for item in answer.refusals] == [
            "first: spoilt",
            "first: unknown",
            "second: no plan",
        ]
        assert {item.signal for item in answer.refusals} == {Signal.AVERAGE}

    async def test_signals_have_their_own_order_and_are_not_mixed(self) -> None:
        """A provider of both serves under each signal with that signal alone."""
        both, other = Source("both", ["DE"]), Source("other", ["DE"])
        answer = await Failover({Signal.AVERAGE: [both], Signal.MARGINAL: [other, both]}).fetch(
            ["DE"], NOW
        )
        assert providers(answer, Signal.AVERAGE) == {"DE": "both"}
        assert providers(answer, Signal.MARGINAL) == {"DE": "other"}
        assert len(answer.forecasts) == 2
        assert {(item.provider, item.signal) for item in answer.observations} == {
            ("both", Signal.AVERAGE),
            ("other", Signal.MARGINAL),
        }

    async def test_the_trace_can_stand_in_it(self) -> None:
        """The replayed grid is a provider like any other."""
        replay = Replay(NOW, traces()[Signal.AVERAGE].start + timedelta(days=300))
        answer = await average(TraceProvider(traces(), replay)).fetch(["DE"], NOW)
        assert providers(answer) == {"DE": "trace"}


class TestWholeFailures:
    async def test_one_that_hangs_costs_a_bounded_time(self) -> None:
        """Every zone is refused in its name, and the next still has its moment to serve."""
        hung = Source("hung", hangs=True)
        answer = await average(hung, Source("next", ZONES)).fetch(ZONES, NOW)
        assert set(providers(answer).values()) == {"next"}
        assert [item.reason for item in answer.refusals] == ["hung: no answer within 0.3 s"] * 3

    async def test_a_defect_of_one_is_not_the_others(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error that nobody foresaw is logged, told by its kind, and passed over."""
        broken = Source("broken", fails=ZeroDivisionError("1/0"))
        answer = await average(broken, Source("next", ZONES)).fetch(ZONES, NOW)
        assert set(providers(answer).values()) == {"next"}
        assert [item.reason for item in answer.refusals] == [
            "broken: failed (ZeroDivisionError)"
        ] * 3
        assert "broken failed" in caplog.text

    async def test_a_fault_that_is_known_tells_itself(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Persistence without its store, for one: the reason is told, no traceback logged."""
        lost = Source("lost", fails=StoreUnavailable("signals", "no answer"))
        answer = await average(lost, Source("next", ZONES)).fetch(ZONES, NOW)
        assert set(providers(answer).values()) == {"next"}
        assert {item.reason for item in answer.refusals} == {
            "lost: failed (store signals: no answer)"
        }
        assert caplog.text == ""

    async def test_a_stopping_worker_is_obeyed(self) -> None:
        """Cancelled from outside, it does not go on to the next provider."""
        last = Source("last", ZONES)
        task = asyncio.create_task(average(Source("hung", hangs=True), last).fetch(ZONES, NOW))
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        assert last.asked == []


class TestAgainstTheFakes:
    """The order of production: WattTime and Electricity Maps, then what needs nobody."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> SqliteStore:
        return SqliteStore(tmp_path / "lowtide.db")

    @pytest.fixture
    def failover(
        self, server: CarbonServer, client: httpx.AsyncClient, store: SqliteStore
    ) -> Failover:
        breaker = BreakerSettings(failures=3, open_for_s=0.05)
        shared = account(server, client, breaker=breaker)
        common = {"pace": EVERY_TIME, "horizon_hours": 24}
        return Failover(
            {
                Signal.MARGINAL: (
                    WattTime(shared, Signal.MARGINAL, REGIONS, **common),
                    Persistence(store, Signal.MARGINAL),
                ),
                Signal.AVERAGE: (
                    electricity_maps(server, client, breaker=breaker, **common),
                    WattTime(shared, Signal.AVERAGE, REGIONS, pace=NO_PAST, horizon_hours=24),
                    Persistence(store, Signal.AVERAGE),
                    Published(catalogue(), Signal.AVERAGE),
                ),
            }
        )

    async def test_down_and_back(
        self, server: CarbonServer, failover: Failover, store: SqliteStore
    ) -> None:
        """The primary, then both, then all that was observed is lost: each refresh has a series
        for every zone from the next in order, and the first after they are back has the primary's.
        """

        async def after(**passed: int) -> tuple[set[str], set[str]]:
            server.clock.advance(timedelta(**passed))
            answer = await failover.fetch(ZONES, server.clock())
            store.put_forecasts(answer.forecasts)
            store.put_observations(answer.observations)
            return (
                set(providers(answer, Signal.MARGINAL).values()),
                set(providers(answer, Signal.AVERAGE).values()),
            )

        assert await after(days=0) == ({"watttime"}, {"electricity_maps"})
        assert await after(days=1) == ({"watttime"}, {"electricity_maps"})
        server.faults.add(Kind.STATUS, status=500, provider=ELECTRICITY_MAPS)
        assert await after(minutes=5) == ({"watttime"}, {"watttime"})
        server.faults.add(Kind.STATUS, status=500, provider=WATTTIME)
        assert await after(minutes=5) == ({"persistence"}, {"persistence"})
        assert await after(days=2) == (set(), {"published"})
        server.faults.clear()
        async with asyncio.timeout(30):
            while await after(minutes=5) != ({"watttime"}, {"electricity_maps"}):
                await asyncio.sleep(0.06)
        await after(minutes=15)
        assert {(item.signal, item.provider) for item in store.forecasts()} == {
            (Signal.MARGINAL, "watttime"),
            (Signal.AVERAGE, "electricity_maps"),
        }

    async def test_stale_is_lost(self, server: CarbonServer, failover: Failover) -> None:
        """A provider that repeats old forecasts does not hide that it is down."""
        server.faults.add(Kind.STALE, hours=3.0, provider=WATTTIME, endpoint="forecast")
        server.faults.add(Kind.STALE, hours=3.0, provider=ELECTRICITY_MAPS, endpoint="forecast")
        answer = await failover.fetch(["DE"], NOW)
        assert providers(answer, Signal.AVERAGE) == {"DE": "watttime"}
        assert providers(answer, Signal.MARGINAL) == {}
        assert sum("stale" in item.reason for item in answer.refusals) == 2

    async def test_one_zone_s_trouble_is_its_own(
        self, server: CarbonServer, failover: Failover
    ) -> None:
        """Only the spoilt zone goes to the next provider."""
        server.faults.add(Kind.GAP, provider=ELECTRICITY_MAPS, endpoint="forecast", place="FR")
        answer = await failover.fetch(ZONES, NOW)
        assert providers(answer) == {
            "DE": "electricity_maps",
            "FR": "watttime",
            "SE-SE3": "electricity_maps",
        }
