"""What passes between people, the job's workflow and its activities.

One input and one result a step, all small: series, prices and the manifest never travel here.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import AwareDatetime, Field, model_validator
from pydantic.dataclasses import dataclass

from domain.job import (
    Cell,
    Counterfactual,
    DecisionReason,
    Outcome,
    Payload,
    Phase,
    Placement,
    RunReport,
)
from domain.manifest import Deadline, JobManifest

# ── overrides: what people send ──────────────────────────────────────────────────────────────


class OverrideKind(StrEnum):
    """What a person can ask of a job; also the names of the signals and updates."""

    RUN_NOW = "run_now"
    CANCEL = "cancel"
    CHANGE_DEADLINE = "change_deadline"


class OverrideRequest(Payload):
    """The one optional JSON object that each override takes."""

    reason: str = Field(default="", max_length=1000)
    actor: str = Field(default="", max_length=200)
    deadline: Deadline | None = None
    """For ``change_deadline`` only."""

    def require_deadline(self) -> datetime:
        """The deadline, or ``ValueError`` with the remedy."""
        if self.deadline is None:
            raise ValueError(
                "deadline: nothing was given; send"
                ' {"deadline": "2026-11-25T06:00:00Z", "reason": "..."}'
            )
        return self.deadline


class OverrideRecord(Payload):
    """One override as it reached the job; becomes an ``override`` event."""

    kind: OverrideKind
    at: AwareDatetime
    reason: str = ""
    actor: str = ""
    deadline: AwareDatetime | None = None
    refused: str | None = None
    """Why it had no effect; ``None`` where it was taken."""


class AttemptRecord(Payload):
    """One run that ended, or was given up; becomes an ``attempt`` event."""

    attempt: int
    cell: Cell
    submitted_at: AwareDatetime
    report: RunReport
    segment: int = 0
    """Of an interruptible job: how many of its chunks were over before this run."""
    unconfirmed: bool = False
    """The run could not be confirmed dead before the latest safe start: the one exception of
    promise 3. Its result counts only if its fencing number wins the output's commit."""


# ── what activities are asked, and answer ────────────────────────────────────────────────────


class AdmitInput(Payload):
    """Admit a job and take its first decision."""

    job: str
    manifest_sha256: str
    execution: str
    rerun: bool
    start_now: bool
    submitted_at: AwareDatetime


class RunRef(Payload):
    """Enough to find a run again."""

    run: str
    region: str


class Plan(Payload):
    """A placement, and the times that the workflow needs to act on it."""

    placement: Placement
    next_seq: int
    wake_at: AwareDatetime
    """Start of the cell plus the job's jitter, never past the latest safe start."""
    lead_s: float
    """Deadline minus this is the latest safe start: safety margin, start-up and p95 run time."""
    start_up_s: float
    look_min_remaining_s: float
    look_every_s: float | None = None


class Orphan(Payload):
    """A run whose end the ledger does not know, and whose workflow is gone."""

    attempt: int
    segment: int = 0
    cell: Cell
    submitted_at: AwareDatetime


class Admission(Payload):
    """What admission found: a plan, an outcome that is recorded already, or a refusal."""

    plan: Plan | None = None
    next_attempt: int = 1
    recorded: Outcome | None = None
    refused: str | None = None
    orphan: Orphan | None = None
    """A run that an earlier execution of this job left behind, to be stopped first."""

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        answers = (self.plan, self.recorded, self.refused)
        if sum(answer is not None for answer in answers) != 1:
            raise ValueError("exactly one of plan, recorded and refused is an answer")
        return self


class ChooseInput(Payload):
    """Decide again for an admitted job."""

    job: str
    manifest_sha256: str
    seq: int
    reason: DecisionReason
    deadline: AwareDatetime
    start_now: bool
    reclaims: int
    incumbent: Cell | None
    counterfactual: Counterfactual
    excluded_regions: tuple[str, ...] = ()
    work_done_s: float = 0.0
    """Of an interruptible job: running time that its newest checkpoint holds."""
    checkpoint_region: str | None = None
    """Where that checkpoint is."""
    attempts: tuple[AttemptRecord, ...] = ()
    overrides: tuple[OverrideRecord, ...] = ()


class DispatchInput(Payload):
    """Submit one run."""

    job: str
    manifest_sha256: str
    seq: int
    run: str
    attempt: int
    segment: int = 0
    cell: Cell


class DispatchResult(Payload):
    """The run is with its backend."""

    next_seq: int


class StopInput(Payload):
    """End a run and confirm its end."""

    run: RunRef
    reason: str


class RecordInput(Payload):
    """Write overrides that nothing else will write soon."""

    job: str
    seq: int
    overrides: tuple[OverrideRecord, ...]


class RecordResult(Payload):
    """Where the chain goes on."""

    next_seq: int


class FinishInput(Payload):
    """Close a job: completion event and release of room in one transaction."""

    job: str
    manifest_sha256: str
    seq: int
    outcome: Outcome
    message: str
    deadline: AwareDatetime
    finished_at: AwareDatetime
    last_attempt: int
    """Highest fencing number used."""
    attempts_made: int
    """Runs of this execution."""
    reclaims: int
    region: str | None
    """Where the last run was."""
    attempts: tuple[AttemptRecord, ...] = ()
    overrides: tuple[OverrideRecord, ...] = ()


class RefreshReport(Payload):
    """What one refresh of the signals brought."""

    forecasts: int
    observations: int
    refused: tuple[str, ...] = ()
    """``zones signal: reason`` of answers that were not taken, a line for each reason."""
    history: str | None = None
    """Why the history beside the signal store did not keep the observations."""


class PricesReport(Payload):
    """What one refresh of the prices brought."""

    rows: int
    """Places, a region and a capacity type each, that have a fresh price."""
    refused: tuple[str, ...] = ()
    """``regions: reason`` of prices that were not taken, a line for each reason."""


class WatchInput(Payload):
    """Watch one region of one backend, from a cursor."""

    backend: str
    region: str
    cursor: str | None = None


class WatchResult(Payload):
    """Where the watch goes on."""

    cursor: str | None


class SettlementReport(Payload):
    """What one round of settlement did."""

    settled: int
    waiting: int
    """Closed jobs that cannot be settled yet: hours not published, or an input that is gone."""
    root: int | None
    """Number of the root that was appended; ``None`` when no chain moved."""
    room_given_back: int


# ── the job's own input, state and answers ───────────────────────────────────────────────────
# Pydantic's dataclasses: of a standard one, each workflow would derive the schema anew.


@dataclass
class JobState:
    """What a job must remember over continue-as-new. Mutable: only its workflow holds it."""

    submitted_at: datetime | None = None
    rerun: bool = False
    admitted: bool = False
    seq: int = 0
    next_attempt: int = 1
    """Fencing number of the next run; it goes on rising over re-runs of the job."""
    attempts_made: int = 0
    reclaims: int = 0
    failures: int = 0
    plan: Plan | None = None
    deadline: datetime | None = None
    """Set by ``change_deadline``; the manifest's holds otherwise."""
    start_now: bool = False
    excluded_regions: tuple[str, ...] = ()
    last_region: str | None = None
    """Where the newest run was."""
    segment: int = 0
    """Of an interruptible job: chunks that are over."""
    work_done_s: float = 0.0
    """Running time that the newest checkpoint holds."""
    checkpoint_region: str | None = None
    checkpoint_missed: bool = False
    """A run that was stopped left no checkpoint: no further one is stopped by plan."""
    told: tuple[str, ...] = ()
    """The last overrides, as current details show them."""
    attempts: list[AttemptRecord] = field(default_factory=list)
    """Ended runs that no commit has recorded yet."""
    overrides: list[OverrideRecord] = field(default_factory=list)
    """Overrides that no commit has recorded yet."""

    def exclude(self, region: str) -> None:
        """Use a region again only when nothing else is legal."""
        self.excluded_regions = tuple(sorted({*self.excluded_regions, region}))


@dataclass(frozen=True)
class JobInput:
    """Input of ``CarbonAwareJob``; the one place in history where the manifest stands."""

    manifest: JobManifest
    state: JobState = field(default_factory=JobState)


class JobStatus(Payload):
    """Answer of the ``status`` query."""

    job: str
    phase: Phase
    outcome: Outcome | None
    message: str
    deadline: AwareDatetime
    placement: Placement | None
    run: RunRef | None
    attempts: int
    reclaims: int
    failures: int
    segment: int = 0
    """Of an interruptible job: chunks that are over."""
    work_done_s: float = 0.0
    """Running time that its newest checkpoint holds."""
    submitted_at: AwareDatetime
    started_at: AwareDatetime | None = None
    """When the newest run began, as its backend says."""
    finished_at: AwareDatetime | None = None
    deadline_met: bool | None = None


class JobResult(Payload):
    """How a job ended, for people and programs."""

    job: str
    outcome: Outcome
    message: str
    deadline: AwareDatetime
    finished_at: AwareDatetime
    deadline_met: bool
    attempts: int
    reclaims: int
    region: str | None
    recorded_earlier: bool = False
    """The outcome is that of an earlier execution under this name; nothing ran now."""
