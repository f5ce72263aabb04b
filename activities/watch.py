"""Bulk watching: one activity follows all runs of one region and signals the jobs concerned."""

from __future__ import annotations

import asyncio

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.job import RunReport
from domain.messages import WatchInput, WatchResult
from domain.ports import ComputeBackend
from domain.steps import Step

RUN_CHANGED = "run_changed"
"""Name of the job's signal."""

SIGNALS_AT_ONCE = 16


class Watch:
    """The activity ``watch_region``."""

    def __init__(self, compute: ComputeBackend, client: Client) -> None:
        """Hold the backend and the client that signals jobs."""
        self._compute = compute
        self._client = client

    @activity.defn(name=Step.WATCH_REGION)
    async def watch_region(self, watch: WatchInput) -> WatchResult:
        """Follow one region until the worker stops; a restart goes on from the last heartbeat.

        A change may be signalled twice, and the job passes over what it knows.
        """
        beats = activity.info().heartbeat_details
        cursor = beats[0] if beats else watch.cursor
        async for batch in self._compute.watch(watch.region, cursor):
            for start in range(0, len(batch.reports), SIGNALS_AT_ONCE):
                part = batch.reports[start : start + SIGNALS_AT_ONCE]
                await asyncio.gather(*(self._tell(report) for report in part))
            cursor = batch.cursor
            activity.heartbeat(cursor)
            if activity.is_worker_shutdown():
                break
        return WatchResult(cursor=cursor)

    async def _tell(self, report: RunReport) -> None:
        handle = self._client.get_workflow_handle(report.workflow_id)
        try:
            await handle.signal(RUN_CHANGED, report)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # The job is closed, or was never one of ours: there is nobody to tell.
            activity.logger.info("no open job for a run", extra={"run": report.run})
