"""Electricity Maps, API v4: average carbon intensity, flow-traced. It sells no marginal signal.

What to know of the API:

- Without ``disableCallerLookup=true`` a location that it cannot resolve becomes the caller's own,
  silently. It is always sent, and every answer's zone is compared with the one asked for.
- The default granularity is documented in two ways, and a plan may coarsen it silently: it is
  always sent, read back, and compared with the points' own distance.
- A forecast begins with the hour after its issue, so the step in progress may be missing. It is
  taken from the zone's forecast before, where this process holds one, else from ``latest``.
- ``updatedAt``, the issue time, may be missing: then it is the time of asking, and the methodology
  says so. Values of recent hours are estimates, revised within a day or so: observations carry
  ``(estimated)`` behind the provider's name until a later answer replaces them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TypeVar

import httpx
from pydantic import AwareDatetime, Field

from activities.carbon.api import BreakerSettings, ProviderApi, RateLimit, Wire, require_same
from activities.carbon.normalise import Point, observed, tidy
from activities.carbon.questions import Pace, Question, ask_all
from activities.errors import (
    ActivityFault,
    AnswerRefused,
    ProviderDown,
    ProviderMisconfigured,
)
from domain.forecast import Forecast, Observation, Signal
from domain.ports import ProviderAnswer, SecretName, SecretSource

NAME = "electricity_maps"
BASE_URL = "https://api.electricitymaps.com"
API = "v4"

RATE = RateLimit(per_s=1.0)
"""No limit is published; 429 is used. A contract may allow more."""

HORIZONS = (6, 24, 48, 72)
"""Hours that ``horizonHours`` takes; a plan may answer fewer."""

STALE_AFTER = timedelta(minutes=90)
"""Forecasts are made hourly: an hour, and half of one for being late."""

OK, UNAUTHORISED = 200, 401


class EmissionFactors(StrEnum):
    """What a kWh of each fuel counts for."""

    LIFECYCLE = "lifecycle"
    """With building plants and extracting fuel."""
    DIRECT = "direct"
    """Combustion alone: the boundary of scope 2, and of WattTime's signals."""


class Granularity(StrEnum):
    """Steps that can be asked for."""

    FIVE_MINUTES = "5_minutes"
    QUARTERS = "15_minutes"
    HOURLY = "hourly"


STEPS_S: Mapping[str, float] = {
    Granularity.FIVE_MINUTES: 300.0,
    Granularity.QUARTERS: 900.0,
    Granularity.HOURLY: 3600.0,
}


class ForecastPoint(Wire):
    """One step ahead."""

    at: AwareDatetime = Field(alias="datetime")
    g_per_kwh: float = Field(alias="carbonIntensity")


class ForecastAnswer(Wire):
    """``GET /carbon-intensity/forecast``."""

    zone: str
    forecast: tuple[ForecastPoint, ...]
    updated_at: AwareDatetime | None = Field(default=None, alias="updatedAt")
    temporal_granularity: str | None = Field(default=None, alias="temporalGranularity")


class CarbonIntensity(Wire):
    """``GET /carbon-intensity/latest``, and one hour of ``history``."""

    zone: str
    at: AwareDatetime = Field(alias="datetime")
    g_per_kwh: float | None = Field(default=None, alias="carbonIntensity")
    """Null or absent where it is not known yet."""
    emission_factors: str = Field(alias="emissionFactorType")
    is_estimated: bool = Field(alias="isEstimated")
    estimation_method: str | None = Field(default=None, alias="estimationMethod")
    temporal_granularity: str | None = Field(default=None, alias="temporalGranularity")


class HistoryAnswer(Wire):
    """``GET /carbon-intensity/history``: the trailing day."""

    zone: str
    history: tuple[CarbonIntensity, ...]
    temporal_granularity: str = Field(alias="temporalGranularity")


Document = TypeVar("Document", ForecastAnswer, CarbonIntensity, HistoryAnswer)


class ElectricityMaps:
    """The average signal as a ``SignalProvider``."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        secrets: SecretSource,
        *,
        base_url: str = BASE_URL,
        limit: RateLimit = RATE,
        breaker: BreakerSettings = BreakerSettings(),  # noqa: B008 - frozen
        emission_factors: EmissionFactors = EmissionFactors.LIFECYCLE,
        granularity: Granularity = Granularity.HOURLY,
        horizon_hours: int = 48,
        min_horizon_hours: int = 24,
        stale_after: timedelta = STALE_AFTER,
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        """Hold the client; the key is read at each refresh.

        Args:
            client: from ``open_client``; it is not closed here.
            secrets: holds the key.
            base_url: without the version.
            limit: what the contract allows.
            breaker: when the provider is left in peace.
            emission_factors: choose once; each forecast's methodology names it.
            granularity: what is asked for; a coarser answer is taken and named.
            horizon_hours: one of ``HORIZONS``.
            min_horizon_hours: a forecast that covers less is refused.
            stale_after: a forecast issued longer ago is refused.
            pace: how often ``fetch`` is called, and what of the past it brings.

        Raises:
            ProviderMisconfigured: an address in the clear, or a horizon that is not offered.
        """
        if horizon_hours not in HORIZONS or horizon_hours < min_horizon_hours:
            raise ProviderMisconfigured(
                NAME, "horizon_hours", horizon_hours, f"one of {HORIZONS}, {min_horizon_hours} on"
            )
        self._api = ProviderApi(client, NAME, f"{base_url}/{API}", limit, breaker)
        self._secrets = secrets
        self._emission_factors = emission_factors
        self._granularity = granularity
        self._horizon_hours = horizon_hours
        self._min_horizon = timedelta(hours=min_horizon_hours)
        self._stale_after = stale_after
        self._pace = pace
        self._forecast_before: dict[str, tuple[Point, ...]] = {}

    @property
    def name(self) -> str:
        """As it stands in each forecast."""
        return NAME

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """Each zone's forecast and, in its slot of the hour, its trailing day."""
        questions = [Question((zone,), partial(self._forecast, zone, now)) for zone in zones]
        questions += [
            Question((zone,), partial(self._history, zone, now))
            for zone in zones
            if self._pace.is_due(zone, now)
        ]
        return await ask_all(NAME, Signal.AVERAGE, questions, self._pace.budget_s)

    async def _forecast(self, zone: str, now: datetime) -> ProviderAnswer:
        answer = await self._ask(
            "forecast", zone, ForecastAnswer, {"horizonHours": self._horizon_hours}
        )
        points = tuple(Point(point.at, point.g_per_kwh) for point in answer.forecast)
        notes: list[str] = []
        if len(points) > 1 and points[0].at > now:
            current, note = await self._current(zone, points)
            points = (current, *points)
            notes.append(note)
        if answer.updated_at is None:
            notes.append("issue time: when asked")
        series = tidy(
            points,
            answer.updated_at or now,
            now,
            min_horizon=self._min_horizon,
            stale_after=self._stale_after,
        )
        self._forecast_before[zone] = points
        granularity = _granularity(series.step_s, answer.temporal_granularity)
        if granularity != self._granularity:
            notes.append(f"asked {self._granularity}")
        forecast = Forecast(
            zone=zone,
            signal=Signal.AVERAGE,
            provider=NAME,
            methodology=", ".join(
                [f"{API} flow-traced {self._emission_factors} {granularity}", *notes]
            ),
            issued_at=answer.updated_at or now,
            start=series.start,
            step_s=series.step_s,
            values=series.values,
        )
        return ProviderAnswer((forecast,), ())

    async def _current(self, zone: str, points: Sequence[Point]) -> tuple[Point, str]:
        """The step before a forecast's first, and how it was come by."""
        wanted = points[0].at - (points[1].at - points[0].at)
        for point in self._forecast_before.get(zone, ()):
            if point.at == wanted:
                return point, "first step from the forecast before"
        latest = await self._ask("latest", zone, CarbonIntensity)
        require_same("emissionFactorType", self._emission_factors, latest.emission_factors)
        if latest.g_per_kwh is None:
            raise AnswerRefused("the step in progress has no value yet")
        how = f" (estimated, {latest.estimation_method})" if latest.is_estimated else ""
        return Point(latest.at, latest.g_per_kwh), f"first step from latest{how}"

    async def _history(self, zone: str, now: datetime) -> ProviderAnswer:
        answer = await self._ask("history", zone, HistoryAnswer)
        step_s = STEPS_S.get(answer.temporal_granularity)
        if step_s is None:
            raise AnswerRefused(f"history: granularity {answer.temporal_granularity}")
        for hour in answer.history:
            require_same("zone", zone, hour.zone)
            require_same("emissionFactorType", self._emission_factors, hour.emission_factors)
        points = [
            Point(hour.at, hour.g_per_kwh, hour.is_estimated)
            for hour in answer.history
            if hour.g_per_kwh is not None
        ]
        if answer.history and not points:
            raise AnswerRefused(f"history: none of {len(answer.history)} has a carbonIntensity")
        return ProviderAnswer(
            (),
            tuple(
                Observation(
                    zone=zone,
                    signal=Signal.AVERAGE,
                    start=point.at,
                    step_s=step_s,
                    g_per_kwh=point.g_per_kwh,
                    provider=f"{NAME} (estimated)" if point.estimated else NAME,
                )
                for point in observed(points, step_s, now)
            ),
        )

    async def _ask(
        self,
        temporality: str,
        zone: str,
        schema: type[Document],
        more: Mapping[str, str | int] | None = None,
    ) -> Document:
        key = self._api.header_value("key", await self._key())
        async with self._api.turn():
            answer = await self._api.get(
                f"/carbon-intensity/{temporality}",
                {
                    "zone": zone,
                    "disableCallerLookup": "true",
                    "emissionFactorType": self._emission_factors,
                    "temporalGranularity": self._granularity,
                    **(more or {}),
                },
                headers={"auth-token": key},
            )
            if answer.status == UNAUTHORISED:
                raise ProviderDown(f"the key is refused{self._api.said(answer)}")
            if answer.status != OK:
                raise AnswerRefused(f"{temporality}: {answer.status}{self._api.said(answer)}")
        document = answer.read(schema)
        require_same("zone", zone, document.zone)
        return document

    async def _key(self) -> str:
        try:
            return await asyncio.to_thread(self._secrets.read, SecretName.ELECTRICITY_MAPS_KEY)
        except ActivityFault as fault:
            raise ProviderDown(str(fault)) from None


def _granularity(step_s: float, told: str | None) -> str:
    """What the points are, which the answer must confirm where it tells."""
    real = next((name for name, seconds in STEPS_S.items() if seconds == step_s), f"{step_s:g} s")
    if told is not None and told != real:
        raise AnswerRefused(f"temporalGranularity: {told} was told, the points are {real}")
    return real
