"""Submitting a run once, though ``SubmitJob`` has no client token.

1. The fence: one worker at a time may submit a run, and for a bounded time.
2. A look: a job of the run's name may have been left behind by a submission whose answer was lost,
   or whose worker died. It is adopted, whatever became of it.
3. ``SubmitJob``, sent once. No answer is not a no: the look follows again, for as long as a new job
   may be missing from the list, before it is sent again.
4. The fence keeps the job's id. From then on the run is that job.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.compute.aws_batch_api import BatchApi, NotDone, Refused, Timings
from activities.compute.aws_batch_fence import Claim, FenceRow, RunFence
from activities.compute.aws_batch_regions import BatchRegion, Target, target_of
from activities.compute.aws_batch_reports import Job, created_first
from activities.compute.aws_batch_requests import (
    SPEC_SHA256,
    definition_request,
    duplicate_of,
    reason_of,
    spec_sha256,
    submission_request,
)
from activities.errors import ComputeUnavailable, RunRefused, SpecConflict
from domain.job import RunSpec

LOOK_EVERY_S = 0.25
"""Pause between looks at what somebody else is doing."""

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


def _pauses() -> Iterator[float]:
    """Seconds to wait before each next try: longer each time, with full jitter."""
    for number in itertools.count():
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**number)
        yield random.uniform(0, longest)  # noqa: S311 - no secret: when to try again


async def jobs_named(
    api: BatchApi, queues: tuple[str, ...], run: str, patience_s: float = 0.0
) -> list[Job]:
    """The jobs of a run's name, of any status; looked for until ``patience_s`` if there are none.

    Batch's filter does not tell upper from lower case.
    """
    give_up = time.monotonic() + patience_s
    while True:
        found = await asyncio.gather(*(api.listed(queue, "JOB_NAME", run) for queue in queues))
        jobs = [job for listed in found for job in listed if job["jobName"] == run]
        if jobs or time.monotonic() >= give_up:
            return jobs
        await asyncio.sleep(LOOK_EVERY_S)


class Submitter:
    """One region's submissions."""

    def __init__(
        self, region: BatchRegion, api: BatchApi, fence: RunFence, timings: Timings
    ) -> None:
        """Hold where to submit, and what fences it."""
        self._region = region
        self._api = api
        self._fence = fence
        self._timings = timings
        self._definitions: dict[str, str] = {}
        """Name of a definition -> its revision, as submissions name it."""
        self._defining: dict[str, asyncio.Lock] = {}

    async def submit(self, spec: RunSpec) -> None:
        """Submit a run once.

        Raises:
            SpecConflict: the name is taken by a run of another specification.
            RunRefused: Batch does not take it as it is.
            ComputeUnavailable: no sure answer; the same again finds what came of it.
        """
        target, holder = target_of(spec, self._region), secrets.token_hex(8)
        give_up = time.monotonic() + self._timings.patience_s
        pauses, claims, unsure = _pauses(), 0, False
        while True:
            until_s, row = await self._turn(spec, target, holder)
            if row.job_id or row.stopped_at is not None:
                return
            # Somebody else held it since we last did, and may have sent what is not listed yet.
            unsure |= row.claims != claims + 1
            claims = row.claims
            try:
                job_id = await self._adopt_or_send(spec, row, target, unsure, until_s)
            except ComputeUnavailable as failure:
                if time.monotonic() >= give_up:
                    raise
                unsure |= not isinstance(failure, NotDone)
                await asyncio.sleep(next(pauses))
            except Refused as refusal:
                self._definitions.clear()  # it may be that one of them is gone
                raise RunRefused(spec.run, str(refusal)) from None
            else:
                await self._keep(spec.run, job_id)
                return

    async def _turn(self, spec: RunSpec, target: Target, holder: str) -> tuple[float, FenceRow]:
        """Wait until the run is ours to submit, or nobody's any more.

        Returns:
            ``time.monotonic()`` until which it may be sent, and what stands.
        """
        while True:
            until_s = time.monotonic() + self._timings.lease_s - self._timings.sending_s
            now = datetime.now(UTC)
            claim = Claim(
                spec_sha256=spec_sha256(spec),
                queue=target.queue,
                holder=holder,
                now=now,
                until=now + timedelta(seconds=self._timings.lease_s),
            )
            row = await asyncio.to_thread(self._fence.claim, spec.region, spec.run, claim)
            if row.spec_sha256 not in {"", claim.spec_sha256}:
                raise SpecConflict(spec.run)
            if row.holder == holder or row.job_id or row.stopped_at is not None:
                return until_s, row
            await asyncio.sleep(LOOK_EVERY_S)

    async def _adopt_or_send(
        self, spec: RunSpec, row: FenceRow, target: Target, unsure: bool, until_s: float
    ) -> str:
        patience_s = self._timings.list_lag_s if unsure else 0.0
        left = await jobs_named(self._api, (row.queue,), spec.run, patience_s)
        if not left:
            definition = await self._definition(definition_request(spec, target, self._region))
            request = submission_request(spec, row.queue, definition, self._region)
            return await self._api.submit(request, until_s)
        job_id = str(min(left, key=created_first)["jobId"])
        for job in await self._api.describe([job_id]):
            if job.get("tags", {}).get(SPEC_SHA256) != row.spec_sha256:
                raise SpecConflict(spec.run)
        return job_id

    async def _keep(self, run: str, job_id: str) -> None:
        """Let the fence keep a job, and end it where the run is another one or must not start."""
        row = await asyncio.to_thread(self._fence.keep, self._region.region, run, job_id)
        if row.job_id != job_id:
            await self._api.terminate(job_id, reason_of(duplicate_of(row.job_id)))
        elif row.stopped_at is not None:
            await self._api.terminate(job_id, reason_of(row.stop_reason))

    async def _definition(self, request: Mapping[str, Any]) -> str:
        """A job definition's lowest active revision, registered if there is none.

        Two workers may both register it: revisions alike, of which all take the lowest.
        """
        name = request["jobDefinitionName"]
        async with self._defining.setdefault(name, asyncio.Lock()):
            if name not in self._definitions:
                found = await self._api.definitions(name)
                if not found:
                    await self._api.register(request)
                    found = await self._api.definitions(name)
                revision = min((each["revision"] for each in found), default=1)
                self._definitions[name] = f"{name}:{revision}"
            return self._definitions[name]
