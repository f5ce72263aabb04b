"""What the grids behind the fakes emit: real hours of 2019 where the trace has the zone, else a
synthetic day that is labelled so. Both fakes read the same grid, so that their figures agree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from activities.carbon.trace import SHIPPED_FILES, read_trace
from domain.forecast import Signal
from domain.regions import RegionCatalogue, parse_catalogue
from domain.trace import Trace
from policies import __file__ as policies_file

HOUR = timedelta(hours=1)
SYNTHETIC = "SYN-"
"""Zones (and WattTime regions) of this prefix are always known: any number of them."""


@lru_cache
def catalogue() -> RegionCatalogue:
    return parse_catalogue((Path(policies_file).parent / "regions.csv").read_text())


@lru_cache
def traces() -> Mapping[Signal, Trace]:
    return {signal: read_trace(path) for signal, path in SHIPPED_FILES.items()}


@lru_cache
def zones() -> frozenset[str]:
    """Every zone that Electricity Maps' fake knows, but for the synthetic ones."""
    known = {region.grid_zone for region in catalogue().regions.values() if region.grid_zone}
    return frozenset(known | set(traces()[Signal.AVERAGE].zones))


@lru_cache
def watttime_regions() -> Mapping[str, str]:
    """WattTime's region -> the zone whose figures it has."""
    found: dict[str, str] = {}
    for region in catalogue().regions.values():
        if region.watttime_region and region.grid_zone:
            found.setdefault(region.watttime_region, region.grid_zone)
    return found


def is_traced(zone: str, signal: Signal) -> bool:
    """Whether the figures are of the trace; else they are synthetic."""
    return zone in traces()[signal].zones


def g_per_kwh(zone: str, signal: Signal, at: datetime) -> float:
    """The intensity at an instant: linear between hours."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    share = (at - hour) / HOUR
    here, there = _hour(zone, signal, hour), _hour(zone, signal, hour + HOUR)
    return here + (there - here) * share


@lru_cache(maxsize=100_000)
def _hour(zone: str, signal: Signal, hour: datetime) -> float:
    year = datetime(hour.year, 1, 1, tzinfo=UTC)
    if is_traced(zone, signal):
        series = traces()[signal].zones[zone]
        return float(series[((hour - year) // HOUR) % len(series)])
    seed = int.from_bytes(hashlib.sha256(f"{zone} {signal}".encode()).digest()[:4])
    level = 50 + seed % 800
    return level * (1 + 0.4 * math.cos(2 * math.pi * (hour.hour - 18 - seed % 5) / 24))
