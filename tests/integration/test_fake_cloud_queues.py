"""On fakes of AWS Batch and GKE: queues that do not move, and jobs that are cancelled there."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from domain.capacity import CapacityType
from domain.job import Outcome, Phase, RunState
from domain.manifest import JobManifest
from domain.messages import AttemptRecord, JobResult
from tests.integration.cloud_stack import CloudStack, policy

pytestmark = pytest.mark.slow

WORK_S, MARGIN_S, ROOM = 1.0, 15, 10
SOON_S, LATER_S, LONG_S = 35, 600, 300
NO_CAPACITY = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - no machines to be had"
NO_SUCH_SIZE = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - larger than any machine of the queue"
NO_IMAGE = "registry.example/genomics/removed:1"


async def test_without_spot_capacity_jobs_go_on_demand_in_time(tmp_path: Path) -> None:
    """Each tries the Spot pools that it may use, and starts on demand at its latest safe start."""
    classes = {
        "batch": ("aws:eu-north-1",),
        "fargate": ("aws:eu-west-3",),
        "gke": ("gcp:europe-north1",),
        "several": ("aws:eu-central-1", "gcp:europe-west1"),
    }
    async with CloudStack(tmp_path, policy(MARGIN_S, ROOM, **classes)) as stack:
        await stack.start_worker()
        stack.end_spot_capacity(NO_CAPACITY)
        for name, regions in classes.items():
            await stack.client.submit(urgent(stack, name, regions, SOON_S))
        results = await outcomes(stack, *classes)
        assert [name for name, result in results.items() if not result.deadline_met] == []
        stack.assert_each_committed_once(len(classes))
        for name, regions in classes.items():
            *tried, last = attempts(stack, name)
            assert last.cell.capacity_type is CapacityType.ON_DEMAND
            assert {run.cell.region for run in tried} == set(regions)
            assert {run.cell.capacity_type for run in tried} == {CapacityType.SPOT}
            assert {run.report.state for run in tried} == {RunState.TERMINATED}
            assert stack.effects().count(f"job-default-{name} {last.attempt}") == 1
        assert len(stack.effects()) == len(classes), "nothing began on Spot"


async def test_a_job_leaves_a_misconfigured_region_at_once(tmp_path: Path) -> None:
    """It does not wait for its deadline; where it can start nowhere, it fails with the reason."""
    classes = {
        "moves": ("aws:eu-north-1", "aws:eu-central-1"),
        "batch": ("aws:eu-west-3",),
        "gke": ("gcp:europe-north1",),
    }
    async with CloudStack(tmp_path, policy(MARGIN_S, ROOM, **classes)) as stack:
        await stack.start_worker()
        for region in ("aws:eu-north-1", "aws:eu-west-3"):
            stack.close_queue(region, NO_SUCH_SIZE)
        stack.gke("gcp:europe-north1").kubelet.bad_images.add(NO_IMAGE)
        for name, regions in classes.items():
            image = {"image": NO_IMAGE} if name == "gke" else {}
            await stack.client.submit(urgent(stack, name, regions, LATER_S, **image))
        results = await outcomes(stack, *classes)
        assert {name: result.outcome for name, result in results.items()} == {
            "moves": Outcome.SUCCEEDED,
            "batch": Outcome.FAILED,
            "gke": Outcome.FAILED,
        }
        left, taken = attempts(stack, "moves")
        assert (left.cell.region, taken.cell.region) == classes["moves"]
        assert NO_SUCH_SIZE in left.report.detail
        assert NO_SUCH_SIZE in results["batch"].message
        assert "ImagePullBackOff" in results["gke"].message
        assert [f"job-default-moves {taken.attempt}"] == stack.effects()
        assert stack.verified().holds


async def test_a_job_can_be_cancelled_in_queue_and_at_work(tmp_path: Path) -> None:
    """What waited in a queue never starts, what ran is told to end; on Batch and on GKE."""
    waiting = {"batch-waits": "aws:eu-central-1", "gke-waits": "gcp:europe-west4"}
    working = {"batch-works": "aws:eu-north-1", "gke-works": "gcp:europe-north1"}
    classes = {name: (region,) for name, region in (waiting | working).items()}
    async with CloudStack(tmp_path, policy(MARGIN_S, ROOM, **classes)) as stack:
        await stack.start_worker()
        stack.close_queue("aws:eu-central-1")
        stack.close_queue("gcp:europe-west4")
        for names, phase in ((waiting, Phase.QUEUED), (working, Phase.RUNNING)):
            for name in names:
                command = stack.command(LONG_S)
                job = await stack.client.submit(
                    urgent(stack, name, classes[name], LATER_S, command=command)
                )
                await stack.in_phase(job, phase)
                await job.cancel("no longer needed", actor="ada")
        results = await outcomes(stack, *classes)
        assert {result.outcome for result in results.values()} == {Outcome.CANCELLED}
        for name in classes:
            [run] = attempts(stack, name)
            assert run.report.state is RunState.TERMINATED, run
            assert not run.unconfirmed
        assert {f"job-default-{name}" for name in working} == {
            line["job"] for line in stack.told("cut short")
        }
        for region in waiting.values():
            stack.open_queue(region)
        for name in waiting:
            await stack.client.submit(
                urgent(stack, f"{name}-no-more", classes[name], LATER_S, residency=name)
            )
        await outcomes(stack, *(f"{name}-no-more" for name in waiting))
        began = {line["job"].removeprefix("job-default-") for line in stack.told("began")}
        assert {*working, *(f"{name}-no-more" for name in waiting)} == began
        assert stack.verified().holds


@pytest.mark.timeout(400)
async def test_the_deadline_outranks_a_run_out_of_reach(tmp_path: Path) -> None:
    """Its region does not answer, and it began meanwhile: another run has the job done in time, the
    ledger names the first as not confirmed dead, and one result counts.
    """
    regions = ("aws:eu-north-1", "aws:eu-central-1")
    margin_s = 200  # a poll and a stop without an answer take a minute each
    async with CloudStack(tmp_path, policy(margin_s, ROOM, far=regions)) as stack:
        await stack.start_worker()
        stack.close_queue(regions[0])
        first, later = (shlex.join(stack.command(seconds)) for seconds in (LONG_S, WORK_S))
        script = f'[ "$LOWTIDE_ATTEMPT" = 1 ] && exec {first}; exec {later}'
        job = await stack.client.submit(
            urgent(stack, "far", regions, margin_s + 20, command=["sh", "-c", script])
        )
        await stack.in_phase(job, Phase.QUEUED)
        stack.go_down(regions[0])
        stack.open_queue(regions[0])
        async with asyncio.timeout(390):
            result = await job.wait()
        assert (result.outcome, result.deadline_met) == (Outcome.SUCCEEDED, True)
        assert {(job.id, 1)} == stack.unconfirmed()
        assert [line["beside"] for line in stack.told("began")] == [[], [1]]
        stack.assert_each_committed_once(1)


def urgent(
    stack: CloudStack,
    name: str,
    regions: tuple[str, ...],
    within_s: float,
    **changed: object,
) -> JobManifest:
    """A job of its own residency class that starts as soon as it is submitted."""
    fields = {"residency": name, "home_region": regions[0], "flexibility": "urgent"}
    return stack.job(name, WORK_S, within_s, **(fields | changed))


async def outcomes(stack: CloudStack, *names: str) -> dict[str, JobResult]:
    """Wait for these jobs' ends."""
    results = await asyncio.gather(*(stack.client.job(name).wait() for name in names))
    return dict(zip(names, results, strict=True))


def attempts(stack: CloudStack, name: str) -> list[AttemptRecord]:
    return stack.attempts()[f"job-default-{name}"]
