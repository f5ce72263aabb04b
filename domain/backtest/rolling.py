"""The optimum of one who knows the grid, but not what jobs will come.

At each step of the grid the jobs that wait are assigned anew, with those that came, in the room
that running ones leave; whoever's start lies in this step starts. A step knows of all jobs that
are submitted before it ends, so that those may start when they are submitted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from domain.backtest.assignment import QUICK, Before, assign
from domain.backtest.case import Case
from domain.backtest.feasible import Cells, Feasible, Plan
from domain.backtest.foresight import Floats, Ints
from domain.backtest.optimum import limits, result_of, runs_of
from domain.backtest.result import Clock, RuleResult, Told


def rolling_optimum(
    case: Case, clock: Clock | None = None, progress: Told | None = None
) -> RuleResult:
    """What perfect knowledge of the grid alone would have made of a case.

    Its ``gap`` is the mean of all steps' assignments, by their value. Jobs that may be interrupted
    run in one piece.

    Raises:
        NoLegalRegion: residency and ability leave a job no region.
    """
    started_s = clock() if clock else 0.0
    feasible = Feasible.of(case, case.jobs)
    truth, submitted_s = feasible.steering, feasible.submitted_s
    room = limits(case, feasible.places, feasible.last_tick)
    prices, lost_g, value_g, over_room = np.zeros_like(room), 0.0, 0.0, 0
    plan = Plan(np.zeros(len(feasible), dtype=np.intp), np.full(len(feasible), np.inf))
    waiting = np.zeros(0, dtype=np.intp)
    # Without newcomers the plan stays the best: only steps that bring some are looked at.
    step_of = truth.edges_until(submitted_s) - 1
    for step in np.unique(step_of):
        from_s = float(truth.edge_s(step))
        started = plan.starts_s[waiting] < from_s
        room -= _used(feasible, plan, waiting[started], room.shape[1])
        held = waiting[~started]
        before = Cells(np.arange(len(held)), plan.places[held], plan.starts_s[held])
        waiting = np.concatenate((held, np.flatnonzero(step_of == step)))
        found = assign(feasible.some(waiting, from_s), room, Before(prices, before), QUICK)
        plan.places[waiting], plan.starts_s[waiting] = found.plan.places, found.plan.starts_s
        prices, lost_g, value_g = found.prices, lost_g + found.lost, value_g + found.value
        over_room += int(np.count_nonzero(found.over_room))
        if progress:
            progress(int(waiting[-1]) + 1)
    return replace(
        result_of(case, runs_of(feasible, case.jobs, plan)),
        over_room=over_room,
        gap=lost_g / value_g if lost_g else None,
        seconds=clock() - started_s if clock else 0.0,
    )


def _used(feasible: Feasible, plan: Plan, jobs: Ints, ticks: int) -> Floats:
    """(places, ticks): what some jobs' part of a plan holds."""
    return feasible.some(jobs).used(Plan(plan.places[jobs], plan.starts_s[jobs]), ticks)
