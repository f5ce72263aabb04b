"""Settlement: what a job really emitted and cost, and what it would have without Lowtide.

Three books that are never mixed and never netted (GHG Protocol Scope 2 Guidance 2015, which bars
marginal factors and avoided emissions from an inventory):

- inventory, location-based: energy x hourly average intensity of the grid;
- inventory, market-based: the same energy by contractual factors; where the platform holds none,
  the guidance's hierarchy falls back on the grid average, and the book says that it did;
- impact: energy x marginal intensity, against the counterfactual; avoided may be negative.

Every run is charged to the actual side: reclaimed and given-up ones, and each chunk of an
interruptible job with what resuming cost. The counterfactual runs undisturbed for as long as the
job's own program really ran (``domain/progress.py``), which favours it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from domain.capacity import CapacityType
from domain.energy import (
    Methodology,
    embodied_g,
    energy_kwh,
    families_of,
    it_power_w,
    transfer_kwh,
)
from domain.forecast import Observation, Signal
from domain.job import Counterfactual
from domain.manifest import JobManifest
from domain.messages import AttemptRecord
from domain.policy import Policy
from domain.prices import PriceTable
from domain.progress import PROGRAM_ENDED, useful_time, wrote_checkpoint
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
    machine: str | None = None
    """Machine type, as ``m6i.xlarge``; ``None`` where the backend does not tell."""


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
    policy: Policy
    time_scale: float
    signals: frozenset[tuple[str, Signal]]
    """(zone, signal) pairs that are published at all; for these, silence means not yet."""

    def usage(
        self, manifest: JobManifest, stretches: Sequence[Stretch], observed: Observed
    ) -> Usage:
        """Energy, carbon and cost of ``stretches``; each begins by fetching the job's inputs.

        Raises:
            NotYetPublished: an hour of them is not observed yet.
        """
        parts = [self._usage(manifest, stretch, observed) for stretch in stretches]
        return Usage(
            energy_kwh=sum(part.energy_kwh for part in parts),
            average_carbon_g=_sum(part.average_carbon_g for part in parts),
            marginal_carbon_g=_sum(part.marginal_carbon_g for part in parts),
            embodied_carbon_g=sum(part.embodied_carbon_g for part in parts),
            cost_usd=sum(part.cost_usd for part in parts),
        )

    def _usage(self, manifest: JobManifest, stretch: Stretch, observed: Observed) -> Usage:
        needs, region = manifest.resources, self.catalogue.get(stretch.region)
        hours = (stretch.end - stretch.start).total_seconds() * self.time_scale / 3600
        power_w = it_power_w(
            *(self.methodology, needs.vcpus, needs.memory_gib, needs.gpus, needs.gpu_model),
            families=families_of(stretch.machine) or self.policy.cpu_families(stretch.region),
        )
        ran = energy_kwh(power_w, hours, region.pue)
        moved = [item for item in manifest.inputs if item.region != stretch.region]
        cost = hours * self.prices.usd_per_hour(
            stretch.region, stretch.capacity_type, needs.vcpus, needs.memory_gib, needs.gpus
        )
        cost += sum(
            item.gib * self.prices.egress_usd_per_gib(item.region, stretch.region) for item in moved
        )
        grams: dict[Signal, float | None] = {}
        for signal in Signal:
            here = self._mean(stretch.region, signal, stretch, observed)
            total = None if here is None else ran * here
            for item in moved:
                there = self._mean(item.region, signal, stretch, observed)
                ends = here if there is None else there
                if total is not None and here is not None and ends is not None:
                    total += transfer_kwh(self.methodology, item.gib) * (here + ends) / 2
            grams[signal] = total
        return Usage(
            energy_kwh=ran + sum(transfer_kwh(self.methodology, item.gib) for item in moved),
            average_carbon_g=grams[Signal.AVERAGE],
            marginal_carbon_g=grams[Signal.MARGINAL],
            embodied_carbon_g=embodied_g(self.methodology, needs.vcpus, needs.gpus, hours),
            cost_usd=cost,
        )

    def _mean(
        self, region: str, signal: Signal, stretch: Stretch, observed: Observed
    ) -> float | None:
        zone = self.catalogue.get(region).zone(signal) or ""
        if (zone, signal) not in self.signals:
            return None
        return mean_intensity(zone, signal, stretch, observed)


def mean_intensity(zone: str, signal: Signal, stretch: Stretch, observed: Observed) -> float:
    """Time-weighted mean of what was observed over a stretch, gCO2eq/kWh.

    A gap between observations is bridged by the mean of the rest.

    Raises:
        NotYetPublished: observations end before the stretch does.
    """
    if stretch.end <= stretch.start:
        return 0.0
    points = observed(zone, signal, stretch.start, stretch.end)
    covered = total = 0.0
    for point in points:
        end = point.start + timedelta(seconds=point.step_s)
        overlap = (min(end, stretch.end) - max(point.start, stretch.start)).total_seconds()
        covered += overlap
        total += overlap * point.g_per_kwh
    if not points or points[-1].start + timedelta(seconds=points[-1].step_s) < stretch.end:
        raise NotYetPublished(zone)
    return total / covered


def actual_stretches(
    attempts: Sequence[AttemptRecord], max_runtime: timedelta
) -> tuple[Stretch, ...]:
    """Every run that began, whatever its end.

    One that could not be confirmed dead may have run as long as it was let: it is charged for that,
    so that no figure is too good.
    """
    stretches = []
    for attempt in attempts:
        cell, report = attempt.cell, attempt.report
        start, end = report.started_at, report.ended_at
        if attempt.unconfirmed and end is None:
            start = start or attempt.submitted_at
            end = start + max_runtime
        if start is not None and end is not None:
            stretches.append(Stretch(cell.region, cell.capacity_type, start, end, report.machine))
    return tuple(stretches)


def counterfactual_stretches(
    manifest: JobManifest, counterfactual: Counterfactual, attempts: Sequence[AttemptRecord]
) -> tuple[Stretch, ...]:
    """One undisturbed stretch at home from submission, as long as the program's own runs.

    It is on the machine type of the last of these: another would be a saving, or a loss, that is
    not of place and time.
    """
    is_kept = wrote_checkpoint if manifest.interruptible else lambda _: False
    useful = [
        item for item in attempts if item.report.state in PROGRAM_ENDED or is_kept(item.report)
    ]
    own = actual_stretches(useful, manifest.max_runtime)
    cell, machine = counterfactual.cell, own[-1].machine if own else None
    end = cell.start + useful_time(attempts, manifest.interruptible)
    return (Stretch(cell.region, cell.capacity_type, cell.start, end, machine),)


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
        actual=accounting.usage(
            manifest, actual_stretches(attempts, manifest.max_runtime), observed
        ),
        counterfactual=accounting.usage(
            manifest,
            counterfactual_stretches(manifest, counterfactual, attempts),
            observed,
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


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; ``None`` as soon as one part is not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _difference(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right
