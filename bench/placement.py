"""One decision: 10 regions x 288 starts of five minutes, the integral over each run included.

As in production, decisions share a world (curves, rows) between two refreshes and have a room view
and a job of their own. The yardstick is one copy of the arrays that a decision fills and compares:
the grams and the mask of all cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from statistics import median

from bench.jobs import NOW, REGIONS, STARTS, STEP_S, make_jobs, make_room, make_world
from domain.cells import Cells
from domain.decision import DecisionInputs
from domain.placement import choose, decide, starts_after_now_s
from domain.room import RoomView
from domain.rows import ground_of
from domain.steering import steering_outlook

GOAL_US = 150.0
DECISIONS = 400


def main() -> None:
    """Print p50 of the whole decision and of its core, room free and room busy, beside one copy."""
    for spot_only in (True, False):
        world = make_world(1, spot_only=spot_only)
        reach = timedelta(seconds=STEP_S * (STARTS - 1))
        jobs = [
            replace(job, deadline=NOW + reach + world.policy.safety_margin + job.worst_case)
            for job in make_jobs(world, RoomView(), DECISIONS, 3, residency=("europe",))
        ]
        cells = [cells_of(job) for job in jobs]
        rows, starts = len(cells[0].rows.places), len(cells[0].starts_s)
        copy_us = p50_us([copy_of(item) for item in cells])
        print(f"{REGIONS} regions, {rows} places x {starts} starts, {DECISIONS} decisions, p50:")
        print(f"  {'one copy of grams and mask':<42}{copy_us:8.1f} us")
        busy = make_room(world, 2)
        hours = sum(map(len, busy.reserved.values()))
        for label, room in (("room free", RoomView()), (f"{hours} hours reserved", busy)):
            seen = [replace(job, room=room) for job in jobs]
            core_us = p50_us([lambda job=job: choose(cells_of(job)) for job in seen])
            whole_us = p50_us([lambda job=job: decide(job) for job in seen])
            for part, took_us in (("score and choice", core_us), ("decide(), placement", whole_us)):
                print(
                    f"  {part + ', ' + label:<42}{took_us:8.1f} us {took_us / copy_us:6.1f} copies"
                    f"   (goal {GOAL_US:g} us)"
                )


def cells_of(job: DecisionInputs) -> Cells:
    """The cells of one decision, nothing of them worked out yet."""
    rows = ground_of(job.world).rows(job.manifest, job.excluded_regions)
    outlook = steering_outlook(rows, job)
    return Cells((job,), rows, outlook, starts_after_now_s(job, outlook))


def copy_of(cells: Cells) -> Callable[[], object]:
    """The yardstick: a call that copies what a decision fills."""
    grams, mask = cells.carbon_g, cells.feasible
    return lambda: (grams.copy(), mask.copy())


def p50_us(calls: list[Callable[[], object]]) -> float:
    """Median time of a call; some are made before, to warm up."""
    for call in calls[:20]:
        call()
    took = []
    for call in calls:
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return median(took) * 1e6
