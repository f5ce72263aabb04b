"""How a job's workflow closes, so that its colour in the Temporal UI tells its outcome."""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain.job import Outcome
from domain.messages import JobResult


async def ending(result: JobResult) -> JobResult:
    """Return a success; fail with ``Job<Outcome>``, which carries the result, otherwise."""
    await workflow.wait_condition(workflow.all_handlers_finished)
    if result.outcome is Outcome.SUCCEEDED:
        return result
    raise ApplicationError(
        f"{result.outcome.value}: {result.message}",
        result,
        type=f"Job{result.outcome.value}",
        non_retryable=True,
    )


def unrecorded(outcome: Outcome, message: str, deadline: datetime) -> JobResult:
    """An end that the ledger has already, or that never became a job."""
    return JobResult(
        job=workflow.info().workflow_id,
        outcome=outcome,
        message=message,
        deadline=deadline,
        finished_at=workflow.now(),
        deadline_met=outcome is Outcome.SUCCEEDED,
        attempts=0,
        reclaims=0,
        region=None,
        recorded_earlier=outcome is not Outcome.REFUSED,
    )
