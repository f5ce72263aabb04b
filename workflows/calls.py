"""How a workflow calls each activity: queue, time-outs and retry policy, each chosen on purpose.

A retry without an end is right where giving up would lose a job or a record; a bounded one where
the job has something better to do when the step does not come through.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from domain.job import RunReport
from domain.messages import (
    Admission,
    AdmitInput,
    ChooseInput,
    DispatchInput,
    DispatchResult,
    FinishInput,
    JobResult,
    Plan,
    RecordInput,
    RecordResult,
    RunRef,
    StopInput,
)
from domain.steps import Queue, Step
from workflows import narrate

_NO_RETRY_MENDS = ["ChainBroken", "StepTooLarge"]
"""Other events hold a step's place in its chain, or no store takes it in one piece. The job fails,
so that a person sees it and may run it again, which goes on behind what stands there; retried
without an end, it would hang unseen past its deadline.

Not so ``ManifestUnknown`` and ``UnknownJob``. Content and rows are never taken away: a worker that
does not find them was given another store, or is of another build while one replaces the other.
That passes, and must not fail every job that wakes meanwhile."""

_STEADY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
    non_retryable_error_types=_NO_RETRY_MENDS,
)
"""Without an end: the record must be written, whenever the store is back."""

_SUBMIT = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    non_retryable_error_types=[
        "ResidencyViolation",
        "RunRefused",
        "SpecConflict",
        *_NO_RETRY_MENDS,
    ],
)
"""Bounded by the caller's patience: a region that does not answer is left for another. What no
retry can mend is named: where the job may not run, what a region refuses as it is asked, and a
run's name that is taken."""

_DECIDE_TIMEOUT = timedelta(seconds=30)
"""A decision reads a few rows and scores some thousand cells: 30 s is a store in trouble."""

_RECORD_TIMEOUT = timedelta(seconds=20)

_LOOK_PATIENCE = timedelta(minutes=2)
"""A look only may improve a plan that stands: it gives up soon, and the plan holds."""

_STOP_HEARTBEAT = timedelta(seconds=30)
_STOP_TIMEOUT = timedelta(minutes=10)


async def admit_job(step: AdmitInput) -> Admission:
    """Admit the job and decide for the first time."""
    answer: Admission = await workflow.execute_activity(
        Step.ADMIT_JOB,
        step,
        result_type=Admission,
        task_queue=Queue.DECISIONS,
        start_to_close_timeout=_DECIDE_TIMEOUT,
        retry_policy=_STEADY,
        summary="admit and plan",
    )
    return answer


async def choose_placement(step: ChooseInput) -> Plan:
    """Decide again, for as long as it takes."""
    answer: Plan = await workflow.execute_activity(
        Step.CHOOSE_PLACEMENT,
        step,
        result_type=Plan,
        task_queue=Queue.DECISIONS,
        start_to_close_timeout=_DECIDE_TIMEOUT,
        retry_policy=_STEADY,
        summary=f"decide: {step.reason.value}",
    )
    return answer


async def look_again(step: ChooseInput) -> Plan:
    """Decide again with little patience; raises ``ActivityError`` where the old plan must hold."""
    answer: Plan = await workflow.execute_activity(
        Step.CHOOSE_PLACEMENT,
        step,
        result_type=Plan,
        task_queue=Queue.DECISIONS,
        start_to_close_timeout=_DECIDE_TIMEOUT,
        schedule_to_close_timeout=_LOOK_PATIENCE,
        retry_policy=_STEADY,
        summary="look again",
    )
    return answer


async def dispatch_run(step: DispatchInput, queue: Queue, patience: timedelta) -> DispatchResult:
    """Submit a run; raises ``ActivityError`` after ``patience`` without a sure answer."""
    answer: DispatchResult = await workflow.execute_activity(
        Step.DISPATCH_RUN,
        step,
        result_type=DispatchResult,
        task_queue=queue,
        start_to_close_timeout=timedelta(minutes=1),
        schedule_to_close_timeout=patience,
        retry_policy=_SUBMIT,
        summary=f"attempt {step.attempt} in {step.cell.region} {step.cell.capacity_type.value}",
    )
    return answer


async def describe_run(run: RunRef, patience: timedelta) -> RunReport:
    """Ask the backend; raises ``ActivityError`` after ``patience`` without an answer."""
    answer: RunReport = await workflow.execute_activity(
        Step.DESCRIBE_RUN,
        run,
        result_type=RunReport,
        task_queue=Queue.DISPATCH,
        start_to_close_timeout=timedelta(seconds=30),
        schedule_to_close_timeout=patience,
        retry_policy=_SUBMIT,
        summary="safety poll",
    )
    return answer


async def terminate_run(step: StopInput, patience: timedelta) -> RunReport:
    """End a run and wait for its end; raises ``ActivityError`` when it cannot be confirmed."""
    answer: RunReport = await workflow.execute_activity(
        Step.TERMINATE_RUN,
        step,
        result_type=RunReport,
        task_queue=Queue.URGENT,
        start_to_close_timeout=_STOP_TIMEOUT,
        schedule_to_close_timeout=patience,
        heartbeat_timeout=_STOP_HEARTBEAT,
        retry_policy=_SUBMIT,
        summary=narrate.summary(f"stop: {step.reason}"),
    )
    return answer


async def record_overrides(step: RecordInput) -> RecordResult:
    """Write overrides while the job sleeps on."""
    answer: RecordResult = await workflow.execute_activity(
        Step.RECORD_OVERRIDES,
        step,
        result_type=RecordResult,
        task_queue=Queue.DECISIONS,
        start_to_close_timeout=_RECORD_TIMEOUT,
        retry_policy=_STEADY,
    )
    return answer


async def finish_job(step: FinishInput) -> JobResult:
    """Close the job's record."""
    answer: JobResult = await workflow.execute_activity(
        Step.FINISH_JOB,
        step,
        result_type=JobResult,
        task_queue=Queue.DECISIONS,
        start_to_close_timeout=_RECORD_TIMEOUT,
        retry_policy=_STEADY,
        summary=f"record: {step.outcome.value}",
    )
    return answer
