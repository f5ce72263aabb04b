"""A case's jobs under one rule, event by event, as ``workflows/job.py`` sees each through.

    submit ─► decide ─► wait ─► run ─► end
                ▲  look  │       │ reclaimed
                └────────┴───────┘

Wakes come without jitter. Each attempt of a job has its own luck, the same under every rule.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from domain.backtest.case import Case, RuleName
from domain.backtest.job import BacktestJob
from domain.backtest.luck import Luck
from domain.backtest.plan import Plan
from domain.backtest.result import Clock, RuleResult, Told
from domain.backtest.room import Claim, SimulatedRoom
from domain.backtest.rules import Rule, rule_of
from domain.backtest.truth import RunLog, usage
from domain.decision import DecisionInputs
from domain.job import Cell
from domain.progress import Progress
from domain.room import RoomView, SeenRoom
from domain.timing import next_look

HOUR = timedelta(hours=1)
PROGRESS_EVERY = 50
"""Jobs that end between two reports of progress."""


def simulate(
    case: Case, name: RuleName, clock: Clock | None = None, progress: Told | None = None
) -> RuleResult:
    """What becomes of a case's jobs under a rule.

    Args:
        case: the jobs, and the grid that they meet.
        name: of the rule; not the optimum.
        clock: to time the simulation by.
        progress: told now and then.

    Raises:
        NoLegalRegion: residency and ability leave a job no region.
    """
    started_s = clock() if clock else 0.0
    simulation = Simulation(case, rule_of(case, name), progress)
    simulation.run()
    result = simulation.result(name)
    return replace(result, seconds=clock() - started_s) if clock else result


@dataclass(slots=True)
class _Live:
    """A job that has not ended."""

    index: int
    """In the case's jobs."""
    job: BacktestJob
    inputs: DecisionInputs
    """Of its newest decision."""
    newest: Plan | None = None
    claims: tuple[Claim, ...] = ()
    attempts: int = 0
    ran: timedelta = timedelta(0)
    """Its program, in all attempts that are over."""
    progress: Progress = field(default_factory=Progress)
    """What the newest checkpoint holds."""

    @property
    def plan(self) -> Plan:
        """The newest decision's."""
        assert self.newest is not None  # noqa: S101 - whoever waits or runs was decided on
        return self.newest


_Step = Callable[[_Live, datetime], None]


class Simulation:
    """One rule on one case, once."""

    def __init__(self, case: Case, rule: Rule, progress: Told | None = None) -> None:
        """Stand at the case's start."""
        self._case = case
        self._rule = rule
        self._progress = progress
        self._room = SimulatedRoom(rule.policy, case.start)
        self._seen: SeenRoom = self._room if rule.room_counts else RoomView()
        self._luck = Luck(case.seed, len(case.jobs))
        self.runs = RunLog(case.start)
        self._events: list[tuple[datetime, int, _Step, _Live]] = []
        self._pushed = 0
        self._delays_s = np.zeros(len(case.jobs))
        self._ended = self._missed = self._reclaims = self._decisions = self._over_room = 0
        self._wasted_vcpu_hours = 0.0

    def run(self) -> None:
        """Until every job has ended. What ends at an instant makes room for what comes then."""
        for index, job in enumerate(self._case.jobs):
            self._advance(job.submitted)
            inputs = self._rule.inputs(job, self._seen)
            self._decide(_Live(index, job, inputs), job.submitted)
        self._advance(None)
        if self._progress:
            self._progress(self._ended)

    def result(self, name: RuleName) -> RuleResult:
        """What became of them, in all."""
        used = usage(self._case, self.runs)
        return RuleResult(
            rule=name,
            carbon_g=used.carbon_g,
            cost_usd=used.cost_usd,
            deadlines_missed=self._missed,
            delays_s=self._delays_s,
            reclaims=self._reclaims,
            wasted_vcpu_hours=self._wasted_vcpu_hours,
            decisions=self._decisions,
            seconds=0.0,
            vcpu_hours=used.vcpu_hours,
            over_room=self._over_room,
        )

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def _advance(self, until: datetime | None) -> None:
        events = self._events
        while events and (until is None or events[0][0] <= until):
            now, _, step, live = heapq.heappop(events)
            step(live, now)

    def _at(self, instant: datetime, step: _Step, live: _Live) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (instant, self._pushed, step, live))

    # ── decide and wait ──────────────────────────────────────────────────────────────────────

    def _decide(self, live: _Live, now: datetime) -> None:
        """Choose a plan, and take its room in place of what was held."""
        rule = self._rule
        self._release(live)
        live.newest = plan = rule.plan(live.inputs, live.job)
        self._decisions += 1
        if rule.room_counts:
            self._over_room += plan.over_room
            live.claims = tuple(
                self._room.claim(place, hours, live.job.vcpus) for place, hours in plan.room()
            )
        start = plan.first.start
        if start <= now:
            self._start(live, now)
        elif rule.looks:
            again = rule.policy.look_again
            look = next_look(now, start, again.min_remaining, again.every)
            self._at(look or start, self._look, live)
        else:
            self._at(start, self._start, live)

    def _look(self, live: _Live, now: datetime) -> None:
        first = live.plan.first
        region, capacity_type = first.place
        held = Cell(region=region, capacity_type=capacity_type, start=first.start)
        world = self._rule.worlds.at(now)
        live.inputs = replace(live.inputs, world=world, now=now, incumbent=held)
        self._decide(live, now)

    def _release(self, live: _Live) -> None:
        for claim in live.claims:
            self._room.release(claim)
        live.claims = ()

    # ── run ──────────────────────────────────────────────────────────────────────────────────

    def _start(self, live: _Live, now: datetime) -> None:
        """What comes first: a reclaim, the chunk's end or the job's."""
        begin, place = now + self._case.policy.start_up, live.plan.first.place
        rate = self._case.prices.price(*place).reclaims_per_hour
        lasts_s = self._luck.lasts_s(live.index, live.attempts, rate)
        live.attempts += 1
        ends, ends_at = self._end, begin + self._left(live)
        if live.plan.cut_at is not None and live.plan.cut_at < ends_at:
            ends, ends_at = self._cut, live.plan.cut_at
        if lasts_s < (ends_at - begin).total_seconds():
            ends, ends_at = self._reclaim, begin + timedelta(seconds=lasts_s)
        self._at(ends_at, ends, live)

    def _left(self, live: _Live) -> timedelta:
        """How long a run takes from here on, taking up a checkpoint included."""
        work, terms = timedelta(seconds=live.job.runtime_s), live.job.interruptible
        if terms is None or not live.progress.is_taken_up_in(live.plan.first.place[0], terms):
            return work
        return work - live.progress.work_done + terms.resume_overhead

    def _reclaim(self, live: _Live, now: datetime) -> None:
        self._reclaims += 1
        self._resume(live, now, reclaims=live.inputs.reclaims + 1)

    def _cut(self, live: _Live, now: datetime) -> None:
        self._resume(live, now, reclaims=live.inputs.reclaims)

    def _resume(self, live: _Live, now: datetime, reclaims: int) -> None:
        """Decide again, with the runway and the work left: all of it without a checkpoint."""
        self._stop(live, now)
        live.inputs = replace(
            live.inputs,
            world=self._rule.worlds.at(now),
            now=now,
            incumbent=None,
            reclaims=reclaims,
            work_done=live.progress.work_done,
            checkpoint_region=live.progress.region,
        )
        self._decide(live, now)

    def _stop(self, live: _Live, now: datetime) -> None:
        """Charge what ran until now, and count what a checkpoint keeps of it."""
        job, first = live.job, live.plan.first
        begin = first.start + self._case.policy.start_up
        self.runs.add(first.place, job.vcpus, job.memory_gib, begin, now)
        live.ran += now - begin
        if job.interruptible is not None:
            region = first.place[0]
            done = live.progress.running(now - begin, region, job.interruptible)
            live.progress = Progress(done, region)

    def _end(self, live: _Live, now: datetime) -> None:
        self._stop(live, now)
        self._release(live)
        job, runtime = live.job, timedelta(seconds=live.job.runtime_s)
        undisturbed = job.submitted + self._case.policy.start_up + runtime
        self._delays_s[live.index] = (now - undisturbed).total_seconds()
        self._wasted_vcpu_hours += job.vcpus * ((live.ran - runtime) / HOUR)
        self._missed += now > job.deadline
        self._ended += 1
        if self._progress and self._ended % PROGRESS_EVERY == 0:
            self._progress(self._ended)
