"""A fake of Electricity Maps' API, v3 and v4, faithful to what is documented of it.

Unverified against the live service: the texts of errors, and that a plan's limits look like this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.forecast import Signal
from tests.servers import carbon_grid as grid

KEY = "em-key-of-a-test"
HOUR = timedelta(hours=1)
STEPS = {
    "5_minutes": timedelta(minutes=5),
    "15_minutes": timedelta(minutes=15),
    "hourly": HOUR,
}
HORIZONS = (6, 24, 48, 72)
CALLER_ZONE = "FR"
"""Where the caller's address is: what an unresolved location silently becomes."""


@dataclass(frozen=True)
class Reply:
    """What a fake answers."""

    document: dict[str, Any]
    status: int = 200
    synthetic: bool = False


class Refused(Exception):
    """A request that is not served."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.reply = Reply(document, status)


def bad(message: str, status: int = 400) -> Refused:
    return Refused(status, {"status": "error", "message": message})


@dataclass
class Plan:
    """What the key's contract covers."""

    zones: frozenset[str] | None = None
    """All where ``None``."""
    forecasts: bool = True
    max_horizon_hours: int = 72
    """A longer one is cut silently."""
    granularity: str | None = None
    """Answered whatever is asked for, silently."""


@dataclass
class ElectricityMapsFake:
    """One key, one plan."""

    clock: Callable[[], datetime]
    plan: Plan = field(default_factory=Plan)
    estimated_for: timedelta = timedelta(hours=6)
    """Hours younger than this are estimates, a tenth too high."""

    def place(self, query: Mapping[str, str]) -> str | None:
        """The zone that a question names, known or not."""
        if zone := query.get("zone") or query.get("zoneKey"):
            return zone
        if provider := query.get("dataCenterProvider"):
            region = grid.catalogue().regions.get(f"{provider}:{query.get('dataCenterRegion')}")
            return region.grid_zone if region else None
        if "lat" in query:
            spot = float(query["lat"]), float(query["lon"])
            regions = [item for item in grid.catalogue().regions.values() if item.grid_zone]
            return min(
                regions,
                key=lambda item: (
                    abs((item.latitude or 0) - spot[0]) + abs((item.longitude or 0) - spot[1])
                ),
            ).grid_zone
        return None

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """One request below ``/v3`` or ``/v4``."""
        try:
            return self._answer(path, query, headers)
        except Refused as refused:
            return refused.reply

    def _answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        if path == "health":
            return Reply({"status": "ok"})
        if headers.get("auth-token") != KEY:
            raise Refused(401, {"error": "Invalid auth-token"})
        if path == "zones":
            names = sorted(self.plan.zones or grid.zones())
            return Reply({zone: {"zoneName": zone, "access": ["*"]} for zone in names})
        signal, _, temporality = path.partition("/")
        if signal != "carbon-intensity":
            raise bad(f"no endpoint {path}", 404)
        zone = self._zone(query, temporality)
        return Reply(
            self._document(temporality, zone, query),
            synthetic=not grid.is_traced(zone, Signal.AVERAGE),
        )

    def _zone(self, query: Mapping[str, str], temporality: str) -> str:
        """The zone that is answered for: silently the caller's, where it is not told not to be."""
        zone = self.place(query)
        if zone is None or not (zone in grid.zones() or zone.startswith(grid.SYNTHETIC)):
            if query.get("disableCallerLookup") == "true":
                raise bad(f"Zone {zone} does not exist", 404)
            zone = CALLER_ZONE
        if self.plan.zones is not None and zone not in self.plan.zones:
            raise Refused(403, {"error": f'Zone "{zone}" is outside of your plan'})
        if temporality == "forecast" and not self.plan.forecasts:
            raise Refused(403, {"error": "Forecasts are outside of your plan"})
        return zone

    def _document(self, temporality: str, zone: str, query: Mapping[str, str]) -> dict[str, Any]:
        granularity = self.plan.granularity or query.get("temporalGranularity", "hourly")
        if granularity not in STEPS:
            raise bad(f"temporalGranularity {granularity}")
        if temporality == "forecast":
            return self._forecast(zone, granularity, int(float(query.get("horizonHours", 24))))
        step, factors = STEPS[granularity], query.get("emissionFactorType", "lifecycle")
        current = floor(self.clock(), step)
        if temporality == "latest":
            return self._measured(zone, current, factors, granularity)
        if temporality == "past":
            at = floor(datetime.fromisoformat(query["datetime"]), step)
            return self._measured(zone, at, factors, granularity)
        if temporality == "history":
            name, start, end = "history", current + step - 24 * HOUR, current + step
        elif temporality == "past-range":
            name = "data"
            start, end = (datetime.fromisoformat(query[bound]) for bound in ("start", "end"))
            if end - start > timedelta(days=10):
                raise bad("past-range: more than 10 days")
        else:
            raise bad(f"no endpoint {temporality}", 404)
        span = steps(floor(start, step), end, step)
        return {
            "zone": zone,
            name: [self._measured(zone, at, factors, granularity) for at in span],
            "temporalGranularity": granularity,
        }

    def _forecast(self, zone: str, granularity: str, horizon: int) -> dict[str, Any]:
        if horizon not in HORIZONS:
            raise bad(f"horizonHours {horizon}")
        step, quarter, lag = STEPS[granularity], timedelta(minutes=15), timedelta(minutes=2)
        issued = floor(self.clock() - lag, quarter) + lag
        first = floor(issued, step) + step
        end = first + min(horizon, self.plan.max_horizon_hours) * HOUR
        return {
            "zone": zone,
            "forecast": [
                {"carbonIntensity": self.published(zone, at), "datetime": shown(at)}
                for at in steps(first, end, step)
            ],
            "updatedAt": shown(issued),
            "temporalGranularity": granularity,
        }

    def published(self, zone: str, at: datetime) -> int:
        """The figure as it will stand once settled, g/kWh."""
        return round(grid.g_per_kwh(zone, Signal.AVERAGE, at))

    def _measured(self, zone: str, at: datetime, factors: str, granularity: str) -> dict[str, Any]:
        estimated = at > self.clock() - self.estimated_for
        value = self.published(zone, at)
        return {
            "zone": zone,
            "carbonIntensity": round(value * 1.1) if estimated else value,
            "datetime": shown(at),
            "updatedAt": shown(floor(self.clock(), timedelta(minutes=5))),
            "createdAt": shown(at - 2 * HOUR),
            "emissionFactorType": factors,
            "isEstimated": estimated,
            "estimationMethod": "TIME_SLICER_AVERAGE" if estimated else None,
            "temporalGranularity": granularity,
        }


def floor(at: datetime, step: timedelta) -> datetime:
    return at - (at - datetime(2000, 1, 1, tzinfo=UTC)) % step


def steps(first: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while first < end:
        yield first
        first += step


def shown(at: datetime) -> str:
    """As the service writes instants: ``2026-11-23T09:00:00.000Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
