"""A job's life in values: phases, outcomes, placements, runs.

These cross the boundary between workflow and activities and stand in workflow history, so they
are small, frozen and may only grow by optional fields.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.capacity import CapacityType
from domain.forecast import Signal


class Payload(BaseModel):
    """Base of everything that stands in history: frozen, tolerant of fields a later build adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Phase(StrEnum):
    """Where a job stands; the ``Phase`` search attribute."""

    PLANNING = "Planning"
    DEFERRED = "Deferred"
    DISPATCHING = "Dispatching"
    QUEUED = "Queued"
    RUNNING = "Running"
    STOPPING = "Stopping"
    FINISHED = "Finished"


class Outcome(StrEnum):
    """How a job ended; the ``Outcome`` search attribute."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    """The user's program failed and its retries are used up."""
    CANCELLED = "Cancelled"
    REFUSED = "Refused"
    """Not admitted: no legal region, another manifest under the name, a bad field."""


class DecisionReason(StrEnum):
    """Why a decision was taken."""

    PLAN = "plan"
    LOOK = "look"
    RECLAIM = "reclaim"
    OVERRIDE = "override"
    FALLBACK = "fallback"
    """The run could not be started or confirmed where it was placed."""
    RESUME = "resume"
    """A chunk of an interruptible job has ended as planned, and work is left."""
    RETRY = "retry"
    """The user's program failed and the manifest grants another run."""


class Fallback(StrEnum):
    """Which walls an empty feasible set made the decision drop, in this order."""

    RUN_NOW = "run_now"
    OVER_COST = "over_cost"
    OVER_ROOM = "over_room"


class SignalBasis(StrEnum):
    """What the decision compared: one signal for all cells, or cost alone."""

    AVERAGE = "average"
    MARGINAL = "marginal"
    COST_ONLY = "cost_only"

    @classmethod
    def of(cls, signal: Signal) -> SignalBasis:
        """The basis that compares ``signal``."""
        return cls(signal.value)


class Cell(Payload):
    """One place and time where a job could run."""

    region: str
    capacity_type: CapacityType
    start: AwareDatetime


class Segment(Payload):
    """One stretch of work in one cell."""

    cell: Cell
    duration_s: float


class Estimate(Payload):
    """What a run in one cell is expected to cost, rework from reclaims included.

    A carbon figure is ``None`` where no fresh forecast of that signal covers the run.
    """

    energy_kwh: float
    average_carbon_g: float | None
    marginal_carbon_g: float | None
    cost_usd: float

    def carbon_g(self, basis: SignalBasis) -> float | None:
        """The carbon figure of one basis, ``None`` for cost-only."""
        match basis:
            case SignalBasis.AVERAGE:
                return self.average_carbon_g
            case SignalBasis.MARGINAL:
                return self.marginal_carbon_g
            case SignalBasis.COST_ONLY:
                return None


class Counterfactual(Payload):
    """The run as it would have been without Lowtide: home region, at submission."""

    cell: Cell
    estimate: Estimate


class Saving(Payload):
    """What a placement saves of its basis's carbon against running now at home, in grams."""

    promised_g: float
    """By the forecast as it was issued."""
    expected_g: float
    """What is left of it after the regret that was learned: what the choice went by."""


class Placement(Payload):
    """Where and when a job will run, with what is expected of it and why."""

    segments: tuple[Segment, ...]
    basis: SignalBasis
    signal_provider: str | None = None
    """Who made the forecast by which the first cell was chosen."""
    regions_without_signal: tuple[str, ...] = ()
    """Legal and able regions that could not be compared: no fresh forecast of that signal."""
    estimate: Estimate
    counterfactual: Counterfactual
    score: float | None
    """0..1 over the feasible set, smaller is better; ``None`` for a fallback."""
    saving: Saving | None = None
    """``None`` where the choice did not go by carbon, or home has no figure."""
    static_rule: bool = False
    """The forecast has lately lost to the greenest region at once, so that rule chose."""
    fallbacks: tuple[Fallback, ...] = ()
    at_risk: bool = False
    """Even started now, the p95 run ends after the deadline."""
    latest_safe_start: AwareDatetime
    """The last instant at which an on-demand start still meets the deadline with margin."""
    reason: str
    """One sentence for people."""

    @property
    def cell(self) -> Cell:
        """The first segment's cell."""
        return self.segments[0].cell

    @property
    def planned_end(self) -> datetime:
        """When the last segment is expected to end."""
        last = self.segments[-1]
        return last.cell.start + timedelta(seconds=last.duration_s)


class RunState(StrEnum):
    """What a compute backend says of a run."""

    UNKNOWN = "unknown"
    """No trace of it: never submitted there."""
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The user's program ended by its own fault, or over ``max_runtime``."""
    RECLAIMED = "reclaimed"
    """The machine was taken away or lost; the work is lost, the program is not to blame."""
    TERMINATED = "terminated"
    """Ended because we asked."""

    @property
    def is_final(self) -> bool:
        """Whether the run is certainly over."""
        return self in _FINAL


_FINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.RECLAIMED, RunState.TERMINATED})


class Blocked(StrEnum):
    """Why a queued run does not start, where its backend tells."""

    CAPACITY = "capacity"
    """No machine is to be had there for now."""
    MISCONFIGURED = "misconfigured"
    """As things are set up there it never starts: too large for its pool, no such image."""


class RunReport(Payload):
    """One run's state as the backend knows it; sent to the job by its region's watcher."""

    run: str
    region: str
    workflow_id: str
    state: RunState
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    exit_code: int | None = None
    machine: str | None = None
    """Machine type it ran on, as ``m6i.xlarge`` or ``n2-standard-4``, where the backend tells."""
    blocked: Blocked | None = None
    """Of a queued run that does not start; ``detail`` says what the backend said."""
    detail: str = ""


class RunSpec(Payload):
    """What a backend is asked to run. The same spec again is the same run."""

    run: str
    workflow_id: str
    attempt: int
    region: str
    capacity_type: CapacityType
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    vcpus: float
    memory_gib: float
    gpus: int
    gpu_model: str | None
    max_runtime_s: float


def run_name(workflow_id: str, segment: int, attempt: int) -> str:
    """A run's name: at most 63 characters, lower-case, valid for AWS Batch and Kubernetes.

    The digest keeps two jobs apart whose names agree in what the length limit leaves.
    """
    digest = hashlib.sha256(workflow_id.encode()).hexdigest()[:8]
    return f"{workflow_id[:40].rstrip('-')}-{digest}-s{segment}-a{attempt}"
