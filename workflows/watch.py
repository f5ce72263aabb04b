"""Bulk watching: one workflow for each region of a backend, whatever the number of jobs."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from domain.messages import WatchInput, WatchResult
from domain.steps import Queue, Step

ROUNDS_A_RUN = 50
"""Rounds before continue-as-new: some 300 events, so that a replay stays cheap."""


def watch_workflow_id(backend: str, region: str) -> str:
    """``watch-<backend>-<region>``: one fixed id, so that it never runs twice."""
    return f"watch-{backend}-{region}"


@workflow.defn(name="WatchRegion")
class WatchRegion:
    """Keeps one activity watching. It signals the jobs itself; here is only its restart."""

    @workflow.run
    async def run(self, watch: WatchInput) -> None:
        """Watch without an end, continuing as new now and then."""
        for _ in range(ROUNDS_A_RUN):
            result = await workflow.execute_activity(
                Step.WATCH_REGION,
                watch,
                result_type=WatchResult,
                task_queue=Queue.SIGNALS,
                start_to_close_timeout=timedelta(hours=2),
                heartbeat_timeout=timedelta(seconds=20),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=200),
                    maximum_interval=timedelta(seconds=15),
                ),
                summary=f"{watch.backend} {watch.region}",
            )
            watch = watch.model_copy(update={"cursor": result.cursor})
        workflow.continue_as_new(watch)
