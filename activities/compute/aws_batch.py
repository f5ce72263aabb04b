"""AWS Batch as a compute backend: EC2 and Fargate, Spot and on-demand, in any number of regions.

Batch itself never tries a run again (``attempts: 1``). Credentials come from where boto3 looks for
them: a web identity in a cluster, the environment, a profile.

    aws_batch_regions      a region's queues, and which of them a run belongs to
    aws_batch_submission   submitting once: fence, look, send, keep
    aws_batch_fence        the row that makes a run one; in SQLite or DynamoDB
    aws_batch_watch        all runs of a region at once
    aws_batch_hints        EventBridge's events, to look sooner
    aws_batch_api          requests, their rate, their failures
    aws_batch_requests     what is asked; aws_batch_reports: what is told
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from activities.compute.aws_batch_api import USUAL, BatchApi, Timings
from activities.compute.aws_batch_fence import FenceRow, RunFence
from activities.compute.aws_batch_hints import Hints
from activities.compute.aws_batch_regions import BatchRegion
from activities.compute.aws_batch_reports import LIVE, created_first, is_ours, report_of
from activities.compute.aws_batch_requests import reason_of
from activities.compute.aws_batch_submission import LOOK_EVERY_S, Submitter, jobs_named
from activities.compute.aws_batch_watch import RegionWatch
from activities.errors import ComputeUnavailable
from domain.errors import UnknownRegion
from domain.job import RunReport, RunSpec, RunState
from domain.ports import ChangeBatch

LIFE_S = 5.0
"""A watch gives a sign of life at least so often; whoever runs it waits 20 s for one."""

NEWS_AT_ONCE = 500
"""Reports in one batch: telling them takes well below the time that a sign of life may take."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """One region with all that works there."""

    region: BatchRegion
    api: BatchApi
    submitter: Submitter


class AwsBatch:
    """A ``ComputeBackend``. All use of it is in one event loop."""

    def __init__(
        self, regions: Iterable[BatchRegion], fence: RunFence, timings: Timings = USUAL
    ) -> None:
        """Nothing is asked of AWS before it is needed."""
        self._fence = fence
        self._timings = timings
        self._places: dict[str, _Place] = {}
        for region in regions:
            api = BatchApi(region, timings)
            self._places[region.region] = _Place(
                region, api, Submitter(region, api, fence, timings)
            )

    def name_in(self, region: str) -> str:
        """As watchers and ledger events name it, in every region."""
        del region
        return "aws-batch"

    def close(self) -> None:
        """Close all connections; the fence is its owner's to close."""
        for place in self._places.values():
            place.api.close()

    async def submit(self, spec: RunSpec) -> None:
        """Start a run once.

        Raises:
            SpecConflict: the name is taken by a run of another specification.
            RunRefused: Batch does not take it as it is.
            ComputeUnavailable: no sure answer; the same again finds what came of it.
        """
        await self._place(spec.region).submitter.submit(spec)

    async def describe(self, region: str, run: str) -> RunReport:
        """A run's state: what Batch says of its job, and what its fence says where there is none.

        Raises:
            ComputeUnavailable: no answer.
        """
        place = self._place(region)
        row = await self._read(region, run)
        job_ids = [row.job_id] if row.job_id else []
        if not job_ids:
            named = await jobs_named(place.api, _queues(place, row), run)
            job_ids = [str(job["jobId"]) for job in named]
        jobs = [job for job in await place.api.describe(job_ids) if is_ours(job)]
        if jobs:
            return report_of(min(jobs, key=created_first), region)
        state, detail = self._without_job(row)
        return RunReport(
            run=run,
            region=region,
            workflow_id="",
            state=state,
            ended_at=row.stopped_at if state.is_final else None,
            detail=detail,
        )

    async def terminate(self, region: str, run: str, reason: str) -> None:
        """Ask a run to end. What was not submitted never is: that is marked before any look.

        A submission that is under way at this moment is waited for, as long as it may take.

        Raises:
            ComputeUnavailable: no answer; the mark stands.
        """
        place = self._place(region)
        now = datetime.now(UTC)
        row = await asyncio.to_thread(self._fence.stop, region, run, reason, now)
        while row.is_held(datetime.now(UTC)):
            await asyncio.sleep(LOOK_EVERY_S)
            row = await self._read(region, run)
        unsure = bool(row.spec_sha256 and not row.job_id)
        patience_s = self._timings.list_lag_s if unsure else 0.0
        named = await jobs_named(place.api, _queues(place, row), run, patience_s)
        live = {str(job["jobId"]) for job in named if job["status"] in LIVE}
        for job_id in live | ({row.job_id} if row.job_id else set()):
            await place.api.terminate(job_id, reason_of(reason))

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        """Batches of changes, and empty ones as signs of life, whether or not Batch answers."""
        place = self._place(region)
        queues = place.region.queues
        watch = RegionWatch.begin(region, queues, place.api, self._fence, cursor)
        hints = Hints(place.region, self._timings.hint_wait_s)
        passed_on, pause_s = cursor or "", 0.0
        async with hints.listening():
            while True:
                step = asyncio.create_task(_step(watch, hints, pause_s))
                try:
                    while not step.done():
                        await asyncio.wait({step}, timeout=LIFE_S)
                        if not step.done():
                            yield ChangeBatch((), passed_on)
                finally:
                    step.cancel()
                reports, reached = step.result()
                while len(reports) > NEWS_AT_ONCE:
                    part, reports = reports[:NEWS_AT_ONCE], reports[NEWS_AT_ONCE:]
                    yield ChangeBatch(part, passed_on)
                passed_on, pause_s = reached or passed_on, self._timings.poll_every_s
                yield ChangeBatch(reports, passed_on)

    async def _read(self, region: str, run: str) -> FenceRow:
        return await asyncio.to_thread(self._fence.read, region, run) or FenceRow()

    def _place(self, region: str) -> _Place:
        try:
            return self._places[region]
        except KeyError:
            raise UnknownRegion(region, self._places, "region") from None

    def _without_job(self, row: FenceRow) -> tuple[RunState, str]:
        """What is known of a run of which Batch has no job, or does not show it yet."""
        lag = timedelta(seconds=self._timings.list_lag_s)
        if row.held_until is not None and datetime.now(UTC) < row.held_until + lag:
            return RunState.QUEUED, "being submitted"
        if row.stopped_at is not None:
            return RunState.TERMINATED, row.stop_reason
        if row.job_id:
            return RunState.UNKNOWN, f"Batch does not remember job {row.job_id}"
        return RunState.UNKNOWN, ""


def _queues(place: _Place, row: FenceRow) -> tuple[str, ...]:
    """Where a run's job may be: a fence that knows nothing of it may have been lost."""
    return (row.queue,) if row.queue else place.region.queues


async def _step(
    watch: RegionWatch, hints: Hints, pause_s: float
) -> tuple[tuple[RunReport, ...], str | None]:
    """Wait for hints or the next round, then ask; no cursor where no answer came."""
    ids = await hints.next(pause_s)
    try:
        return await watch.round(ids)
    except ComputeUnavailable as failure:
        _LOG.warning("a round of watching %s failed: %s", watch.region, failure)
        return (), None
