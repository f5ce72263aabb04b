"""The refresh of prices, started by a Temporal Schedule."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from domain.messages import PricesReport
from domain.steps import Queue, Step


@workflow.defn(name="RefreshPrices")
class RefreshPrices:
    """One refresh. Decisions read the store: the next one sees it."""

    @workflow.run
    async def run(self) -> PricesReport:
        """Ask every source, check and store what came."""
        report: PricesReport = await workflow.execute_activity(
            Step.REFRESH_PRICES,
            result_type=PricesReport,
            task_queue=Queue.SIGNALS,
            # A source that does not answer is given up after two minutes.
            start_to_close_timeout=timedelta(minutes=4),
            heartbeat_timeout=timedelta(seconds=30),
            # Prices that are hours old still serve: the next refresh is soon enough.
            schedule_to_close_timeout=timedelta(minutes=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_attempts=3),
        )
        return report
