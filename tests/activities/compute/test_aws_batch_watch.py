"""Watching a region of AWS Batch: how little it asks, and that nothing is missed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from activities.compute import aws_batch
from activities.compute.aws_batch import AwsBatch
from activities.compute.aws_batch_api import Timings
from activities.compute.aws_batch_fence_sqlite import SqliteFence
from activities.compute.aws_batch_regions import BatchRegion
from domain.job import Blocked, RunState
from domain.ports import ChangeBatch
from tests.activities.compute.batch_site import REGIONS, TIMINGS, BatchSite, batch_site
from tests.contracts.compute_site import Program, tells, told
from tests.servers.aws import CREDENTIALS
from tests.servers.batch import BatchServer
from tests.servers.batch_jobs import BatchJob

AN_HOUR_MS = 3_600_000
QUEUES = 4


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BatchSite]:
    async with batch_site(tmp_path) as site:
        yield site


async def test_a_run_that_was_short_is_told(site: BatchSite) -> None:
    """Begun and over between two rounds: its end is told all the same."""
    async with aclosing(site.backend.watch(REGIONS[0], None)) as watch:
        await told(watch, lambda _: True)
        spec = site.spec("short", Program.SUCCEED)
        await site.backend.submit(spec)
        await site.until(spec, RunState.SUCCEEDED)
        await told(watch, tells(spec, RunState.SUCCEEDED))


async def test_why_a_run_is_stuck_is_told(site: BatchSite) -> None:
    """When it comes to be, and when it is over."""
    spec, queue = site.spec("stuck"), "lowtide-ec2-spot"
    site.fake(spec).close_queue(queue)
    await site.backend.submit(spec)
    await site.at_rest()
    async with aclosing(site.backend.watch(REGIONS[0], None)) as watch:
        await told(watch, tells(spec, RunState.QUEUED))
        reason = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
        site.fake(spec).close_queue(queue, reason)
        await told(watch, lambda reports: any(reason in each.detail for each in reports))
        site.fake(spec).open_queue(queue)
        reports, _ = await told(watch, tells(spec, RunState.RUNNING))
    assert (reports[-1].blocked, reports[-1].detail) == (None, "")


async def test_jobs_of_others_are_not_told(site: BatchSite) -> None:
    """Without our tags, nobody would know whom to tell."""
    spec = site.spec("ours")
    await site.started(spec)
    site.job(spec).request["tags"] = {}
    other = site.spec("other")
    await site.started(other)
    async with aclosing(site.backend.watch(REGIONS[0], None)) as watch:
        reports, _ = await told(watch, tells(other, RunState.RUNNING))
    assert {other.run} == {report.run for report in reports}


async def test_an_outage_is_survived(site: BatchSite) -> None:
    """Signs of life go on with the cursor as it was; then what happened meanwhile is told."""
    spec = site.spec("meanwhile")
    await site.started(spec)
    async with aclosing(site.backend.watch(REGIONS[0], None)) as watch:
        _, before = await told(watch, tells(spec, RunState.RUNNING))
        site.fake(spec).faults.down = True
        await site.let_go(spec)
        sign = await anext(watch)
        site.fake(spec).faults.down = False
        assert (sign.reports, sign.cursor) == ((), before)
        await told(watch, tells(spec, RunState.SUCCEEDED))


async def test_signs_of_life_come_while_a_round_takes_long(
    site: BatchSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the watch must not take patience for death."""
    monkeypatch.setattr(aws_batch, "LIFE_S", 0.05)
    worker = site.restarted(replace(TIMINGS, poll_every_s=3600.0))
    async with aclosing(worker.watch(REGIONS[0], None)) as watch:
        while not (await anext(watch)).cursor:
            pass  # the first round is under way
        asked = site.server.asked()
        for _ in range(3):
            assert (await anext(watch)).reports == ()
    assert asked == site.server.asked(), "nothing is asked meanwhile"


async def test_ends_of_long_ago_are_not_told_again(site: BatchSite) -> None:
    """A restarted watcher tells what ended since, not all that its oldest live run outlived."""
    old, on, since = (site.spec(name) for name in ("old", "on", "since"))
    for spec in (on, old, since):
        await site.started(spec)
    cursor = json.dumps({"created": site.job(on).created_ms, "told": site.job(on).created_ms})
    for spec in (old, since):
        await site.let_go(spec)
        await site.until(spec, RunState.SUCCEEDED)
    site.job(old).stopped_ms -= AN_HOUR_MS
    async with aclosing(site.restarted().watch(REGIONS[0], cursor)) as watch:
        reports, _ = await told(watch, tells(since, RunState.SUCCEEDED))
    assert {on.run, since.run} == {report.run for report in reports}


async def test_more_runs_than_a_page_are_all_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches that can be passed on in time; the cursor moves with the last of them."""
    monkeypatch.setattr(aws_batch, "NEWS_AT_ONCE", 100)
    with unwatched(tmp_path) as fence:
        async with Fleet(fence, 250) as fleet:
            fleet.age_ms(0)
            async with aclosing(fleet.watch()) as watch:
                batches = [await anext(watch) for _ in range(3)]
            told_of = [each.run for batch in batches for each in batch.reports]
            assert sorted(told_of) == sorted(job.name for job in fleet.jobs)
            assert [bool(batch.cursor) for batch in batches] == [False, False, True]


async def test_a_job_that_the_list_shows_late_is_told(tmp_path: Path) -> None:
    """Created before others that were seen already."""
    with unwatched(tmp_path) as fence:
        async with Fleet(fence, 2) as fleet, aclosing(fleet.watch()) as watch:
            fleet.age_ms(0)
            late = fleet.region.jobs.pop(fleet.jobs[0].id)
            late.created_ms -= 30_000
            seen, _ = await told(watch, bool)
            fleet.region.jobs[late.id] = late
            reports, _ = await told(watch, bool)
    assert [report.run for report in (*seen, *reports)] == ["run-1", "run-0"]


async def test_why_one_of_many_is_stuck_is_told(tmp_path: Path) -> None:
    """From the list of all that wait: the others are not described."""
    with unwatched(tmp_path) as fence:
        async with Fleet(fence, 150) as fleet, aclosing(fleet.watch()) as watch:
            for job in fleet.jobs:
                fleet.region.put(job, "RUNNABLE")
            await fleet.begin(watch)
            fleet.region.put(fleet.jobs[7], "RUNNABLE", "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT")
            [report] = (await anext(watch)).reports
    assert (report.run, report.blocked) == ("run-7", Blocked.MISCONFIGURED)


# ── how much is asked ────────────────────────────────────────────────────────────────────────


@contextmanager
def unwatched(folder: Path) -> Iterator[SqliteFence]:
    """A fence, and credentials."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        fence = SqliteFence(folder / "fences.db")
        yield fence
        fence.close()


class Fleet:
    """Running jobs without processes, in one region, and a watcher of them."""

    def __init__(self, fence: SqliteFence, size: int) -> None:
        self.server = BatchServer(runs_processes=False)
        self.region = self.server.region("eu-north-1")
        self._fence, self._size = fence, size
        self.jobs: list[BatchJob] = []

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        region = BatchRegion(
            region=REGIONS[0],
            bucket="lowtide-eu-north-1",
            execution_role_arn="arn:aws:iam::123456789012:role/lowtide-execution",
            endpoint_url=self.server.url,
        )
        timings = Timings(calls_per_s=2000.0, poll_every_s=0.01)
        self.worker = AwsBatch([region], self._fence, timings)
        definition = {
            "jobDefinitionName": "lowtide-fleet",
            "jobDefinitionArn": "arn:aws:batch:eu-north-1:123456789012:job-definition/fleet:1",
            "platformCapabilities": ["EC2"],
            "containerProperties": {"image": "any"},
        }
        queue = self.region.queues["lowtide-ec2-spot"]
        for number in range(self._size):
            request = {"jobName": f"run-{number}", "tags": {"lowtide:job": f"job-{number}"}}
            job = BatchJob("eu-north-1", queue, request, definition)
            self.region.jobs[job.id] = job
            self.region.put(job, "RUNNING")
            self.jobs.append(job)
        self.age_ms(AN_HOUR_MS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.close()
        await self.server.__aexit__()

    def age_ms(self, age_ms: int) -> None:
        """Let all have been created so long ago."""
        for job in self.jobs:
            job.created_ms = job.started_ms - age_ms

    def watch(self) -> AsyncIterator[ChangeBatch]:
        return self.worker.watch(REGIONS[0], None)

    async def asked_in_a_round(self, watch: AsyncIterator[ChangeBatch]) -> Counter[str]:
        """What one round of a watch asks of Batch. It sleeps between two batches."""
        before = Counter(self.server.requests)
        await anext(watch)
        return Counter({name: n for (_, name), n in (self.server.requests - before).items()})

    async def begin(self, watch: AsyncIterator[ChangeBatch]) -> None:
        """The first round: all are told."""
        told_of = 0
        while told_of < self._size:
            told_of += len((await anext(watch)).reports)


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        (10, {"listjobs": QUEUES, "describejobs": 1}),
        pytest.param(5000, {"listjobs": QUEUES + 5}, marks=pytest.mark.slow),
    ],
)
async def test_a_quiet_round_asks_little_however_many_run(
    tmp_path: Path, size: int, asked: dict[str, int]
) -> None:
    """At the usual six rounds a minute: 30 requests for 10 runs, 54 for 5,000."""
    with unwatched(tmp_path) as fence:
        async with Fleet(fence, size) as fleet, aclosing(fleet.watch()) as watch:
            await fleet.begin(watch)
            for _ in range(6):
                assert await fleet.asked_in_a_round(watch) == asked


async def test_a_round_asks_more_by_what_changed(tmp_path: Path) -> None:
    """Of 2,000 runs 250 end: three descriptions more, and each end is told once."""
    with unwatched(tmp_path) as fence:
        async with Fleet(fence, 2000) as fleet, aclosing(fleet.watch()) as watch:
            await fleet.begin(watch)
            ended = fleet.jobs[1000:1250]
            for job in ended:
                fleet.region.put(job, "SUCCEEDED")
            before = fleet.server.asked("describejobs")
            batch = await anext(watch)
            assert {job.name for job in ended} == {each.run for each in batch.reports}
            assert {RunState.SUCCEEDED} == {each.state for each in batch.reports}
            assert fleet.server.asked("describejobs") - before == 3
            assert await fleet.asked_in_a_round(watch) == {"listjobs": QUEUES + 2}
