"""A run is once on AWS Batch, though ``SubmitJob`` knows no client token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities.compute.aws_batch import AwsBatch
from activities.errors import ComputeUnavailable, SpecConflict
from domain.job import RunSpec, RunState
from tests.activities.compute.batch_site import TIMINGS, BatchSite, batch_site
from tests.contracts.compute_site import WITHIN_S, Program, tells, told

HASTY = replace(TIMINGS, patience_s=0.0, read_s=0.6, lease_s=1.6)
"""One try, then the caller's retries."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BatchSite]:
    async with batch_site(tmp_path) as site:
        yield site


async def test_a_submission_without_an_answer_is_sent_once(site: BatchSite) -> None:
    """Botocore does not repeat it; the look finds its job."""
    spec = site.spec("unanswered", Program.SUCCEED)
    site.fake(spec).faults.lose_next = 1
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    assert site.server.asked("submitjob") == 1
    assert site.starts(spec) == 1


async def test_a_job_that_is_not_listed_yet_is_waited_for(site: BatchSite) -> None:
    """The list shows it later than it was taken: it is not sent again before that."""
    spec = site.spec("unlisted", Program.SUCCEED)
    site.server.pace.list_lag_s = 0.95 * TIMINGS.list_lag_s
    site.fake(spec).faults.lose_next = 1
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    assert len(site.jobs(spec)) == 1


async def test_a_dead_workers_job_that_is_not_listed_yet_is_waited_for(site: BatchSite) -> None:
    """Whoever takes over knows that the other one may have sent something."""
    spec = site.spec("dead")
    site.server.pace.list_lag_s = 30.0
    await site.submit_unanswered(spec)
    heir = site.restarted(replace(TIMINGS, list_lag_s=5.0, lease_s=20.0))
    looks = site.server.asked("listjobs")
    submission = asyncio.create_task(heir.submit(spec))
    async with asyncio.timeout(WITHIN_S):
        while site.server.asked("listjobs") == looks:
            await asyncio.sleep(0.01)
    site.server.pace.list_lag_s = 0.0
    await submission
    await site.until(spec, RunState.RUNNING)
    assert len(site.jobs(spec)) == 1


async def test_a_failure_before_anything_was_done_is_mended(site: BatchSite) -> None:
    """Answered by an error of the server: nothing is listed, so it is sent again."""
    spec = site.spec("failing", Program.SUCCEED)
    faults = site.fake(spec).faults
    faults.failing, faults.operations = True, frozenset({"submitjob"})
    submission = asyncio.create_task(site.backend.submit(spec))
    while not site.server.asked("submitjob"):
        await asyncio.sleep(0.01)
    faults.failing = False
    await submission
    await site.until(spec, RunState.SUCCEEDED)
    assert len(site.jobs(spec)) == 1


async def test_throttling_loses_nothing(site: BatchSite) -> None:
    """Neither submissions, nor looks, nor ends."""
    spec = site.spec("throttled")
    site.fake(spec).faults.throttle_next = 2
    await site.started(spec)
    site.fake(spec).faults.operations = frozenset({"submitjob"})
    site.fake(spec).faults.throttle_next = 3
    other = site.spec("throttled-too")
    await site.started(other)
    site.fake(spec).faults.operations = frozenset()
    site.fake(spec).faults.throttle_next = 2
    await site.terminated(spec)
    await site.until(spec, RunState.TERMINATED)
    assert (site.starts(spec), site.starts(other)) == (1, 1)
    assert (len(site.jobs(spec)), len(site.jobs(other))) == (1, 1)


async def test_many_runs_under_faults_are_once_each(site: BatchSite) -> None:
    """A tenth of all requests throttled, a tenth of all submissions' answers lost."""
    faults = site.server.region("eu-north-1").faults
    faults.throttle_share = faults.lose_share = 0.1
    specs = [site.spec(f"many-{number}", Program.SUCCEED) for number in range(20)]

    async def submit_until_sure(number: int) -> None:
        for _ in range(10):
            try:
                await site.backend.submit(specs[number])
            except ComputeUnavailable:
                continue
            return

    await asyncio.gather(*map(submit_until_sure, range(len(specs))))
    faults.throttle_share = faults.lose_share = 0.0
    for spec in specs:
        await site.until(spec, RunState.SUCCEEDED)
    assert {1} == {site.starts(spec) for spec in specs}


async def test_a_name_that_differs_in_case_is_not_taken_for_the_runs(site: BatchSite) -> None:
    """Batch's filter by name does not tell upper from lower case."""
    other = site.spec("own", run="JOB-DEFAULT-CASE-S0-A1")
    await site.started(other)
    spec = site.spec("case", Program.SUCCEED, run="job-default-case-s0-a1")
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    assert site.starts(spec) == 1


async def test_another_specifications_job_is_not_adopted(site: BatchSite, tmp_path: Path) -> None:
    """Even where the fence was lost: the job's tag tells what it was made from."""
    spec = site.spec("left")
    await site.started(spec)
    (tmp_path / "elsewhere").mkdir()
    worker = BatchSite(tmp_path / "elsewhere", site.server, TIMINGS, site.prefer)
    with pytest.raises(SpecConflict):
        await worker.backend.submit(spec.model_copy(update={"vcpus": 2.0}))
    worker.close()
    assert site.starts(spec) == 1


async def test_a_lost_fence_leaves_the_look(site: BatchSite, tmp_path: Path) -> None:
    """The job is found by its name: described, ended, and not started again."""
    spec = site.spec("fenceless")
    await site.started(spec)
    (tmp_path / "elsewhere").mkdir()
    worker = BatchSite(tmp_path / "elsewhere", site.server, TIMINGS, site.prefer)
    assert RunState.RUNNING is (await worker.report(spec)).state
    await worker.terminated(spec)
    await worker.until(spec, RunState.TERMINATED)
    await worker.backend.submit(spec)
    worker.close()
    assert len(site.jobs(spec)) == 1


async def test_an_end_outlives_batchs_memory(site: BatchSite) -> None:
    """Batch forgets a job, its fence does not: it is unknown, and never started again."""
    spec = site.spec("old", Program.SUCCEED)
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    site.server.pace.retention_s = -1.0
    await site.until(spec, RunState.UNKNOWN)
    await site.restarted().submit(spec)
    await site.terminated(spec)
    assert site.starts(spec) == 1
    assert site.server.asked("submitjob") == 1


# ── out of reach ─────────────────────────────────────────────────────────────────────────────


async def test_a_region_out_of_reach_is_told_and_the_run_starts_later(site: BatchSite) -> None:
    """Nothing is known of it meanwhile; the same submission again starts it, once."""
    spec = site.spec("away", Program.SUCCEED)
    site.fake(spec).faults.down = True
    worker = site.restarted(HASTY)
    with pytest.raises(ComputeUnavailable):
        await worker.submit(spec)
    with pytest.raises(ComputeUnavailable):
        await worker.describe(spec.region, "job-default-other-s0-a1")
    site.fake(spec).faults.down = False
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    assert site.starts(spec) == 1


async def test_a_run_ended_while_its_region_is_away_never_starts(site: BatchSite) -> None:
    """The mark stands, though the end could not be passed on."""
    spec = site.spec("marked")
    site.fake(spec).faults.down = True
    with pytest.raises(ComputeUnavailable):
        await site.terminated(spec)
    site.fake(spec).faults.down = False
    await site.backend.submit(spec)
    assert RunState.TERMINATED is (await site.report(spec)).state
    assert site.jobs(spec) == []


# ── asked to end while it is submitted ───────────────────────────────────────────────────────


async def sending(site: BatchSite, spec: RunSpec, worker: AwsBatch) -> asyncio.Task[None]:
    """A submission that is on its way to Batch, which does it once its gate is open."""
    site.fake(spec).faults.gate = asyncio.Event()
    submission = asyncio.create_task(worker.submit(spec))
    async with asyncio.timeout(WITHIN_S):
        while not site.server.asked("submitjob"):
            await asyncio.sleep(0.01)
    return submission


def patient(site: BatchSite) -> AwsBatch:
    """A worker that waits for an answer, and holds the run meanwhile."""
    return site.restarted(replace(TIMINGS, read_s=10.0, lease_s=12.0))


async def test_a_run_on_its_way_is_queued(site: BatchSite) -> None:
    """Not unknown; and not over yet where it was asked to end, since it may still start."""
    spec, worker = site.spec("on-its-way"), patient(site)
    submission = await sending(site, spec, worker)
    assert RunState.QUEUED is (await worker.describe(spec.region, spec.run)).state
    site.fence.stop(spec.region, spec.run, "cancelled by ada", datetime.now(UTC))
    assert RunState.QUEUED is (await worker.describe(spec.region, spec.run)).state
    site.fake(spec).faults.gate.set()
    await submission


async def test_who_submits_ends_what_was_stopped_meanwhile(site: BatchSite) -> None:
    """The mark came after the claim, and whoever set it died: the submitter sees it."""
    spec, worker = site.spec("stopped-meanwhile"), patient(site)
    submission = await sending(site, spec, worker)
    site.fence.stop(spec.region, spec.run, "cancelled by ada", datetime.now(UTC))
    site.fake(spec).faults.gate.set()
    await submission
    report = await site.until(spec, RunState.TERMINATED)
    assert report.detail == "cancelled by ada"
    assert not site.lives(spec)


async def test_an_end_waits_for_what_a_dead_worker_may_have_sent(site: BatchSite) -> None:
    """As long as its request may reach Batch; then it looks, and ends what came of it."""
    spec = site.spec("dead-on-its-way")
    worker = site.restarted(replace(TIMINGS, read_s=2.0, lease_s=3.5))
    submission = await sending(site, spec, worker)
    submission.cancel()
    ending = asyncio.create_task(worker.terminate(spec.region, spec.run, "cancelled by ada"))
    await asyncio.wait({ending}, timeout=0.7)
    site.fake(spec).faults.gate.set()
    await ending
    await site.until(spec, RunState.TERMINATED)
    assert not site.lives(spec)


# ── what a double fault leaves is swept up ───────────────────────────────────────────────────


async def submit_unanswered(site: BatchSite, spec: RunSpec, worker: AwsBatch, times: int) -> None:
    """Submit a run until so many jobs were made of it; no answer tells of any."""
    faults = site.fake(spec).faults
    faults.lose_next = times
    while faults.lose_next:
        with pytest.raises(ComputeUnavailable):
            await worker.submit(spec)


async def test_a_duplicate_is_ended_and_never_told(site: BatchSite) -> None:
    """An answer lost, and its job not listed for longer than was looked: two run, one goes."""
    spec = site.spec("double")
    site.server.pace.list_lag_s = 1.0
    site.fake(spec).faults.lose_next = 1
    await site.backend.submit(spec)
    left_behind, kept = site.jobs(spec)
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        running, cursor = await told(watch, lambda _: left_behind.is_over)
        await site.let_go(spec)
        over, _ = await told(watch, tells(spec, RunState.SUCCEEDED))
    async with aclosing(site.restarted().watch(spec.region, cursor)) as watch:
        again, _ = await told(watch, tells(spec, RunState.SUCCEEDED))
    reports = [report for report in (*running, *over, *again) if report.started_at]
    assert {RunState.RUNNING, RunState.SUCCEEDED} >= {report.state for report in reports}
    assert {kept.started_ms} == {round(each.started_at.timestamp() * 1000) for each in reports}
    assert left_behind.reason == f"lowtide: duplicate of {kept.id}"
    assert RunState.SUCCEEDED is (await site.report(spec)).state


async def test_a_duplicate_that_shows_after_its_runs_end_is_ended(site: BatchSite) -> None:
    """The run is over, by the job that its fence keeps."""
    spec = site.spec("outlived")
    site.server.pace.list_lag_s = 30.0
    site.fake(spec).faults.lose_next = 1
    await site.backend.submit(spec)
    left_behind, kept = site.jobs(spec)
    await site.until(spec, RunState.RUNNING)
    site.fake(spec).reclaim(kept)
    await site.until(spec, RunState.RECLAIMED)
    site.server.pace.list_lag_s = 0.0
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        reports, _ = await told(watch, lambda _: left_behind.is_over)
    assert {RunState.RECLAIMED} == {report.state for report in reports}


async def test_of_several_without_an_answer_the_earliest_stays(site: BatchSite) -> None:
    """No fence keeps one of them: the first is the run, and all later ones are ended."""
    spec = site.spec("several")
    site.server.pace.list_lag_s = 30.0
    worker = site.restarted(HASTY)
    await submit_unanswered(site, spec, worker, times=3)
    first, *others = site.jobs(spec)
    assert len(others) == 2
    site.server.pace.list_lag_s = 0.0
    async with aclosing(worker.watch(spec.region, None)) as watch:
        await told(watch, lambda _: all(job.is_over for job in others))
    assert first.status == "RUNNING"
    assert RunState.RUNNING is (await site.report(spec)).state
    await worker.submit(spec)
    assert len(site.jobs(spec)) == 3


async def test_a_job_that_shows_after_its_run_was_ended_is_ended(site: BatchSite) -> None:
    """Its answer was lost, and it was not listed when the end was asked for."""
    spec = site.spec("late-show")
    site.server.pace.list_lag_s = 30.0
    worker = site.restarted(HASTY)
    await submit_unanswered(site, spec, worker, times=1)
    await worker.terminate(spec.region, spec.run, "cancelled by ada")
    await site.until(spec, RunState.TERMINATED)
    site.server.pace.list_lag_s = 0.0
    async with aclosing(worker.watch(spec.region, None)) as watch:
        reports, _ = await told(watch, tells(spec, RunState.TERMINATED))
    assert "cancelled by ada" in reports[-1].detail
    assert not site.lives(spec)
