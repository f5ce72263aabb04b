"""Settlement: what a job really emitted and cost, and what it would have without Lowtide.

Three books that are never mixed and never netted (GHG Protocol Scope 2 Guidance 2015, which bars
marginal factors and avoided emissions from an inventory):

- inventory, location-based: energy x hourly average intensity of the grid;
- inventory, market-based: the same energy by contractual factors; where the platform holds none,
  the guidance's hierarchy falls back on the grid average, and the book says that it did;
- impact: energy x marginal intensity, against the counterfactual; avoided may be negative.

Reclaimed and given-up runs are charged to the actual side. The counterfactual runs undisturbed
for as long as the job's own program really ran, which favours it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from domain.capacity import CapacityType
from domain.energy import Methodology, embodied_g, energy_kwh, it_power_w
from domain.forecast import Observation, Signal
from domain.job import Counterfactual, RunState
from domain.manifest import JobManifest
from domain.messages import AttemptRecord
from domain.prices import PriceTable
from domain.regions import RegionCatalogue

MARKET_BASIS = "grid average (no contractual factor configured)"

Observed = Callable[[str, Signal, datetime, datetime], Sequence[Observation]]
"""(zone, signal, start, end) -> observations that overlap [start, end), in order."""


class NotYetPublished(Exception):
    """Some hour of a run has no observation yet; settle later."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which capacity was, or would have been, used in one region."""

    region: str
    capacity_type: CapacityType
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """Energy, emissions by both signals, and cost of some stretches.

    A carbon figure is ``None`` where a zone of theirs has no such signal.
    """

    energy_kwh: float
    average_carbon_g: float | None
    marginal_carbon_g: float | None
    embodied_carbon_g: float
    cost_usd: float

    def as_json(self) -> dict[str, float | None]:
        """Plain data, rounded to a microgram and a micro-dollar."""
        return {
            "energy_kwh": round(self.energy_kwh, 9),
            "average_carbon_g": _rounded(self.average_carbon_g),
            "marginal_carbon_g": _rounded(self.marginal_carbon_g),
            "embodied_carbon_g": round(self.embodied_carbon_g, 6),
            "cost_usd": round(self.cost_usd, 9),
        }


@dataclass(frozen=True, slots=True)
class Settlement:
    """A job's books, from observed intensity."""

    actual: Usage
    counterfactual: Usage

    def as_json(self) -> dict[str, Any]:
        """The ``settlement`` event's figures, each book under its own name."""
        actual, counterfactual = self.actual, self.counterfactual
        return {
            "actual": actual.as_json(),
            "counterfactual": counterfactual.as_json(),
            "books": {
                "inventory_location_based": {
                    "operational_g": _rounded(actual.average_carbon_g),
                    "embodied_g": round(actual.embodied_carbon_g, 6),
                },
                "inventory_market_based": {
                    "operational_g": _rounded(actual.average_carbon_g),
                    "basis": MARKET_BASIS,
                },
                "impact": {
                    "actual_g": _rounded(actual.marginal_carbon_g),
                    "counterfactual_g": _rounded(counterfactual.marginal_carbon_g),
                    "avoided_g": _rounded(
                        _difference(counterfactual.marginal_carbon_g, actual.marginal_carbon_g)
                    ),
                },
            },
        }


@dataclass(frozen=True, slots=True)
class Accounting:
    """What turns a stretch of time into energy, grams and dollars."""

    catalogue: RegionCatalogue
    prices: PriceTable
    methodology: Methodology
    time_scale: float

    def usage(
        self, manifest: JobManifest, stretches: Sequence[Stretch], observed: Observed
    ) -> Usage:
        """Energy, carbon and cost of ``stretches``.

        Raises:
            NotYetPublished: an hour of them is not observed yet.
        """
        resources = manifest.resources
        power_w = it_power_w(
            self.methodology,
            resources.vcpus,
            resources.memory_gib,
            resources.gpus,
            resources.gpu_model,
        )
        energy = embodied = cost = 0.0
        carbon: dict[Signal, float | None] = dict.fromkeys(Signal, 0.0)
        for stretch in stretches:
            region = self.catalogue.get(stretch.region)
            hours = self._hours(stretch.end - stretch.start)
            used = energy_kwh(power_w, hours, region.pue)
            energy += used
            embodied += embodied_g(self.methodology, resources.vcpus, resources.gpus, hours)
            cost += hours * self.prices.usd_per_hour(
                stretch.region,
                stretch.capacity_type,
                resources.vcpus,
                resources.memory_gib,
                resources.gpus,
            )
            for signal in Signal:
                mean = mean_intensity(region.grid_zone or "", signal, stretch, observed)
                held = carbon[signal]
                carbon[signal] = None if mean is None or held is None else held + used * mean
        return Usage(energy, carbon[Signal.AVERAGE], carbon[Signal.MARGINAL], embodied, cost)

    def _hours(self, duration: timedelta) -> float:
        return duration.total_seconds() * self.time_scale / 3600


def mean_intensity(zone: str, signal: Signal, stretch: Stretch, observed: Observed) -> float | None:
    """Time-weighted mean of what was observed over a stretch, gCO2eq/kWh.

    ``None`` where the zone has no observation of the signal at all near the stretch.

    Raises:
        NotYetPublished: observations end before the stretch does.
    """
    if stretch.end <= stretch.start:
        return 0.0
    points = observed(zone, signal, stretch.start, stretch.end)
    if not points:
        return None
    covered = total = 0.0
    for point in points:
        end = point.start + timedelta(seconds=point.step_s)
        overlap = (min(end, stretch.end) - max(point.start, stretch.start)).total_seconds()
        covered += overlap
        total += overlap * point.g_per_kwh
    last = points[-1]
    if last.start + timedelta(seconds=last.step_s) < stretch.end:
        raise NotYetPublished(zone)
    return total / covered


def actual_stretches(attempts: Sequence[AttemptRecord]) -> tuple[Stretch, ...]:
    """Every run that began, whatever its end."""
    return tuple(
        Stretch(
            attempt.cell.region,
            attempt.cell.capacity_type,
            attempt.report.started_at,
            attempt.report.ended_at,
        )
        for attempt in attempts
        if attempt.report.started_at is not None and attempt.report.ended_at is not None
    )


def counterfactual_stretches(
    counterfactual: Counterfactual, attempts: Sequence[AttemptRecord]
) -> tuple[Stretch, ...]:
    """One undisturbed stretch at home from submission, as long as the program's own runs."""
    useful = sum(
        (
            stretch.end - stretch.start
            for stretch in actual_stretches(
                [item for item in attempts if item.report.state in _PROGRAM_ENDED]
            )
        ),
        timedelta(0),
    )
    cell = counterfactual.cell
    return (Stretch(cell.region, cell.capacity_type, cell.start, cell.start + useful),)


_PROGRAM_ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED})


def settle(
    manifest: JobManifest,
    attempts: Sequence[AttemptRecord],
    counterfactual: Counterfactual,
    accounting: Accounting,
    observed: Observed,
) -> Settlement:
    """The job's books.

    Raises:
        NotYetPublished: an hour that they need is not observed yet.
    """
    return Settlement(
        actual=accounting.usage(manifest, actual_stretches(attempts), observed),
        counterfactual=accounting.usage(
            manifest, counterfactual_stretches(counterfactual, attempts), observed
        ),
    )


def observed_from(series: Mapping[tuple[str, Signal], Sequence[Observation]]) -> Observed:
    """Observations held in memory, as a settlement's blob brings them back."""

    def observed(
        zone: str, signal: Signal, start: datetime, end: datetime
    ) -> Sequence[Observation]:
        return [
            point
            for point in series.get((zone, signal), ())
            if point.start < end and point.start + timedelta(seconds=point.step_s) > start
        ]

    return observed


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _difference(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right
