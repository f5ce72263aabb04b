"""Every cell that a job could have had, by loops, and the best of all ways to share room."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.backtest.case import Case
from domain.backtest.job import BacktestJob
from domain.capacity import CapacityType
from domain.forecast import Signal


@dataclass(frozen=True)
class NaiveCell:
    region: str
    capacity_type: CapacityType
    start: datetime
    end: datetime
    grams: float
    """By the steering signal."""

    @property
    def where(self) -> tuple[str, CapacityType, datetime]:
        return self.region, self.capacity_type, self.start


def cells(case: Case, job: BacktestJob) -> list[NaiveCell]:
    """Within every wall; at once, where that leaves none."""
    return in_time(case, job) or [
        cell_at(case, job, *place, job.submitted) for place in places(case, job)
    ]


def in_time(case: Case, job: BacktestJob) -> list[NaiveCell]:
    """Within every wall."""
    return [
        cell_at(case, job, region, kind, start)
        for region, kind in places(case, job)
        for start in starts(case, job)
        if start <= last_start(case, job, kind)
    ]


def places(case: Case, job: BacktestJob) -> list[tuple[str, CapacityType]]:
    residency, found = case.policy.residency[job.residency], []
    for region, offered in case.policy.regions.items():
        country = case.catalogue.get(region).country
        for kind, limit in (
            (CapacityType.SPOT, offered.spot),
            (CapacityType.ON_DEMAND, offered.on_demand),
        ):
            legal = region in residency.regions or country in residency.countries
            if legal and limit and job.vcpus <= limit.vcpus:
                found.append((region, kind))
    return found


def starts(case: Case, job: BacktestJob) -> list[datetime]:
    trace = case.truth[case.policy.steering_signal]
    edges = [trace.start + timedelta(seconds=trace.step_s) * at for at in range(trace.steps)]
    return [job.submitted, *(edge for edge in edges if edge > job.submitted)]


def last_start(case: Case, job: BacktestJob, kind: CapacityType) -> datetime:
    runs = 2 if kind is CapacityType.SPOT else 1
    worst = case.policy.start_up + timedelta(seconds=job.p95_s)
    return job.deadline - case.policy.safety_margin - runs * worst


def cell_at(
    case: Case, job: BacktestJob, region: str, kind: CapacityType, start: datetime
) -> NaiveCell:
    begin = start + case.policy.start_up
    end = begin + timedelta(seconds=job.runtime_s)
    grams = emitted(case, job, region, begin, end, case.policy.steering_signal)
    return NaiveCell(region, kind, start, end, grams)


def emitted(
    case: Case, job: BacktestJob, region: str, begin: datetime, end: datetime, signal: Signal
) -> float:
    """Step by step along the trace, which goes round at its end."""
    method, trace = case.methodology, case.truth[signal]
    per_vcpu = method.min_w_per_vcpu + method.utilisation * (
        method.max_w_per_vcpu - method.min_w_per_vcpu
    )
    kw = (job.vcpus * per_vcpu + job.memory_gib * method.w_per_memory_gib) / 1000
    found = case.catalogue.get(region)
    values, step = trace.zones[found.zone(signal) or ""], timedelta(seconds=trace.step_s)
    total, at = 0.0, (begin - trace.start) // step
    while trace.start + at * step < end:
        left = trace.start + at * step
        hours = (min(end, left + step) - max(begin, left)) / timedelta(hours=1)
        total += values[at % len(values)] * hours
        at += 1
    return float(total * kw * found.pue)


def least_g(case: Case) -> float:
    """Of all ways to give each job a cell so that room is never short; infinity for none."""
    best = math.inf
    for chosen in itertools.product(*(cells(case, job) for job in case.jobs)):
        total = sum(cell.grams for cell in chosen)
        if total < best and fit(case, chosen):
            best = total
    return best


def fit(case: Case, chosen: tuple[NaiveCell, ...]) -> bool:
    """At each start, what runs in the same place stays within its limit; of the first jobs, where
    not all are chosen for.
    """
    for cell in chosen:
        offered = case.policy.regions[cell.region]
        limit = offered.spot if cell.capacity_type is CapacityType.SPOT else offered.on_demand
        held = sum(
            job.vcpus
            for job, other in zip(case.jobs, chosen, strict=False)
            if (other.region, other.capacity_type) == (cell.region, cell.capacity_type)
            and other.start <= cell.start < other.end
        )
        if limit is None or held > limit.vcpus:
            return False
    return True
