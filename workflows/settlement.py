"""Settlement: forecast figures replaced by observed ones, roots over all chains, room given back.

Started by a Temporal Schedule; each round is idempotent.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from domain.messages import SettlementReport
from domain.steps import Queue, Step


@workflow.defn(name="SettleLedger")
class SettleLedger:
    """One round of settlement."""

    @workflow.run
    async def run(self) -> SettlementReport:
        """Settle what is published, append a root, give back room whose owner is gone."""
        report: SettlementReport = await workflow.execute_activity(
            Step.SETTLE_LEDGER,
            result_type=SettlementReport,
            task_queue=Queue.SIGNALS,
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=timedelta(seconds=60),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_attempts=5),
        )
        return report
