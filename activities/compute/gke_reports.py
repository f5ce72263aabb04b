"""What a Job and its pod tell of a run.

The Job says *whether* a run is over: its terminal condition comes only when no container runs any
more, and stays. The pod says *how*: exit code, times, and who ended it. But a pod goes with its
node, so that all is read from the Job too, where it can be.

A reclaim (the machine's doing, the program is not to blame) is told from a failure so:

    pod condition DisruptionTarget           reclaim, whatever the exit code: preemption, eviction,
                                             taint, node shutdown, pod garbage collection
      but evicted over a limit of its own    failure: it would be evicted again
      and exit code 0, Job complete          reclaim: a program that hears SIGTERM and exits 0 was
                                             cut short all the same
    pod deleted by somebody else             reclaim
    no end of the container told at all      reclaim: node lost, or a kubelet that refused the pod
    143 without any of these, on Spot        reclaim: only a shutdown sends SIGTERM, and its
                                             condition may not have come through. On-demand: failure
    137 without any of these                 failure: out of memory, or its own doing
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from activities.compute.gke_manifest import CAPACITY_TYPE, CONTAINER, END, JOB, STOP, Stop
from activities.compute.gke_wire import Condition, Job, Pod, Terminated, condition
from domain.job import Blocked, RunReport, RunState

SIGTERM_EXIT = 128 + 15
NOT_STARTED = 127
"""Exit code of a command that cannot be started, as shells and local compute have it."""
NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
"""How containerd and Docker name that; their exit codes differ, and StartError began in 1970."""
NEVER_STARTS = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"}
)
"""Why a container waits that nothing but a change of the job or the cluster would start."""
DISRUPTION = "DisruptionTarget"
OWN_LIMIT = re.compile(r"exceed(s|ed) .*limit", re.IGNORECASE)
EXIT_CODE = re.compile(r"failed with exit code (\d+)")
DETAIL_LENGTH = 300


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is kept of a run's pod."""

    started_at: datetime | None = None
    exit_code: int | None = None
    """``None`` while no end of its container was told."""
    ending: str = ""
    """Why the container ended, as ``OOMKilled``."""
    waiting: str = ""
    """Why it has not begun."""
    blocked: Blocked | None = None
    """What that comes to."""
    is_over: bool = False
    """In a phase that is the last."""
    reason: str = ""
    """The pod's own, as ``Evicted``."""
    message: str = ""
    disruption: str | None = None
    """Reason of a ``DisruptionTarget`` condition."""
    deleted: bool = False

    @classmethod
    def of(cls, pod: Pod) -> PodFacts:
        """Read a pod."""
        status, state = pod.status, pod.state(CONTAINER)
        begun = state.running or state.terminated
        started_at = begun.started_at if begun else None
        code, ending = _ending(state.terminated) if state.terminated else (None, "")
        disrupted = condition(status.conditions, DISRUPTION)
        return cls(
            # 1970 is what containerd tells of a program that never ran.
            started_at=started_at if started_at and started_at.timestamp() > 0 else None,
            exit_code=code,
            ending=ending,
            waiting=_waiting(pod),
            blocked=_blocked(pod),
            is_over=status.phase in {"Succeeded", "Failed"},
            reason=status.reason,
            message=status.message,
            disruption=(disrupted.reason or DISRUPTION) if disrupted else None,
            deleted=pod.metadata.deletion_timestamp is not None,
        )


NOTHING = PodFacts()


def newest(pods: Iterable[Pod]) -> PodFacts | None:
    """Facts of a run's pod; the last one, should there ever be two."""
    ordered = sorted(pods, key=lambda pod: str(pod.metadata.creation_timestamp))
    return PodFacts.of(ordered[-1]) if ordered else None


def end_of(job: Job) -> Condition | None:
    """A Job's terminal condition."""
    conditions = job.status.conditions
    return condition(conditions, "Complete") or condition(conditions, "Failed")


def is_tombstone(job: Job) -> bool:
    """Whether it only holds the name of a run that must not start."""
    return job.spec.parallelism == 0 and stop_of(job) is not None


def stop_of(job: Job) -> Stop | None:
    """The mark of a run that was asked to end."""
    mark = job.metadata.annotations.get(STOP)
    return None if mark is None else Stop.model_validate_json(mark)


def report_of(region: str, job: Job, pod: PodFacts | None) -> RunReport:
    """What is known of a run now. An end that stands on the Job is told as it was first read."""
    annotations = job.metadata.annotations
    if (recorded := annotations.get(END)) is not None:
        return RunReport.model_validate_json(recorded)
    known = RunReport(
        run=job.run, region=region, workflow_id=annotations.get(JOB, ""), state=RunState.QUEUED
    )
    stop, end = stop_of(job), end_of(job)
    if stop and is_tombstone(job):
        created_at = job.metadata.creation_timestamp
        return _with(known, RunState.TERMINATED, ended_at=created_at, detail=stop.reason)
    if end is not None:
        return _ended(known, job, end, pod or NOTHING)
    if job.status.ready or (pod is not None and pod.started_at is not None):
        detail = f"asked to end: {stop.reason}" if stop else ""
        started_at = pod.started_at if pod else None
        return _with(known, RunState.RUNNING, started_at=started_at, detail=detail)
    return _queued(known, job, pod)


def queued_report(region: str, pod: Pod, facts: PodFacts) -> RunReport:
    """What a queued run's pod tells alone."""
    job = pod.metadata.annotations.get(JOB, "")
    known = RunReport(run=pod.run, region=region, workflow_id=job, state=RunState.QUEUED)
    return _with(known, blocked=facts.blocked, detail=facts.waiting)


def _queued(known: RunReport, job: Job, pod: PodFacts | None) -> RunReport:
    if job.spec.suspend:
        return _with(known, detail="held back: the Job is suspended")
    if pod is None:
        return _with(known, detail="no pod yet")
    return _with(known, blocked=pod.blocked, detail=pod.waiting)


def _ended(known: RunReport, job: Job, end: Condition, pod: PodFacts) -> RunReport:
    code = _exit_code(end, pod)
    state, detail = _verdict(job, end, pod, code)
    stop, started_at = stop_of(job), pod.started_at
    if started_at is None and state is RunState.TERMINATED:
        started_at = stop.started_at if stop else None
    elif started_at is None and not pod.is_over:
        # The pod is gone. It ran from here at the earliest: its energy is never understated.
        started_at = job.status.start_time
    return _with(
        known,
        state,
        started_at=started_at,
        ended_at=end.last_transition_time,
        exit_code=code,
        detail=detail,
    )


def _verdict(job: Job, end: Condition, pod: PodFacts, code: int | None) -> tuple[RunState, str]:
    """How a run ended, and why; the first that holds."""
    told = pod.message or end.message or end.reason
    if end.type == "Complete":
        cut_short = f"{pod.disruption}: it heard SIGTERM and ended with exit code 0"
        return (RunState.RECLAIMED, cut_short) if pod.disruption else (RunState.SUCCEEDED, "")
    if stop := stop_of(job):
        return RunState.TERMINATED, stop.reason
    if "DeadlineExceeded" in {pod.reason, end.reason}:
        limit_s = job.spec.template.spec.active_deadline_seconds
        return RunState.FAILED, f"over max_runtime ({limit_s} s)"
    if pod.reason == "Evicted" and OWN_LIMIT.search(pod.message):
        return RunState.FAILED, f"evicted: {pod.message}"
    if cause := _reclaimed_by(job, pod, code):
        return RunState.RECLAIMED, f"{cause}: {told}"
    return RunState.FAILED, pod.ending or f"exit code {code}"


def _reclaimed_by(job: Job, pod: PodFacts, code: int | None) -> str | None:
    """What took the machine from the program; ``None``: nothing did."""
    if pod.disruption is not None:
        return pod.disruption
    if pod.deleted:
        return "its pod was deleted"
    if code is None:
        return "no end of its program was told"
    if code == SIGTERM_EXIT and job.metadata.labels.get(CAPACITY_TYPE) == "spot":
        return f"exit code {code} on Spot"
    return None


def _exit_code(end: Condition, pod: PodFacts) -> int | None:
    """By the pod, else by what the failure policy wrote on the Job."""
    if pod.exit_code is not None:
        return pod.exit_code
    if end.type == "Complete":
        return 0
    found = EXIT_CODE.search(end.message)
    return int(found[1]) if found else None


def _ending(ended: Terminated) -> tuple[int, str]:
    """Exit code of a container, and words for it."""
    if ended.reason in NEVER_STARTED:
        return NOT_STARTED, _words(ended.reason, ended.message)
    reason = "" if ended.reason == "Error" else ended.reason
    return ended.exit_code, _words(f"exit code {ended.exit_code}", reason, ended.message)


def _waiting(pod: Pod) -> str:
    """Why a pod's program has not begun: not placed on a node, or its image does not come."""
    if waiting := pod.state(CONTAINER).waiting:
        return _words(waiting.reason, waiting.message)
    for item in pod.status.conditions:
        if (item.type, item.status) == ("PodScheduled", "False"):
            return _words(item.reason, item.message)
    return ""


def _blocked(pod: Pod) -> Blocked | None:
    """A first failure to pull an image may be a registry's; one that is backed off from is ours.

    A pod for which there is no node may wait for one that is being made.
    """
    if waiting := pod.state(CONTAINER).waiting:
        return Blocked.MISCONFIGURED if waiting.reason in NEVER_STARTS else None
    for item in pod.status.conditions:
        if (item.type, item.status, item.reason) == ("PodScheduled", "False", "Unschedulable"):
            return Blocked.CAPACITY
    return None


def _words(*parts: str) -> str:
    return ": ".join(filter(None, parts))


def _with(
    known: RunReport,
    state: RunState = RunState.QUEUED,
    *,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
    exit_code: int | None = None,
    blocked: Blocked | None = None,
    detail: str = "",
) -> RunReport:
    """A report in UTC, its detail of bounded length: it stands in workflow history."""
    return known.model_copy(
        update={
            "state": state,
            "started_at": started_at and started_at.astimezone(UTC),
            "ended_at": ended_at and ended_at.astimezone(UTC),
            "exit_code": exit_code,
            "blocked": blocked,
            "detail": detail[:DETAIL_LENGTH],
        }
    )
