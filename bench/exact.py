"""Savings of ``lowtide`` with a perfect forecast in one region, against enumeration in plain loops.

The enumeration knows nothing of Lowtide: it reads the trace's numbers and adds them up. With hourly
starts a run of ``r`` hours that may wait ``s`` has ``s + 1`` starts; one that may be interrupted
takes the ``r`` cleanest of the ``s + r`` hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from bench.cases import EXAMPLES, WORLD_2022, case_of, data_folder
from bench.record import Row, record
from domain.backtest.case import Case, RuleName
from domain.backtest.simulation import simulate
from domain.forecast import Signal

RUNTIMES_H, SLACKS_H = (1, 6, 12, 24), (24, 168)
CHUNKED = {"min_chunk": "1h", "checkpoint": True}
ZONES = {
    "shipped": ("shipped-average", "2019", ("DE", "FR", "GB")),
    "2022": (WORLD_2022, "2022", ("DE", "US-CAL-CISO", "IN-WE")),
}
REGION = "aws:eu-central-1"
DIGITS = 6


def scenario(
    trace: str, year: str, zone: str, hours: int, slack: int, *, chunked: bool
) -> dict[str, Any]:
    """A hundred jobs in one region, neither start-up nor margin, on demand."""
    fields = {
        "name": "exact",
        "traces": {"average": trace, "marginal": "annual"},
        "period": f"{year}-01-10/{year}-05-10",
        "regions": {REGION: {"zone": zone, "on_demand_vcpus": "unlimited"}},
        "residency": {"here": {"regions": [REGION]}},
        "weights": {"carbon": 1, "cost": 0},
        "start_up": "0s",
        "safety_margin": "0s",
        "forecast": "perfect",
        "horizon": f"{slack + hours + 2}h",
        "seed": 1,
        "jobs": {
            "generate": {
                "jobs": 100,
                "rate": "flat",
                "on_the_step": True,
                "runtime": f"{hours}h",
                "p95_factor": 1,
                "slack": f"{slack}h",
                "vcpus": 4,
                "residency": "here",
                "home_region": REGION,
            }
        },
    }
    return fields | ({"interruptible": CHUNKED} if chunked else {})


def enumerated(case: Case, zone: str, *, chunked: bool) -> float:
    """The share of the baseline's carbon that the best plan saves."""
    trace = case.truth[Signal.AVERAGE]
    series = trace.zones[zone].tolist()
    base = best = 0.0
    for job in case.jobs:
        first = round((job.submitted - trace.start).total_seconds() / 3600)
        hours = round(job.runtime_s / 3600)
        last = round((job.deadline - trace.start).total_seconds() / 3600)
        weight = job.vcpus
        base += weight * sum(series[first : first + hours])
        if chunked:
            best += weight * sum(sorted(series[first:last])[:hours])
        else:
            best += weight * min(
                sum(series[start : start + hours]) for start in range(first, last - hours + 1)
            )
    return 1 - best / base


def main() -> None:
    """One row a data set, zone and kind of job: the largest difference over runtimes and slacks."""
    record("exact", rows())


def rows() -> Iterator[Row]:
    """Measure."""
    for data, (trace, year, zones) in ZONES.items():
        folder = data_folder()
        if trace == WORLD_2022 and folder is None:
            print(f"{WORLD_2022} is not at hand: name its folder with LOWTIDE_BENCH_DATA")
            continue
        for zone, chunked in product(zones, (False, True)):
            worst, savings = 0.0, []
            for hours, slack in product(RUNTIMES_H, SLACKS_H):
                fields = scenario(trace, year, zone, hours, slack, chunked=chunked)
                case = case_of(fields, folder or EXAMPLES)
                ours = simulate(case, RuleName.LOWTIDE_ONCE).carbon_g[Signal.AVERAGE]
                base = simulate(case, RuleName.RUN_AT_ONCE).carbon_g[Signal.AVERAGE]
                saved = 1 - ours / base
                savings.append(saved)
                worst = max(worst, abs(saved - enumerated(case, zone, chunked=chunked)))
            kind = "in chunks of 1 h or more" if chunked else "in one piece"
            yield Row(
                claim=f"{data} {zone}, {kind}: runtimes 1, 6, 12, 24 h, slack 24 and 168 h",
                goal=f"equal to {DIGITS} digits",
                measured=f"saves {min(savings):.1%} to {max(savings):.1%}; difference {worst:.1e}",
                holds=bool(worst < 0.5 * 10**-DIGITS),
            )
