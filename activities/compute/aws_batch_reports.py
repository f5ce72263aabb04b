"""What Batch says of a job, told as a run's report.

Batch has one state for all that went wrong; the reason beside it tells a machine that was taken
away from a program that failed, and from an end that we asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from activities.compute.aws_batch_requests import JOB, OURS, is_duplicate
from domain.job import Blocked, RunReport, RunState

Job = Mapping[str, Any]
"""One job of an answer of ``DescribeJobs``."""

NOT_STARTED = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING")
LIVE = (*NOT_STARTED, "RUNNING")
"""Values of ``status`` that are no end."""

RECLAIMED = ("Host EC2", "Your Spot Task was interrupted")
"""How the reasons of a reclaim begin: of a Spot instance, of a Spot task on Fargate."""

TIMED_OUT = "Job attempt duration exceeded timeout"

BLOCKED = {"CAPACITY:": Blocked.CAPACITY, "MISCONFIGURATION:": Blocked.MISCONFIGURED}
"""How the reason of a queued job begins where it cannot go on, and what that means.
https://docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable.html"""


def created_first(job: Job) -> tuple[int, str]:
    """Sort key: the earliest job of a name is its run's, where nothing else says which."""
    return job["createdAt"], job["jobId"]


def is_ours(job: Job) -> bool:
    """Whether a job is a run: submitted by us, and not ended as another's duplicate."""
    return JOB in job.get("tags", {}) and not is_duplicate(job.get("statusReason", ""))


def report_of(job: Job, region: str) -> RunReport:
    """A job as the report of its run."""
    container = job.get("container", {})
    state, detail = _state(job)
    return RunReport(
        run=job["jobName"],
        region=region,
        workflow_id=job.get("tags", {}).get(JOB, ""),
        state=state,
        started_at=_instant(job.get("startedAt")),
        ended_at=_instant(job.get("stoppedAt")) if state.is_final else None,
        exit_code=container.get("exitCode") if state.is_final else None,
        machine=container.get("instanceType"),
        blocked=_blocked(detail) if state is RunState.QUEUED else None,
        detail=detail,
    )


def _state(job: Job) -> tuple[RunState, str]:
    reason = job.get("statusReason", "")
    match job["status"]:
        case "RUNNING":
            return RunState.RUNNING, ""
        case "SUCCEEDED":
            return RunState.SUCCEEDED, ""
        case "FAILED":
            return _failure(job, reason)
    return RunState.QUEUED, reason if _blocked(reason) else ""


def _blocked(reason: str) -> Blocked | None:
    found = (kind for prefix, kind in BLOCKED.items() if reason.startswith(prefix))
    return next(found, None)


def _failure(job: Job, reason: str) -> tuple[RunState, str]:
    if reason.startswith(RECLAIMED):
        return RunState.RECLAIMED, reason
    if reason.startswith(TIMED_OUT):
        return RunState.FAILED, f"over max_runtime: {reason}"
    if job.get("isTerminated") or job.get("isCancelled") or reason.startswith(OURS):
        return RunState.TERMINATED, reason.removeprefix(OURS)
    container = job.get("container", {})
    told = [reason, container.get("reason", "")]
    if "exitCode" in container:
        told.insert(0, f"exit code {container['exitCode']}")
    return RunState.FAILED, "; ".join(filter(None, told)) or "failed for no reason given"


def _instant(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
