"""One run of a job as its workflow follows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.job import Blocked, Cell, Phase, RunReport, RunState, run_name
from domain.messages import AttemptRecord, DispatchInput, RunRef

_ORDER = (RunState.UNKNOWN, RunState.QUEUED, RunState.RUNNING)


@dataclass
class WatchedRun:
    """A run from before its submission until its end is known."""

    job: str
    attempt: int
    cell: Cell
    submitted_at: datetime
    segment: int = 0
    """Of an interruptible job: how many of its chunks are over."""
    report: RunReport = field(init=False)
    given_up: bool = False
    """We took it back to run the job elsewhere."""
    chunk_over: bool = False
    """We stopped it at the end of its chunk."""
    blocked: Blocked | None = None
    """Why it did not start when it was last queued; kept when its end is known."""
    why_blocked: str = ""
    unconfirmed: bool = False
    """It could not be confirmed dead in time (promise 3's one exception)."""

    def __post_init__(self) -> None:
        """Nothing is known of it yet."""
        self.report = RunReport(
            run=run_name(self.job, segment=self.segment, attempt=self.attempt),
            region=self.cell.region,
            workflow_id=self.job,
            state=RunState.UNKNOWN,
        )

    @property
    def ref(self) -> RunRef:
        """Enough to find it again."""
        return RunRef(run=self.report.run, region=self.cell.region)

    @property
    def is_over(self) -> bool:
        """Whether its end is known."""
        return self.report.state.is_final

    @property
    def phase(self) -> Phase:
        """The job's phase while this run is watched."""
        return Phase.RUNNING if self.report.state is RunState.RUNNING else Phase.QUEUED

    def leave_at(self, patience: timedelta, *, been_there: bool) -> datetime | None:
        """When to leave a region in which it does not start; ``None``: for the deadline alone.

        Capacity may come within ``patience``, as a node that is being made. Where it was lacking in
        every legal region, another round would tell nothing new.
        """
        match self.blocked:
            case Blocked.MISCONFIGURED:
                return self.submitted_at
            case Blocked.CAPACITY if not been_there:
                return self.submitted_at + patience
        return None

    def learn(self, report: RunReport) -> None:
        """Take news that is of this run and not older than what is known."""
        if report.run != self.report.run or self.is_over:
            return
        newer = report.state.is_final or _ORDER.index(report.state) > _ORDER.index(
            self.report.state
        )
        if newer or (report.state is self.report.state and report.blocked != self.report.blocked):
            if report.started_at is None:
                # A node that was lost takes with it when the run began; we were told in time.
                report = report.model_copy(update={"started_at": self.report.started_at})
            self.report = report
            if not report.state.is_final:
                self.blocked, self.why_blocked = report.blocked, report.detail

    def record(self) -> AttemptRecord:
        """What the ledger keeps of it."""
        return AttemptRecord(
            attempt=self.attempt,
            segment=self.segment,
            cell=self.cell,
            submitted_at=self.submitted_at,
            report=self.report,
            unconfirmed=self.unconfirmed,
        )

    def dispatch_input(self, manifest_sha256: str, seq: int) -> DispatchInput:
        """What its submission needs."""
        return DispatchInput(
            job=self.job,
            manifest_sha256=manifest_sha256,
            seq=seq,
            run=self.report.run,
            attempt=self.attempt,
            segment=self.segment,
            cell=self.cell,
        )
