"""AWS Batch passes the contract; what it asks of Batch, and what it makes of its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from activities.compute.aws_batch_regions import Platform
from activities.compute.aws_batch_reports import report_of
from activities.errors import RunRefused
from domain.capacity import CapacityType
from domain.errors import UnknownRegion
from domain.job import Blocked, RunState
from tests.activities.compute.batch_site import BatchSite, batch_site
from tests.contracts.compute import ComputeContract
from tests.contracts.compute_site import Program


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BatchSite]:
    async with batch_site(tmp_path) as site:
        yield site


class TestAwsBatch(ComputeContract):
    pass


# ── what is asked ────────────────────────────────────────────────────────────────────────────


async def test_a_submission_is_one_attempt_with_its_time_and_its_tags(site: BatchSite) -> None:
    """Batch never tries again, ends the run after ``max_runtime``, and hands its tags to ECS."""
    spec = site.spec("asked", max_runtime_s=5400.2)
    await site.backend.submit(spec)
    [asked] = site.server.submissions
    assert asked["jobName"] == spec.run
    assert asked["retryStrategy"] == {"attempts": 1}
    assert asked["timeout"] == {"attemptDurationSeconds": 5401}
    assert asked["propagateTags"] is True
    assert asked["tags"].pop("lowtide:spec-sha256")
    assert asked["tags"] == {
        "lowtide:job": "job-default-asked",
        "lowtide:run": spec.run,
        "lowtide:attempt": "1",
    }


async def test_a_minute_is_the_shortest_timeout(site: BatchSite) -> None:
    """Batch takes no less."""
    await site.backend.submit(site.spec("short", max_runtime_s=5.0))
    [asked] = site.server.submissions
    assert asked["timeout"] == {"attemptDurationSeconds": 60}


async def test_a_program_gets_its_runs_environment_and_nothing_else(site: BatchSite) -> None:
    """Ours outranks the user's; state and output belong into a bucket of the region itself."""
    given = {"SAMPLE": "17", "LOWTIDE_JOB": "another"}
    spec = site.spec("given", environment=given, attempt=3, region="aws:eu-central-1")
    await site.started(spec)
    shell = {"PATH", "PWD", "SHLVL", "_", "OLDPWD"}
    got = {name: value for name, value in site.environment(spec).items() if name not in shell}
    assert got == {
        "SAMPLE": "17",
        "LOWTIDE_JOB": "job-default-given",
        "LOWTIDE_ATTEMPT": "3",
        "LOWTIDE_REGION": "aws:eu-central-1",
        "LOWTIDE_CHECKPOINT_URI": "s3://lowtide-eu-central-1/job-default-given/checkpoint",
        "LOWTIDE_OUTPUT_URI": "s3://lowtide-eu-central-1/job-default-given/output",
    }


@pytest.mark.parametrize(
    ("prefer", "changed", "queue"),
    [
        (Platform.EC2, {}, "lowtide-ec2-spot"),
        (Platform.EC2, {"capacity_type": CapacityType.ON_DEMAND}, "lowtide-ec2-on-demand"),
        (Platform.FARGATE, {}, "lowtide-fargate-spot"),
        (Platform.FARGATE, {"capacity_type": CapacityType.ON_DEMAND}, "lowtide-fargate-on-demand"),
        (Platform.FARGATE, {"vcpus": 96.0, "memory_gib": 384.0}, "lowtide-ec2-spot"),
    ],
)
async def test_a_run_goes_to_the_queue_of_its_platform_and_capacity(
    tmp_path: Path, prefer: Platform, changed: dict[str, Any], queue: str
) -> None:
    """EC2 and Fargate cannot share a queue, and a queue has one price."""
    async with batch_site(tmp_path, prefer=prefer) as site:
        spec = site.spec("placed", Program.SUCCEED, **changed)
        await site.backend.submit(spec)
        await site.until(spec, RunState.SUCCEEDED)
        assert site.job(spec).queue.name == queue


async def test_an_image_and_a_shape_have_one_definition(site: BatchSite) -> None:
    """Found again by later runs and by other workers; another shape has another."""
    for number in range(3):
        await site.backend.submit(site.spec(f"same-{number}"))
    await site.restarted().submit(site.spec("same-3"))
    assert site.server.asked("registerjobdefinition") == 1
    await site.backend.submit(site.spec("larger", vcpus=2.0))
    assert site.server.asked("registerjobdefinition") == 2
    [first], [second] = site.server.region("eu-north-1").definitions.values()
    assert first["containerProperties"]["image"] == second["containerProperties"]["image"]


async def test_a_definition_that_is_gone_is_registered_again(site: BatchSite) -> None:
    """Someone tidied up: one submission is refused, the next one mends it."""
    await site.backend.submit(site.spec("before"))
    [[definition]] = site.server.region("eu-north-1").definitions.values()
    definition["status"] = "INACTIVE"
    spec = site.spec("after", Program.SUCCEED)
    with pytest.raises(RunRefused):
        await site.backend.submit(spec)
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)


async def test_what_batch_does_not_take_is_refused_with_its_reason(site: BatchSite) -> None:
    """Over 30 KiB: no retry can mend that, and there is no job."""
    spec = site.spec("large", environment={"BLOB": "x" * 40_000})
    with pytest.raises(RunRefused, match="30 KiB"):
        await site.backend.submit(spec)
    assert site.jobs(spec) == []
    assert site.server.asked("submitjob") == 1


async def test_a_region_that_is_not_set_up_is_told(site: BatchSite) -> None:
    """By name."""
    with pytest.raises(UnknownRegion, match="aws:us-east-1"):
        await site.backend.submit(site.spec("astray", region="aws:us-east-1"))


async def test_an_end_is_asked_for_by_terminate_only(site: BatchSite) -> None:
    """``CancelJob`` is told to have succeeded where it did nothing."""
    queued, running = site.spec("queued"), site.spec("running")
    await site.started(running)
    site.close_queue()
    await site.backend.submit(queued)
    for spec in (queued, running):
        await site.terminated(spec)
        await site.until(spec, RunState.TERMINATED)
    assert site.server.asked("canceljob") == 0


# ── what is told ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prefer", "told"),
    [(Platform.EC2, "Host EC2 (instance i-"), (Platform.FARGATE, "Your Spot Task was interr")],
)
async def test_each_platform_has_its_words_for_a_reclaim(
    tmp_path: Path, prefer: Platform, told: str
) -> None:
    """Both are no fault of the program; its exit code is told beside."""
    async with batch_site(tmp_path, prefer=prefer) as site:
        spec = site.spec("taken", Program.LAST)
        await site.started(spec)
        await site.reclaim(spec)
        report = await site.until(spec, RunState.RECLAIMED)
        assert report.detail.startswith(told)
        assert report.exit_code == 143
        assert site.of(spec, "termed").exists()


async def test_a_program_that_exits_with_0_on_sigterm_has_succeeded_to_batch(
    site: BatchSite,
) -> None:
    """Why a job's image must not: nobody could tell its reclaim from its success."""
    script = 'trap "exit 0" TERM; while :; do sleep 0.05; done'
    spec = site.spec("polite", command=site.script(script))
    await site.started(spec)
    await site.reclaim(spec)
    await site.until(spec, RunState.SUCCEEDED)


@pytest.mark.parametrize(
    ("reason", "blocked"),
    [
        ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", Blocked.CAPACITY),
        ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE", Blocked.MISCONFIGURED),
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT", Blocked.MISCONFIGURED),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS", Blocked.MISCONFIGURED),
        ("", None),
    ],
)
async def test_a_stuck_run_is_queued_with_the_reason(
    site: BatchSite, reason: str, blocked: Blocked | None
) -> None:
    """Capacity and misconfiguration are told apart, and both from a run that only waits."""
    site.fake(site.spec("any")).close_queue("lowtide-ec2-spot", reason)
    spec = site.spec("stuck")
    await site.backend.submit(spec)
    await site.at_rest()
    report = await site.report(spec)
    assert (report.state, report.started_at) == (RunState.QUEUED, None)
    assert (report.blocked, report.detail) == (blocked, reason)


@pytest.mark.parametrize(
    ("status", "changed", "state"),
    [
        ("SUBMITTED", {}, RunState.QUEUED),
        ("PENDING", {}, RunState.QUEUED),
        ("RUNNABLE", {}, RunState.QUEUED),
        ("STARTING", {}, RunState.QUEUED),
        ("RUNNING", {}, RunState.RUNNING),
        ("RUNNING", {"isTerminated": True}, RunState.RUNNING),
        ("SUCCEEDED", {}, RunState.SUCCEEDED),
        ("FAILED", {"statusReason": "Essential container in task exited"}, RunState.FAILED),
        ("FAILED", {}, RunState.FAILED),
        ("FAILED", {"container": {"exitCode": 137}}, RunState.FAILED),
        (
            "FAILED",
            {"statusReason": "Host EC2 (instance i-0282b396e52b4c95d) terminated."},
            RunState.RECLAIMED,
        ),
        ("FAILED", {"statusReason": "Your Spot Task was interrupted."}, RunState.RECLAIMED),
        ("FAILED", {"statusReason": "Job attempt duration exceeded timeout"}, RunState.FAILED),
        ("FAILED", {"statusReason": "by hand", "isTerminated": True}, RunState.TERMINATED),
        ("FAILED", {"statusReason": "by hand", "isCancelled": True}, RunState.TERMINATED),
        ("FAILED", {"statusReason": "lowtide: cancelled by ada"}, RunState.TERMINATED),
        (
            "FAILED",
            {"statusReason": "Host EC2 (instance i-1) terminated.", "isTerminated": True},
            RunState.RECLAIMED,
        ),
    ],
)
def test_states_and_reasons(status: str, changed: dict[str, Any], state: RunState) -> None:
    """Everything that went wrong is ``FAILED`` to Batch; the reason tells what it was."""
    job = {"jobId": "1", "jobName": "a-run", "status": status, "createdAt": 1} | changed
    report = report_of(job, "aws:eu-north-1")
    assert report.state is state
    assert bool(report.detail) is (state.is_final and state is not RunState.SUCCEEDED)


def test_times_are_of_milliseconds_and_absent_ones_are_zero() -> None:
    """Batch gives a job that never started 0, or nothing."""
    job = {"jobId": "1", "jobName": "a-run", "status": "FAILED", "startedAt": 0}
    report = report_of(job | {"stoppedAt": 1_795_522_000_500}, "aws:eu-north-1")
    assert report.started_at is None
    assert report.ended_at == datetime.fromtimestamp(1_795_522_000.5, UTC)
