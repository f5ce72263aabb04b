"""Two thousand jobs that want about 70 % of all room, with a perfect forecast."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.cases import example
from bench.record import Row, record
from bench.scenarios import compare, of_optimum, told
from domain.backtest.case import Case, RuleName
from domain.backtest.rolling import rolling_optimum

GOAL = 0.95


def demand(case: Case) -> float:
    """vCPU-hours that the jobs want, over those that there are while they are submitted."""
    wanted = sum(job.vcpus * job.runtime_s / 3600 for job in case.jobs)
    hours = (case.end - case.start).total_seconds() / 3600
    regions = case.policy.regions.values()
    room = sum(
        limit.vcpus
        for item in regions
        for limit in (item.spot, item.on_demand)
        if limit is not None
    )
    return wanted / (room * hours)


def main() -> None:
    """Print and keep the rows."""
    record("capacity", rows())


def rows() -> Iterator[Row]:
    """Measure."""
    case = example("capacity-bound")
    result = compare(case, (RuleName.STATIC_GREENEST, RuleName.LOWTIDE_ONCE, RuleName.LOWTIDE))
    online = rolling_optimum(case, time.perf_counter)
    signal = result.steering
    base = result.rules[RuleName.RUN_AT_ONCE].carbon_g[signal]
    possible = base - online.carbon_g[signal]
    yield Row(
        f"{result.jobs:,} jobs, demand {demand(case):.0%} of all room; clairvoyant optimum"
        f" {of_optimum(result)}",
        "–",
        f"clairvoyant saves {told(result, RuleName.OPTIMUM)}; the online optimum"
        f" {possible / base:.1%} of carbon, in {online.seconds:.0f} s, by hourly plans whose"
        f" carbon is {online.gap or 0:.1%} above proven bounds on the mean",
    )
    for rule in (RuleName.STATIC_GREENEST, RuleName.LOWTIDE_ONCE, RuleName.LOWTIDE):
        found = result.rules[rule]
        share = (base - found.carbon_g[signal]) / possible
        goal = rule is RuleName.LOWTIDE
        yield Row(
            f"{rule.value}: share of the online optimum's savings; of the clairvoyant's",
            "at least 95 %, no deadline missed" if goal else "–",
            f"{share:.1%}; {told(result, rule)}",
            holds=(share >= GOAL and found.deadlines_missed == 0) if goal else None,
        )
