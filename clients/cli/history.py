"""``lowtide signals --history``: what was observed, day by day."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from pydantic import TypeAdapter, ValidationError

from clients.cli.output import number, print_json, table, text, whole
from domain.errors import InvalidInput
from domain.forecast import Observation, Signal
from domain.manifest import Duration
from domain.policy import Policy
from domain.ports import SignalHistory
from domain.regions import RegionCatalogue

LONGEST = timedelta(days=400)
HOURS = 24

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Place:
    """One region's zone of one signal."""

    region: str
    zone: str
    signal: Signal


def places_of(
    policy: Policy, catalogue: RegionCatalogue, region: str | None, signal: Signal | None
) -> list[Place]:
    """Enabled regions, or the one named; both signals, or the one named.

    Raises:
        UnknownRegion: the catalogue does not have it.
    """
    regions = sorted(policy.regions) if region is None else [region]
    return [
        Place(found, catalogue.get(found, "--region").zone(kind) or "", kind)
        for found in regions
        for kind in ([signal] if signal else Signal)
    ]


def bars(values: Sequence[float], count: int) -> str:
    """``count`` bars of mean values, the lowest to the highest mean of the series."""
    count = min(count, len(values))
    edges = [round(bar * len(values) / count) for bar in range(count + 1)]
    means = [statistics.fmean(values[begin:end]) for begin, end in pairwise(edges)]
    low, spread = min(means), (max(means) - min(means)) or 1.0
    return "".join(_BARS[round((mean - low) / spread * (len(_BARS) - 1))] for mean in means)


def show_history(
    history: SignalHistory, places: Sequence[Place], now: datetime, over: str, *, as_json: bool
) -> None:
    """Print a row for each place and day, or all points as JSON.

    Raises:
        InvalidInput: no duration, or one that is too long.
        ActivityFault: the history cannot be read.
    """
    start = now - _span(over)
    points = {place: history.observations(place.zone, place.signal, start, now) for place in places}
    if as_json:
        print_json([_point(place, item) for place, found in points.items() for item in found])
        return
    rows = [row for place, found in points.items() for row in _days(place, found)]
    columns = (
        *(text("region"), whole("signal"), whole("day"), number("hours")),
        *(number("low"), number("mean"), number("high"), whole("over the day")),
    )
    silent = sorted({place.zone for place, found in points.items() if not found})
    note = f"nothing was observed of {', '.join(silent)}" if silent else ""
    table(f"Observed carbon intensity, g/kWh, since {start:%Y-%m-%d %H:%M}Z", columns, rows, note)


def _span(over: str) -> timedelta:
    try:
        span: timedelta = TypeAdapter(Duration).validate_python(over)
    except ValidationError:
        raise InvalidInput("--history", over, "a duration, as 24h or 14d") from None
    if not timedelta(0) < span <= LONGEST:
        raise InvalidInput("--history", over, f"more than 0, at most {LONGEST.days} days")
    return span


def _point(place: Place, item: Observation) -> Mapping[str, object]:
    return {
        "region": place.region,
        "zone": place.zone,
        "signal": place.signal.value,
        "start": item.start,
        "step_s": item.step_s,
        "g_per_kwh": item.g_per_kwh,
        "provider": item.provider,
    }


def _days(place: Place, found: Sequence[Observation]) -> list[tuple[object, ...]]:
    days: dict[date, list[Observation]] = defaultdict(list)
    for item in found:
        days[item.start.astimezone(UTC).date()].append(item)
    return [
        (
            *(place.region, place.signal.value, f"{day:%m-%d}"),
            f"{sum(item.step_s for item in items) / 3600:.0f}",
            *(f"{figure:.0f}" for figure in _low_mean_high([item.g_per_kwh for item in items])),
            bars([item.g_per_kwh for item in items], HOURS),
        )
        for day, items in sorted(days.items())
    ]


def _low_mean_high(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), statistics.fmean(values), max(values)
