"""A compute backend that follows a script, on the clock of whoever calls it.

A simulator for workflow tests: it starts nothing. Its time is the activity's server time, so that
it works with the time-skipping server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import activity

from domain.job import Blocked, RunReport, RunSpec, RunState
from domain.ports import ChangeBatch


@dataclass(frozen=True, slots=True)
class Act:
    """What becomes of one run."""

    ends: RunState = RunState.SUCCEEDED
    after: timedelta = timedelta(minutes=30)
    queued: timedelta = timedelta(0)
    exit_code: int | None = None
    stopped_with: int | None = None
    """Its exit code where it is asked to end before."""
    blocked: Blocked | None = None
    """Why it stays queued, told as soon as it was submitted."""


class OutOfReach(Exception):
    """The region does not answer."""


@dataclass
class ScriptedCompute:
    """The n-th submitted run follows the n-th act; the last act repeats."""

    acts: tuple[Act, ...] = (Act(),)
    specs: list[RunSpec] = field(default_factory=list)
    submitted_at: dict[str, datetime] = field(default_factory=dict)
    terminated: dict[str, datetime] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    """Regions that do not answer."""
    now: Callable[[], datetime] = field(default=lambda: activity.info().started_time)

    def name_in(self, region: str) -> str:
        del region
        return "scripted"

    async def submit(self, spec: RunSpec) -> None:
        self._reach(spec.region)
        if spec.run not in self.submitted_at:
            self.specs.append(spec)
            self.submitted_at[spec.run] = self.now()

    async def describe(self, region: str, run: str) -> RunReport:
        self._reach(region)
        return self.report(run, region, self.now())

    async def terminate(self, region: str, run: str, reason: str) -> None:
        del reason
        self._reach(region)
        self.terminated.setdefault(run, self.now())

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        del region, cursor
        return
        yield ChangeBatch((), "")

    def report(self, run: str, region: str, at: datetime) -> RunReport:
        """The run's state at ``at``, by its act."""
        if run not in self.submitted_at:
            state = RunState.TERMINATED if run in self.terminated else RunState.UNKNOWN
            return RunReport(run=run, region=region, workflow_id="", state=state)
        index = [spec.run for spec in self.specs].index(run)
        act = self.acts[min(index, len(self.acts) - 1)]
        started = self.submitted_at[run] + act.queued
        ended = started + act.after
        stopped = self.terminated.get(run)
        fields: dict[str, object] = {"workflow_id": self.specs[index].workflow_id}
        if stopped is not None and stopped < ended:
            fields |= {"state": RunState.TERMINATED, "ended_at": stopped}
            if stopped > started:
                fields |= {"started_at": started, "exit_code": act.stopped_with}
        elif at >= ended:
            fields |= {"state": act.ends, "started_at": started, "ended_at": ended}
            fields["exit_code"] = act.exit_code
        elif at >= started:
            fields |= {"state": RunState.RUNNING, "started_at": started}
        else:
            fields |= {"state": RunState.QUEUED, "blocked": act.blocked}
            fields["detail"] = f"scripted: {act.blocked}" if act.blocked else ""
        return RunReport.model_validate({"run": run, "region": region, **fields})

    def _reach(self, region: str) -> None:
        if region in self.down:
            raise OutOfReach(region)
