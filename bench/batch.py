"""A batch of 100,000 decisions beside a loop in plain Python that is really run on some of them."""

from __future__ import annotations

import time

from bench.jobs import make_jobs, make_room, make_world
from bench.plain import choose_plainly, prepare
from domain.batch import decide_many

JOBS = 100_000
LOOPED = 2_000
GOALS = {1: 10.0, 2: 15.0}


def main() -> None:
    """Print throughput and ratio on one thread and two, and whether the answers agree."""
    world = make_world(11)
    jobs = list(make_jobs(world, make_room(world, 12), JOBS, 13))
    decide_many(jobs[:LOOPED])
    found = {}
    rates = {}
    for threads in GOALS:
        begun = time.perf_counter()
        found[threads] = decide_many(jobs, threads=threads)
        rates[threads] = JOBS / (time.perf_counter() - begun)
    looped = [
        (job, chosen) for job, chosen in zip(jobs, found[1], strict=True) if not chosen.fallbacks
    ][:LOOPED]
    prepared = prepare(world)
    begun = time.perf_counter()
    plainly = [choose_plainly(job, prepared) for job, _ in looped]
    loop_rate = len(looped) / (time.perf_counter() - begun)
    same = sum(
        (chosen.region, chosen.capacity_type, chosen.start) == cell
        for (_, chosen), cell in zip(looped, plainly, strict=True)
    )
    print(f"plain Python loop  {loop_rate:9,.0f} jobs/s, run on {len(looped):,} jobs")
    for threads, goal in GOALS.items():
        print(
            f"batch, {threads} thread{'s' * (threads > 1):<2} {rates[threads]:9,.0f} jobs/s, run on"
            f" {JOBS:,} jobs: {rates[threads] / loop_rate:.1f}x (goal {goal:g}x)"
        )
    print(
        f"same cell: {same:,} of {len(looped):,}; one thread and two agree: {found[1] == found[2]}"
    )
