"""Our adapters against the fakes: quick time-outs, a rate that is no constraint, a planted key."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from activities.carbon.api import BreakerSettings, RateLimit, Timings
from activities.carbon.electricity_maps import ElectricityMaps
from activities.carbon.questions import Pace
from activities.carbon.watttime import WattTime
from activities.carbon.watttime_api import WattTimeApi
from domain.forecast import Forecast, Signal
from domain.ports import ProviderAnswer, SecretName
from tests.servers.carbon import CarbonServer
from tests.servers.carbon_electricity_maps import KEY
from tests.servers.carbon_watttime import PASSWORD, USER

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
ZONES = ("DE", "FR", "SE-SE3")
REGIONS = {"DE": "DE", "FR": "FR", "SE-SE3": "SE"}

QUICK = Timings(try_s=5.0, retries=1, backoff_s=0.001, longest_wait_s=0.05)
IMPATIENT = Timings(try_s=0.2, retries=0, backoff_s=0.001, longest_wait_s=0.05)
"""For servers that never answer."""

TLS = ssl.create_default_context()
"""Made once: it costs a tenth of a second, and every test opens a client."""

EVERY_TIME = Pace(past_every=Pace().refresh_every)
"""Every refresh brings the past."""

NO_PAST = Pace(past_every=None)

FREE = RateLimit(per_s=100_000, burst=1000)
NEVER_OPEN = BreakerSettings(failures=1000)


class Secrets:
    """A ``SecretSource`` whose values a test may change."""

    def __init__(self, **changed: str) -> None:
        self.values: Mapping[SecretName, str] = {
            SecretName.ELECTRICITY_MAPS_KEY: changed.get("key", KEY),
            SecretName.WATTTIME_USER: changed.get("user", USER),
            SecretName.WATTTIME_PASSWORD: changed.get("password", PASSWORD),
        }

    def read(self, name: SecretName) -> str:
        return self.values[name]


def electricity_maps(
    server: CarbonServer, client: httpx.AsyncClient, **settings: Any
) -> ElectricityMaps:
    settings = {"limit": FREE, "breaker": NEVER_OPEN, "horizon_hours": 24, **settings}
    secrets = settings.pop("secrets", Secrets())
    return ElectricityMaps(client, secrets, base_url=server.electricity_maps_url, **settings)


def account(server: CarbonServer, client: httpx.AsyncClient, **settings: Any) -> WattTimeApi:
    settings = {"limit": FREE, "breaker": NEVER_OPEN, **settings}
    secrets = settings.pop("secrets", Secrets())
    return WattTimeApi(client, secrets, base_url=server.watttime_url, **settings)


def watttime(
    server: CarbonServer,
    client: httpx.AsyncClient,
    signal: Signal = Signal.MARGINAL,
    regions: Mapping[str, str] = REGIONS,
    **settings: Any,
) -> WattTime:
    return WattTime(account(server, client), signal, regions, **{"horizon_hours": 24, **settings})


def forecasts(answer: ProviderAnswer) -> dict[str, Forecast]:
    """By zone."""
    return {item.zone: item for item in answer.forecasts}


def reasons(answer: ProviderAnswer) -> dict[str, str]:
    """Why a zone was refused, by zone."""
    return {item.zone: item.reason for item in answer.refusals}
