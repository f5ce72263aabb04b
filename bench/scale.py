"""How long and how much memory a large backtest takes; each size in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.cases import example
from bench.record import Row, record
from domain.backtest.case import RuleName
from domain.backtest.simulation import simulate

SIZES = (10_000, 100_000, 300_000)
GOAL_S, GOAL_GIB, GOAL_SIZE = 60.0, 2.0, 100_000
MOST_GROWTH = 1.5
"""Of the time a job, from the smallest size to the largest."""


def main() -> None:
    """Print and keep the rows."""
    record("scale", rows())


def measure(jobs: int, rule: RuleName) -> None:
    """One run in this process; its figures as JSON."""
    begun = time.perf_counter()
    case = example("six-months", sets=[f"jobs.generate.jobs={jobs}"])
    read_s = time.perf_counter() - begun
    result = simulate(case, rule, time.perf_counter)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = {"read_s": read_s, "run_s": result.seconds, "peak_gib": peak_gib}
    print(json.dumps(told | {"missed": result.deadlines_missed, "decisions": result.decisions}))


def rows() -> Iterator[Row]:
    """Measure every size without looking again, and two with looks."""
    for rule, sizes in ((RuleName.LOWTIDE_ONCE, SIZES), (RuleName.LOWTIDE, SIZES[:2])):
        each_s = {}
        for jobs in sizes:
            found = _apart(jobs, rule)
            each_s[jobs] = found["run_s"] / jobs
            counts = jobs == GOAL_SIZE and rule is RuleName.LOWTIDE_ONCE
            in_time = found["read_s"] + found["run_s"] < GOAL_S and found["peak_gib"] < GOAL_GIB
            yield Row(
                f"{rule.value}, {jobs:,} jobs",
                "under 60 s, under 2 GiB" if counts else "–",
                f"{found['run_s']:.1f} s and {found['read_s']:.1f} s to read,"
                f" {found['peak_gib']:.2f} GiB, {found['decisions'] / found['run_s']:,.0f}"
                f" decisions/s, {found['missed']} deadlines missed",
                holds=in_time if counts else None,
            )
        growth = each_s[sizes[-1]] / each_s[sizes[0]]
        yield Row(
            f"{rule.value}: time a job at {sizes[-1]:,} over that at {sizes[0]:,}",
            f"linear: at most {MOST_GROWTH}",
            f"{growth:.2f}",
            holds=growth <= MOST_GROWTH,
        )


def _apart(jobs: int, rule: RuleName) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.scale", str(jobs), rule.value]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    measure(int(sys.argv[1]), RuleName(sys.argv[2]))
