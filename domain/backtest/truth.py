"""What runs really emitted and cost: exact integrals of the traces, all runs at once.

Means what ``domain/settlement.py`` means: energy times PUE times the mean intensity of the hours,
price times hours. Beyond its end a trace goes round, as ``Trace.window`` does.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from domain.backtest.case import Case
from domain.curves import Floats
from domain.energy import it_power_w
from domain.forecast import Signal
from domain.room import HOUR_S, Place
from domain.trace import Trace

DAY_S = 24 * HOUR_S


class RunLog:
    """Runs as they were: where, how large, from when to when. Columns, for there are many."""

    def __init__(self, near: datetime) -> None:
        """No runs yet; ``near`` them, that their times be exact."""
        self.origin = near.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        """A midnight, from which times count."""
        self._columns: dict[Place, array[float]] = {}

    def add(
        self, place: Place, vcpus: float, memory_gib: float, begin: datetime, end: datetime
    ) -> None:
        """A stretch in which a program ran."""
        column = self._columns.get(place)
        if column is None:
            column = self._columns[place] = array("d")
        times_s = (begin - self.origin).total_seconds(), (end - self.origin).total_seconds()
        column.extend((vcpus, memory_gib, *times_s))

    def by_place(self) -> dict[Place, Runs]:
        """What was added, in order."""
        return {
            place: Runs(*np.frombuffer(column, dtype=np.float64).reshape(-1, 4).T)
            for place, column in self._columns.items()
        }


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Runs in one place; each array is (runs,)."""

    vcpus: Floats
    memory_gib: Floats
    begins_s: Floats
    """Since the log's origin, a midnight (UTC)."""
    ends_s: Floats

    @property
    def hours(self) -> Floats:
        """How long each took."""
        lengths: Floats = (self.ends_s - self.begins_s) / HOUR_S
        return lengths


@dataclass(frozen=True, slots=True)
class Usage:
    """What some runs took."""

    carbon_g: Mapping[Signal, float]
    cost_usd: float
    vcpu_hours: Mapping[str, Floats] = field(default_factory=dict)
    """Region -> (24,): when of the day (UTC)."""


def usage(case: Case, log: RunLog) -> Usage:
    """Carbon by both signals, cost and hours of all runs.

    Raises:
        MissingPrice: a place without one.
        KeyError: a place in a zone without a trace.
    """
    curves = {signal: _Cumulative(trace, log.origin) for signal, trace in case.truth.items()}
    carbon_g, cost_usd = dict.fromkeys(case.truth, 0.0), 0.0
    vcpu_hours: dict[str, Floats] = {}
    for place, runs in log.by_place().items():
        region = case.catalogue.get(place[0])
        kw = _power_kw(case, place, runs) * region.pue
        for signal, curve in curves.items():
            zone = region.zone(signal) or ""
            per_kw = curve.integral(zone, runs.begins_s, runs.ends_s) / HOUR_S
            carbon_g[signal] += float(kw @ per_kw)
        cost_usd += float(_usd_per_hour(case, place, runs) @ runs.hours)
        hours = _by_hour_of_day(runs)
        vcpu_hours[region.id] = vcpu_hours.get(region.id, np.zeros(24)) + hours
    return Usage(carbon_g, cost_usd, vcpu_hours)


def _power_kw(case: Case, place: Place, runs: Runs) -> Floats:
    """IT load of each run: power is linear in what a machine has."""
    families = case.policy.cpu_families(place[0])
    per_vcpu = it_power_w(case.methodology, 1.0, 0.0, families=families)
    per_gib = it_power_w(case.methodology, 0.0, 1.0, families=families)
    power: Floats = (per_vcpu * runs.vcpus + per_gib * runs.memory_gib) / 1000
    return power


def _usd_per_hour(case: Case, place: Place, runs: Runs) -> Floats:
    price = case.prices.price(*place)
    usd: Floats = price.usd_per_vcpu_hour * runs.vcpus + price.usd_per_gib_hour * runs.memory_gib
    return usd


def _by_hour_of_day(runs: Runs) -> Floats:
    """(24,): vCPU-hours in each hour of the day."""
    hours = np.empty(24)
    for hour in range(24):
        spent_s = _until_hour(runs.ends_s, hour) - _until_hour(runs.begins_s, hour)
        hours[hour] = runs.vcpus @ spent_s / HOUR_S
    return hours


def _until_hour(instants_s: Floats, hour: int) -> Floats:
    """Seconds of one hour of the day that have gone by until each instant."""
    days, into_day_s = np.divmod(instants_s, DAY_S)
    gone: Floats = days * HOUR_S + np.clip(into_day_s - hour * HOUR_S, 0, HOUR_S)
    return gone


class _Cumulative:
    """A trace's integral from its start, in (gCO2eq/kWh) x seconds."""

    def __init__(self, trace: Trace, origin: datetime) -> None:
        self._start_s = (trace.start - origin).total_seconds()
        self._edges_s = trace.step_s * np.arange(trace.steps + 1)
        self._sums = {
            zone: np.concatenate(([0.0], np.cumsum(series * trace.step_s)))
            for zone, series in trace.zones.items()
        }

    def integral(self, zone: str, begins_s: Floats, ends_s: Floats) -> Floats:
        """(runs,): of one zone over each stretch."""
        sums = self._sums[zone]
        integral: Floats = self._until(sums, ends_s) - self._until(sums, begins_s)
        return integral

    def _until(self, sums: Floats, instants_s: Floats) -> Floats:
        rounds, into_s = np.divmod(instants_s - self._start_s, self._edges_s[-1])
        until: Floats = rounds * sums[-1] + np.interp(into_s, self._edges_s, sums)
        return until
