"""The best that anyone could have done, knowing what the grid would be: least carbon by the
steering signal, for runs that nobody takes back, within the walls of placement.

Without limits that bind it is found by enumeration. With limits it is an assignment, whose gap is
told. Where that is wide, or the case too large for one, the result is a lower bound: ``carbon_g``
of the steering signal is the bound, all other figures are those of a plan that fits, and ``gap``
is between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from domain.backtest.assignment import Assignment, assign, fits, lower_bound
from domain.backtest.case import Case, RuleName
from domain.backtest.feasible import Feasible, Plan
from domain.backtest.foresight import Floats
from domain.backtest.job import BacktestJob
from domain.backtest.result import Clock, RuleResult, Told
from domain.backtest.slots import Cut, cut, room_of
from domain.backtest.truth import RunLog, usage
from domain.room import Place

MOST_CELLS = 3_000_000
"""Of an assignment; a larger case gets a bound."""
WIDE_GAP = 0.01
"""Of a plan to its bound, beyond which the bound is told."""


@dataclass(frozen=True, slots=True)
class Run:
    """A job's work, or a chunk of it, as it would have been."""

    job: BacktestJob
    place: Place
    begin: datetime
    end: datetime


def optimum(case: Case, clock: Clock | None = None, progress: Told | None = None) -> RuleResult:
    """What perfect knowledge would have made of a case.

    A job that may be interrupted is placed by itself, without limits: where its chunks would not
    fit beside the other jobs, the result is a bound.

    Raises:
        NoLegalRegion: residency and ability leave a job no region.
    """
    started_s = clock() if clock else 0.0
    whole = [job for job in case.jobs if job.interruptible is None]
    feasible = Feasible.of(case, whole)
    room = limits(case, feasible.places, feasible.last_tick)
    found = (assign if feasible.size <= MOST_CELLS else lower_bound)(feasible, room)
    chunked = _Chunked.of(case)
    result = result_of(case, runs_of(feasible, whole, found.plan) + chunked.runs)
    if found.gap > WIDE_GAP or not (_fit_together(case, feasible, found.plan, chunked)):
        bound_g = {case.policy.steering_signal: _bound_g(feasible, found) + chunked.grams}
        result = replace(result, carbon_g={**result.carbon_g, **bound_g}, is_bound=True)
    if progress:
        progress(len(case.jobs))
    return replace(
        result,
        over_room=int(np.count_nonzero(found.over_room)),
        gap=found.gap or None,
        seconds=clock() - started_s if clock else 0.0,
    )


def _bound_g(feasible: Feasible, found: Assignment) -> float:
    """A run over room emits less than its penalty: where there are any, only the best cells of
    all jobs bound the grams.
    """
    if found.over_room.any():
        return float(feasible.best().values.min(axis=1).sum())
    return found.bound


def limits(case: Case, places: Sequence[Place], ticks: int) -> Floats:
    """(places, ticks): vCPUs that policy allows."""
    offered = (case.policy.regions[region].limit(kind) for region, kind in places)
    most = [limit.vcpus if limit else 0.0 for limit in offered]
    return np.repeat(np.array(most)[:, None], ticks, axis=1)


def runs_of(feasible: Feasible, jobs: Sequence[BacktestJob], plan: Plan) -> list[Run]:
    """The runs of a plan for ``jobs``, whose cells ``feasible`` holds."""
    runs, start_up = [], timedelta(seconds=feasible.start_up_s)
    for job, place, start_s in zip(jobs, plan.places.tolist(), plan.starts_s.tolist(), strict=True):
        begin = feasible.origin + timedelta(seconds=start_s) + start_up
        end = begin + timedelta(seconds=job.runtime_s)
        runs.append(Run(job, feasible.places[place], begin, end))
    return runs


def result_of(case: Case, runs: Sequence[Run]) -> RuleResult:
    """What all runs of a case come to."""
    log, ends = RunLog(case.start), {}
    for run in runs:
        log.add(run.place, run.job.vcpus, run.job.memory_gib, run.begin, run.end)
        ends[run.job.number] = run.end
    used, second = usage(case, log), timedelta(seconds=1)
    lengths = (case.policy.start_up + timedelta(seconds=job.runtime_s) for job in case.jobs)
    return RuleResult(
        rule=RuleName.OPTIMUM,
        carbon_g=used.carbon_g,
        cost_usd=used.cost_usd,
        deadlines_missed=sum(ends[job.number] > job.deadline for job in case.jobs),
        delays_s=np.array(
            [
                (ends[job.number] - job.submitted - length) / second
                for job, length in zip(case.jobs, lengths, strict=True)
            ]
        ),
        reclaims=0,
        wasted_vcpu_hours=0.0,
        decisions=len(case.jobs),
        seconds=0.0,
        vcpu_hours=used.vcpu_hours,
    )


@dataclass(frozen=True, slots=True)
class _Chunked:
    """The jobs that may be interrupted, each placed by itself."""

    feasible: Feasible
    jobs: tuple[BacktestJob, ...]
    cuts: tuple[Cut, ...]

    @classmethod
    def of(cls, case: Case) -> _Chunked:
        jobs = tuple(job for job in case.jobs if job.interruptible is not None)
        feasible = Feasible.of(case, jobs)
        cuts = tuple(
            cut(feasible, at, job.interruptible)
            for at, job in enumerate(jobs)
            if job.interruptible is not None
        )
        return cls(feasible, jobs, cuts)

    @property
    def grams(self) -> float:
        return sum(item.grams for item in self.cuts)

    @property
    def runs(self) -> list[Run]:
        origin, places = self.feasible.origin, self.feasible.places
        return [
            Run(
                job,
                places[stretch.place],
                origin + timedelta(seconds=stretch.begin_s),
                origin + timedelta(seconds=stretch.end_s),
            )
            for job, item in zip(self.jobs, self.cuts, strict=True)
            for stretch in item.stretches
        ]


def _fit_together(case: Case, feasible: Feasible, plan: Plan, chunked: _Chunked) -> bool:
    """Whether the chunks fit beside the plan for all other jobs."""
    if not chunked.jobs:
        return True
    ticks = 1 + max(feasible.last_tick, int(feasible.tick_from(chunked.feasible.done_by_s).max()))
    held = feasible.used(plan, ticks) + room_of(chunked.feasible, chunked.cuts, ticks)
    return fits(held, limits(case, feasible.places, ticks))
