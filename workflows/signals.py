"""The refresh of carbon signals, started by a Temporal Schedule."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from domain.messages import RefreshReport
from domain.steps import Queue, Step


@workflow.defn(name="RefreshSignals")
class RefreshSignals:
    """One refresh. Nothing is pushed to sleeping jobs: decisions read the store."""

    @workflow.run
    async def run(self) -> RefreshReport:
        """Fetch, check and store every zone's newest forecast and observations."""
        report: RefreshReport = await workflow.execute_activity(
            Step.REFRESH_SIGNALS,
            result_type=RefreshReport,
            task_queue=Queue.SIGNALS,
            # Providers that are down take their whole budget, some four minutes, to be given up.
            start_to_close_timeout=timedelta(seconds=250),
            heartbeat_timeout=timedelta(seconds=30),
            # The next refresh comes soon anyway: a stale answer to an old question is worthless.
            schedule_to_close_timeout=timedelta(seconds=265),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
        )
        return report
