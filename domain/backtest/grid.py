"""What the grid was in a backtest: the truth of both signals, and the catalogue that goes with it.

The signal that steers must be recorded in every zone and all through the period. Where the trace of
the other one lacks the period or a zone, or there is none, the catalogue's published annual mean
stands for it in every step.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import NoReturn

import numpy as np

from domain.backtest.scenario import ANNUAL, Scenario
from domain.errors import InvalidScenario, Problem, near
from domain.forecast import Signal
from domain.regions import RegionCatalogue, parse_catalogue
from domain.trace import Trace

_MEANS = {
    Signal.AVERAGE: "average_annual_g_per_kwh",
    Signal.MARGINAL: "marginal_annual_g_per_kwh",
}
"""The catalogue's columns."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The truth, and where each region stands in it."""

    truth: Mapping[Signal, Trace]
    published_means: frozenset[Signal]
    published_zones: frozenset[str]
    catalogue: RegionCatalogue


def grid_of(scenario: Scenario, read_trace: Callable[[Signal], Trace], regions: str) -> Grid:
    """Put the traces together.

    Args:
        scenario: which regions, traces and period.
        read_trace: the trace of a signal that has a file.
        regions: the shipped catalogue's text.

    Raises:
        InvalidScenario: a zone or the period is not in the steering signal's trace, or a published
            mean is needed and lacking.
        UnknownRegion: a region that the catalogue does not have.
        TraceUnreadable: naming file and line.
    """
    shipped = parse_catalogue(regions)
    zones = {region: _zone(scenario, shipped, region) for region in scenario.regions}
    steering, other = scenario.steering_signal, scenario.steering_signal.other
    if scenario.traces.of(steering) == ANNUAL:
        _refuse(f"traces.{steering}", ANNUAL, "a file, since this signal steers")
    recorded = {steering: read_trace(steering)}
    _check_steering(scenario, recorded[steering], zones)
    if scenario.traces.of(other) != ANNUAL:
        trace = read_trace(other)
        period = scenario.period
        if trace.start <= period.start and period.end <= trace.end:
            recorded[other] = trace
    lacking = {zone for zone in zones.values() if other not in recorded} or {
        zone for zone in zones.values() if zone not in recorded[other].zones
    }
    published = {zone: _published(shipped, other, zone, zones) for zone in lacking}
    if lacking == set(zones.values()):
        recorded.pop(other, None)
    truth = _truth(scenario, recorded, published, sorted(set(zones.values())))
    means = {
        signal: {zone: float(values.mean()) for zone, values in trace.zones.items()}
        for signal, trace in recorded.items()
    }
    means[other] = means.get(other, {}) | published
    return Grid(
        truth=truth,
        published_means=frozenset({other} - recorded.keys()),
        published_zones=frozenset(lacking if other in recorded else ()),
        catalogue=_catalogue(scenario, regions, zones, means),
    )


def _zone(scenario: Scenario, shipped: RegionCatalogue, region: str) -> str:
    grid_zone = shipped.get(region, f"regions.{region}").grid_zone
    named = scenario.regions[region].zone
    zone = named or scenario.zone_map.get(grid_zone or "", grid_zone)
    if zone is None:
        _refuse(f"regions.{region}.zone", "nothing", "a column of the traces: its grid is unknown")
    return zone


def _check_steering(scenario: Scenario, trace: Trace, zones: Mapping[str, str]) -> None:
    """Every zone and the whole period are recorded."""
    file = scenario.traces.of(scenario.steering_signal)
    for region, zone in zones.items():
        if zone not in trace.zones:
            told = f"a column of {file}{near(zone, trace.zones)} (of {', '.join(trace.zones)})"
            _refuse(f"regions.{region}.zone", zone, told)
    period = scenario.period
    if period.start < trace.start or trace.end < period.end:
        _refuse(
            "period",
            _span(period.start, period.end),
            f"within {_span(trace.start, trace.end)}, which {file} covers",
        )


def _published(
    shipped: RegionCatalogue, signal: Signal, zone: str, zones: Mapping[str, str]
) -> float:
    """A zone's published annual mean: that of the scenario's regions in it."""
    regions = [shipped.get(region) for region, own in zones.items() if own == zone]
    figures = [
        region.average_annual_g_per_kwh
        if signal is Signal.AVERAGE
        else region.marginal_annual_g_per_kwh
        for region in regions
    ]
    known = [figure for figure in figures if figure is not None]
    if not known:
        _refuse(
            f"regions.{regions[0].id}",
            f"no published annual {signal} mean",
            f"a region that has one, or a trace of that signal with a column {zone}",
        )
    return fmean(known)


def _truth(
    scenario: Scenario,
    recorded: Mapping[Signal, Trace],
    published: Mapping[str, float],
    zones: list[str],
) -> dict[Signal, Trace]:
    """Both signals over the time that all traces cover, in the scenario's zones."""
    start = max(trace.start for trace in recorded.values())
    end = min(trace.end for trace in recorded.values())
    steering = scenario.steering_signal
    truth = {
        signal: trace.cut([zone for zone in zones if zone in trace.zones], start, end)
        for signal, trace in recorded.items()
    }
    spans = {(trace.start, trace.end) for trace in truth.values()}
    if len(spans) > 1:
        told = f"a trace whose steps begin with those of {scenario.traces.of(steering)}"
        _refuse(f"traces.{steering.other}", scenario.traces.of(steering.other), told)
    frame = truth.get(steering.other, truth[steering])
    own = frame.zones if steering.other in truth else {}
    flat = {zone: np.full(frame.steps, published[zone]) for zone in zones if zone in published}
    truth[steering.other] = Trace(frame.start, {**own, **flat}, frame.step_s)
    return truth


def _catalogue(
    scenario: Scenario,
    text: str,
    zones: Mapping[str, str],
    means: Mapping[Signal, Mapping[str, float]],
) -> RegionCatalogue:
    """The shipped one, its regions' zones, annual means and PUE as the scenario has them."""
    first, _, table = text.partition("\n")
    reader = csv.DictReader(io.StringIO(table))
    written = io.StringIO()
    writer = csv.DictWriter(written, reader.fieldnames or (), lineterminator="\n")
    writer.writeheader()
    for row in reader:
        # Zones of a trace are not WattTime's: what the catalogue knows of those is left out.
        changed = row | {"marginal_zone": "", "watttime_region": ""}
        if (zone := zones.get(row["id"])) is not None:
            spec = scenario.regions[row["id"]]
            changed |= {column: repr(means[signal][zone]) for signal, column in _MEANS.items()}
            changed |= {"grid_zone": zone, "annual_year": ""}
            changed |= {"pue": row["pue"] if spec.pue is None else repr(spec.pue)}
        writer.writerow(changed)
    return parse_catalogue(f"{first}, as {scenario.name} has it\n{written.getvalue()}")


def _span(start: datetime, end: datetime) -> str:
    return f"{start:%Y-%m-%dT%H:%MZ}/{end:%Y-%m-%dT%H:%MZ}"


def _refuse(field: str, value: str, allowed: str) -> NoReturn:
    raise InvalidScenario((Problem(field, value, allowed),))
