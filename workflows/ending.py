"""How a job's workflow closes, so that its colour in the Temporal UI tells its outcome."""

from __future__ import annotations

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
