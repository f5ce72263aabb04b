"""AWS Batch on its fake: the fake, a fence in a file, and scripts that tell of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from activities.compute.aws_batch import AwsBatch
from activities.compute.aws_batch_api import Timings
from activities.compute.aws_batch_fence_sqlite import SqliteFence
from activities.compute.aws_batch_regions import BatchRegion, Platform
from domain.job import RunSpec
from tests.activities.compute.process_site import ProcessSite
from tests.contracts.compute_site import WITHIN_S, Program
from tests.servers.aws import CREDENTIALS
from tests.servers.batch import BatchServer
from tests.servers.batch_jobs import BatchJob
from tests.servers.batch_region import BatchRegion as FakeRegion

REGIONS = ("aws:eu-north-1", "aws:eu-central-1")

TIMINGS = Timings(
    calls_per_s=2000.0,
    connect_s=0.4,
    read_s=1.0,
    lease_s=2.2,
    patience_s=6.0,
    list_lag_s=0.3,
    poll_every_s=0.05,
    hint_wait_s=0.0,
)
"""A short life: no lease of a test's dead worker is waited for for long."""

A_DAY_S = 86_400.0

HEEDS = 'trap "touch $me.termed; exit 143" TERM; while [ ! -e $me.go ]; do sleep 0.05; done'
"""``Program.LAST`` as a job's image must be: it ends non-zero on SIGTERM, or Batch takes a reclaim
for a success."""


@asynccontextmanager
async def batch_site(
    folder: Path, timings: Timings = TIMINGS, prefer: Platform = Platform.EC2
) -> AsyncIterator[BatchSite]:
    """A fake account, and credentials for it."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        async with BatchServer(folder / "containers") as server:
            site = BatchSite(folder, server, timings, prefer)
            try:
                yield site
            finally:
                site.close()


class BatchSite(ProcessSite):
    """One fake account with two regions."""

    backend: AwsBatch

    def __init__(
        self, folder: Path, server: BatchServer, timings: Timings, prefer: Platform
    ) -> None:
        self.told = folder / "told"
        self.told.mkdir()
        self.server = server
        self.server.pace.grace_s = self.server.pace.notice_s = 0.5
        self.server.pace.timeout_scale = 0.3 / 60
        self.fence = SqliteFence(folder / "fences.db")
        self.regions = REGIONS
        self.timings = timings
        self.prefer = prefer
        self._workers: list[AwsBatch] = []
        self.backend = self.restarted()

    def restarted(self, timings: Timings | None = None) -> AwsBatch:
        worker = AwsBatch(map(self.region_of, REGIONS), self.fence, timings or self.timings)
        self._workers.append(worker)
        return worker

    def region_of(self, region: str) -> BatchRegion:
        """How a region is set up."""
        code = region.partition(":")[2]
        return BatchRegion(
            region=region,
            bucket=f"lowtide-{code}",
            prefer=self.prefer,
            execution_role_arn="arn:aws:iam::123456789012:role/lowtide-execution",
            endpoint_url=self.server.url,
        )

    def spec(self, name: str, program: Program = Program.LAST, **changed: object) -> RunSpec:
        # A minute is the least that Batch takes, and the fake's minute lasts 0.3 s.
        return super().spec(name, program, **({"max_runtime_s": A_DAY_S} | changed))

    def command(self, program: Program) -> tuple[str, ...]:
        return self.script(HEEDS) if program is Program.LAST else super().command(program)

    async def reclaim(self, spec: RunSpec) -> None:
        self.fake(spec).reclaim(self.job(spec))

    def close_queue(self) -> None:
        for region in REGIONS:
            fake = self.server.region(region.partition(":")[2])
            for name in fake.queues:
                fake.close_queue(name)

    async def submit_unanswered(self, spec: RunSpec) -> None:
        submission = asyncio.create_task(self.backend.submit(spec))
        async with asyncio.timeout(WITHIN_S):
            while not self.jobs(spec):
                await asyncio.sleep(0)
        submission.cancel()

    async def at_rest(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while any(self._is_starting(job) for job in self._all_jobs()):
                await asyncio.sleep(0.01)

    def fake(self, spec: RunSpec) -> FakeRegion:
        """The fake's side of a run's region."""
        return self.server.region(spec.region.partition(":")[2])

    def jobs(self, spec: RunSpec) -> list[BatchJob]:
        """The fake's jobs of a run, oldest first."""
        return self.fake(spec).named(spec.run)

    def job(self, spec: RunSpec) -> BatchJob:
        """The fake's only job of a run."""
        [job] = self.jobs(spec)
        return job

    async def until_over(self, spec: RunSpec, reason: str) -> None:
        """Wait until Batch ended a job of the run for a reason that begins so."""
        async with asyncio.timeout(WITHIN_S):
            while not any((job.reason or "").startswith(reason) for job in self.jobs(spec)):
                await asyncio.sleep(0.02)

    def close(self) -> None:
        """Close every worker's connections."""
        for worker in self._workers:
            worker.close()
        self.fence.close()

    def _all_jobs(self) -> list[BatchJob]:
        return [job for region in self.server.regions.values() for job in region.jobs.values()]

    @staticmethod
    def _is_starting(job: BatchJob) -> bool:
        held_up = job.status == "RUNNABLE" and job.queue.closed is not None
        return not (held_up or job.is_over or job.status == "RUNNING")
