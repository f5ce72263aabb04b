"""The signal plane as settings wire it: real adapters against the fakes of both providers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.errors import ProviderMisconfigured
from domain.forecast import Signal
from domain.messages import RefreshReport
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME, CarbonServer
from tests.servers.carbon_electricity_maps import KEY
from tests.servers.carbon_faults import Kind
from tests.servers.carbon_watttime import PASSWORD, USER
from workers.settings import POLICIES
from workers.wiring import Parts, load_parts, refresh_once

POLICY = """
version: test
weights: {carbon: 1, cost: 0}
steering_signal: marginal
residency: {anywhere: {countries: [DE, SE, US]}}
regions:
  aws:eu-central-1: {on_demand: {vcpus: 10}}
  aws:eu-north-1: {on_demand: {vcpus: 10}}
  aws:us-east-1: {on_demand: {vcpus: 10}}
  aws:us-east-2: {on_demand: {vcpus: 10}}
"""
NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of whoever runs the tests but the fakes' keys; logging as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELECTRICITY_MAPS_API_KEY", KEY)
    monkeypatch.setenv("WATTTIME_USER", USER)
    monkeypatch.setenv("WATTTIME_PASSWORD", PASSWORD)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
async def server() -> AsyncIterator[CarbonServer]:
    async with CarbonServer(NOW) as server:
        yield server


@asynccontextmanager
async def wired(server: CarbonServer, folder: Path, **changed: Any) -> AsyncIterator[Parts]:
    """The product on the fakes; what it holds is closed in the end."""
    policy = folder / "policy.yaml"
    folder.mkdir(exist_ok=True)
    policy.write_text(POLICY)
    signals = {
        "source": "live",
        "horizon_hours": 24,
        "past_every": "5m",
        "electricity_maps": {"base_url": server.electricity_maps_url, "requests_per_s": 1000},
        "watttime": {"base_url": server.watttime_url},
    }
    signals |= changed.pop("signals", {})
    parts = load_parts(
        state_dir=folder / "state", policy=policy, log_level="error", signals=signals, **changed
    )
    try:
        yield parts
    finally:
        await parts.close()


def providers(parts: Parts) -> dict[tuple[str, str], str]:
    """(zone, signal) -> who made its forecast."""
    return {(item.zone, item.signal.value): item.provider for item in parts.signals.forecasts()}


async def test_each_signal_is_asked_for_its_own_zones(server: CarbonServer, tmp_path: Path) -> None:
    """Virginia and Ohio are one zone of Electricity Maps and two regions of WattTime."""
    async with wired(server, tmp_path) as parts:
        report = await parts.refresher.refresh(NOW)
    asked = {query.get("zone") for at, query in server.queries if at == "forecast"} - {None}
    assert asked == {"DE", "SE-SE3", "US-MIDA-PJM"}
    regions = {query.get("region") for at, query in server.queries if at == "forecast"} - {None}
    assert regions >= {"DE", "SE", "PJM_DC", "PJM_SOUTHWEST_OH"}
    assert isinstance(report, RefreshReport)
    found = providers(parts)
    assert found["DE", "average"] == "electricity_maps"
    assert found["DE", "marginal"] == found["SE-SE3", "marginal"] == "watttime"


async def test_an_account_that_one_does_not_have_is_left_out(
    server: CarbonServer, tmp_path: Path
) -> None:
    """Without Electricity Maps the average comes of WattTime's; without WattTime nothing of it."""
    async with wired(server, tmp_path, signals={"electricity_maps": {"enabled": False}}) as parts:
        await parts.refresher.refresh(NOW)
        assert providers(parts)["DE", "average"] == "watttime"
    assert server.asked(ELECTRICITY_MAPS) == 0
    asked = server.asked(WATTTIME)
    without = {"watttime": {"enabled": False}}
    async with wired(server, tmp_path / "other", signals=without) as parts:
        await parts.refresher.refresh(NOW)
        assert providers(parts)["DE", "average"] == "electricity_maps"
    assert server.asked(WATTTIME) == asked


async def test_the_floor_is_published_and_told(server: CarbonServer, tmp_path: Path) -> None:
    """Both providers spoilt and nothing observed yet: the yearly figures, all reasons told."""
    for provider in (ELECTRICITY_MAPS, WATTTIME):
        server.faults.add(Kind.STATUS, status=200, body="<html>", provider=provider)
    async with wired(server, tmp_path) as parts:
        report = await parts.refresher.refresh(NOW)
    assert set(providers(parts).values()) == {"published"}
    assert any(
        "average: electricity_maps: an HTML page with status 200" in line for line in report.refused
    )
    assert any("average: persistence: nothing was observed" in line for line in report.refused)
    assert any("marginal: persistence: nothing was observed" in line for line in report.refused)


async def test_overrides_map_a_region_anew(server: CarbonServer, tmp_path: Path) -> None:
    """The zone that is asked for is the file's, and decisions name that catalogue."""
    overrides = tmp_path / "mine.csv"
    overrides.write_text("id,grid_zone,watttime_region\naws:eu-central-1,FR,FR\n")
    async with wired(server, tmp_path, region_overrides=overrides) as parts:
        await parts.refresher.refresh(NOW)
        assert ("FR", "average") in providers(parts)
        assert ("DE", "average") not in providers(parts)
        assert parts.catalogue.get("aws:eu-central-1").zone(Signal.MARGINAL) == "FR"
        assert parts.world.read(NOW).catalogue.version.endswith("with overrides")


async def test_another_clock_closes_what_it_opened(server: CarbonServer, tmp_path: Path) -> None:
    """A refresh outside a worker leaves no connection behind, and may be made again anew."""
    server.clock.frozen = None
    for _ in range(2):
        async with wired(server, tmp_path) as parts:
            report = await refresh_once(parts)
            assert report.forecasts
            assert report.refused == () or "US" in str(report.refused)


async def test_keys_never_travel_in_the_clear(server: CarbonServer, tmp_path: Path) -> None:
    """An address with http that is not this machine stops the start."""
    signals = {"watttime": {"base_url": "http://watttime.example"}}
    with pytest.raises(ProviderMisconfigured, match=r"base_url is http://watttime\.example"):
        async with wired(server, tmp_path, signals=signals):
            pass


async def test_a_history_beside_the_store_never_stops_a_refresh(
    server: CarbonServer, tmp_path: Path
) -> None:
    """What it could not keep is told in the report; decisions read the store."""
    history = {
        "kind": "s3",
        "bucket": "gone",
        "region": "eu-central-1",
        "endpoint_url": "http://127.0.0.1:9",
    }
    async with wired(server, tmp_path, history=history) as parts:
        report = await parts.refresher.refresh(NOW)
        assert report.history
        assert "parquet-s3" in report.history
        observed = parts.signals.observations("DE", Signal.AVERAGE, NOW - timedelta(days=1), NOW)
        assert observed


def test_the_shipped_policy_names_no_unknown_zone() -> None:
    """Every enabled region has a zone of the average signal and a region of WattTime."""
    parts = load_parts(policy=POLICIES / "default.yaml", log_level="error")
    covered = parts.catalogue.watttime_regions(Signal.MARGINAL)
    for zone in parts.catalogue.zones(Signal.MARGINAL, parts.policy.regions):
        assert zone in covered
