"""What ended a run: the machine, the program, or we; by Job and pod, or by the Job alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities.compute.gke_reports import PodFacts, report_of
from activities.compute.gke_wire import Job, Pod
from domain.capacity import CapacityType
from domain.job import Blocked, RunReport, RunSpec, RunState
from tests.activities.compute.gke_site import GkeSite, gke_site
from tests.contracts.compute_site import WITHIN_S, Program, tells, told
from tests.servers.kubernetes_jobs import true_condition


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[GkeSite]:
    async with gke_site(tmp_path) as site:
        yield site


async def ended(site: GkeSite, spec: RunSpec) -> RunReport:
    """Wait for a run's end."""
    async with asyncio.timeout(WITHIN_S):
        while not (report := await site.report(spec)).state.is_final:
            await asyncio.sleep(0.02)
    return report


async def ended_by(site: GkeSite, script: str, **changed: object) -> RunReport:
    """Run a script and wait for its end."""
    spec = site.spec("scripted", command=site.script(script), **changed)
    await site.backend.submit(spec)
    return await ended(site, spec)


async def started_and_slow_to_end(site: GkeSite) -> RunSpec:
    """A run that SIGTERM does not end, nor its grace for now, before it is let go."""
    site.cluster().kubelet.grace_s = 60.0
    script = 'trap "" TERM; while [ ! -e $me.go ]; do sleep 0.05; done'
    spec = site.spec("slow", command=site.script(script))
    await site.started(spec)
    return spec


# ── reclaims ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("program", "code"), [("exit 143", 143), ("exit 0", 0), ("exit 1", 1), (None, 137)]
)
async def test_a_preempted_run_is_reclaimed_whatever_its_exit_code(
    site: GkeSite, program: str | None, code: int
) -> None:
    """Also of a program that saved its work and ended well, and of one that defies SIGTERM."""
    heeds = f'trap "{program}" TERM; while :; do sleep 0.05; done'
    command = site.script(heeds) if program else site.command(Program.DEFY)
    spec = site.spec("preempted", command=command)
    await site.started(spec)
    site.cluster().kubelet.preempt(site.pod(spec))
    report = await ended(site, spec)
    assert (RunState.RECLAIMED, code) == (report.state, report.exit_code)
    assert "TerminationByKubelet" in report.detail
    assert report.started_at is not None
    assert not site.lives(spec)


@pytest.mark.parametrize("last", ["exit 143", "exit 0"])
@pytest.mark.parametrize(
    "reason", ["EvictionByEvictionAPI", "PreemptionByScheduler", "DeletionByTaintManager"]
)
async def test_a_disrupted_run_is_reclaimed(site: GkeSite, reason: str, last: str) -> None:
    """For each of the cluster's reasons; with exit code 0 the Job itself says Complete."""
    spec = site.spec(
        "disrupted", command=site.script(f'trap "{last}" TERM; while :; do sleep 0.05; done')
    )
    await site.started(spec)
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        await told(watch, tells(spec, RunState.RUNNING))
        site.cluster().kubelet.disrupt(site.pod(spec), reason)
        reports, _ = await told(watch, lambda all_: all_[-1:] and all_[-1].state.is_final)
    assert reports[-1].state is RunState.RECLAIMED
    assert "DisruptionTarget" in reports[-1].detail or reason in reports[-1].detail
    assert reports[-1].started_at is not None
    assert reports[-1] == await site.report(spec)


@pytest.mark.parametrize("with_status", [True, False])
async def test_a_lost_node_is_a_reclaim(site: GkeSite, with_status: bool) -> None:
    """No container tells its end, and the pod is collected at once; a watcher that saw it start
    still knows when.
    """
    spec = site.spec("lost", Program.DEFY)
    started = await site.started(spec)
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        await told(watch, tells(spec, RunState.RUNNING))
        site.cluster().kubelet.lose_node(site.pod(spec), with_status=with_status)
        reports, _ = await told(watch, tells(spec, RunState.RECLAIMED))
    assert (None, started.started_at) == (reports[-1].exit_code, reports[-1].started_at)
    assert "DisruptionTarget" in reports[-1].detail or "DeletionByPodGC" in reports[-1].detail


async def test_a_lost_node_that_nobody_watched_counts_from_its_jobs_start(site: GkeSite) -> None:
    """Nobody knows better any more, and energy is not to be understated."""
    spec = site.spec("lost", Program.DEFY)
    await site.started(spec)
    site.cluster().kubelet.lose_node(site.pod(spec), with_status=False)
    report = await ended(site, spec)
    begun = datetime.fromisoformat(site.job(spec)["status"]["startTime"])
    assert (RunState.RECLAIMED, begun) == (report.state, report.started_at)


async def test_a_pod_that_somebody_deletes_is_a_reclaim(site: GkeSite) -> None:
    """The program is not to blame, and nobody asked us to end it."""
    spec = site.spec("deleted", Program.DEFY)
    await site.started(spec)
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        await told(watch, tells(spec, RunState.RUNNING))
        site.cluster().kubelet.delete(site.pod(spec))
        await told(watch, tells(spec, RunState.RECLAIMED))


@pytest.mark.parametrize(
    ("capacity_type", "state"),
    [(CapacityType.SPOT, RunState.RECLAIMED), (CapacityType.ON_DEMAND, RunState.FAILED)],
)
async def test_sigterm_without_a_word_is_a_reclaim_on_spot_only(
    site: GkeSite, capacity_type: CapacityType, state: RunState
) -> None:
    """A Spot node may go before it tells why; an on-demand node has no reason to."""
    report = await ended_by(site, "exit 143", capacity_type=capacity_type)
    assert (state, 143) == (report.state, report.exit_code)


def test_a_pod_that_its_node_did_not_take_is_a_reclaim() -> None:
    """The kubelet refuses it and no container ever was: not the program's failure."""
    job = Job.model_validate(
        {
            "metadata": {"name": "r", "annotations": {"lowtide.dev/job": "job-default-r"}},
            "status": {
                "conditions": [
                    {
                        "type": "Failed",
                        "status": "True",
                        "reason": "BackoffLimitExceeded",
                        "lastTransitionTime": "2026-11-24T12:00:00+01:00",
                    }
                ]
            },
        }
    )
    pod = Pod.model_validate(
        {
            "metadata": {"name": "r-x", "labels": {}},
            "status": {"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have room"},
        }
    )
    report = report_of("gcp:europe-west1", job, PodFacts.of(pod))
    assert (report.state, report.exit_code, report.started_at) == (RunState.RECLAIMED, None, None)
    assert "Node didn't have room" in report.detail
    assert report.ended_at == datetime(2026, 11, 24, 11, tzinfo=UTC)
    assert report.ended_at.tzinfo is UTC


# ── failures ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("capacity_type", list(CapacityType))
async def test_a_programs_own_kill_is_its_failure(
    site: GkeSite, capacity_type: CapacityType
) -> None:
    """137 without a disruption; on Spot too."""
    report = await ended_by(site, "kill -9 $$", capacity_type=capacity_type)
    assert (report.state, report.exit_code) == (RunState.FAILED, 137)


async def test_out_of_memory_is_a_failure_and_says_so(site: GkeSite) -> None:
    """More machines of the same kind would not help."""
    spec = site.spec("greedy", Program.DEFY)
    await site.started(spec)
    site.cluster().kubelet.run_out_of_memory(site.pod(spec))
    report = await ended(site, spec)
    assert (report.state, report.exit_code) == (RunState.FAILED, 137)
    assert "OOMKilled" in report.detail


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.", "failed"),
        ('Container main exceeded its local ephemeral storage limit "1Gi".', "failed"),
        ("The node was low on resource: memory. Threshold quantity: 100Mi.", "reclaimed"),
    ],
)
async def test_an_eviction_over_its_own_limit_is_a_failure(
    site: GkeSite, message: str, state: str
) -> None:
    """It would be evicted for it again and again; a node under pressure is a reclaim."""
    spec = site.spec("evicted", Program.DEFY)
    await site.started(spec)
    site.cluster().kubelet.evict_over_limit(site.pod(spec), message)
    report = await ended(site, spec)
    assert RunState(state) is report.state
    assert message in report.detail


async def test_a_command_that_is_not_there_never_started(site: GkeSite) -> None:
    """Containerd dates such a start to 1970 and gives 128; the message names the command."""
    spec = site.spec("missing", Program.MISSING)
    await site.backend.submit(spec)
    report = await ended(site, spec)
    assert (report.state, report.exit_code, report.started_at) == (RunState.FAILED, 127, None)
    assert "no-such-command" in report.detail


# ── why a run waits ──────────────────────────────────────────────────────────────────────────


async def test_a_queued_run_tells_that_there_is_no_room(site: GkeSite) -> None:
    """In the scheduler's words; it begins once there is."""
    site.close_queue()
    spec = site.spec("waits", Program.SUCCEED)
    await site.backend.submit(spec)
    await site.until_pod(spec)
    await site.at_rest()
    report = await site.report(spec)
    assert report.state is RunState.QUEUED
    assert report.blocked is Blocked.CAPACITY
    assert "Unschedulable" in report.detail
    assert "Insufficient cpu" in report.detail
    site.cluster().kubelet.make_room()
    await site.until(spec, RunState.SUCCEEDED)


async def test_a_queued_run_tells_that_its_image_does_not_come(site: GkeSite) -> None:
    """It may yet come; and it can be ended meanwhile."""
    spec = site.spec("typo", image="registry.example/genomics/aling:1")
    site.cluster().kubelet.bad_images.add(spec.image)
    await site.backend.submit(spec)
    await site.until_pod(spec)
    async with asyncio.timeout(WITHIN_S):
        while "ImagePullBackOff" not in (report := await site.report(spec)).detail:
            await asyncio.sleep(0.02)
    assert (report.state, report.blocked) == (RunState.QUEUED, Blocked.MISCONFIGURED)
    await site.terminated(spec)
    report = await site.until(spec, RunState.TERMINATED)
    assert report.started_at is None


async def test_a_run_that_a_queue_holds_back_can_be_ended(site: GkeSite) -> None:
    """A suspended Job's deadline stands still: it is ended without one, and no pod ever starts."""
    spec = site.spec("gated")
    site.close_queue()
    await site.backend.submit(spec)
    key = ("jobs", "lowtide", spec.run)
    site.cluster().store.change(key, lambda job: job["spec"].update(suspend=True))
    async with asyncio.timeout(WITHIN_S):
        while "suspended" not in (await site.report(spec)).detail:
            await asyncio.sleep(0.02)
    await site.terminated(spec)
    await site.until(spec, RunState.TERMINATED)
    site.cluster().kubelet.make_room()
    await site.at_rest()
    assert site.starts(spec) == 0


# ── what stays ───────────────────────────────────────────────────────────────────────────────


async def test_an_end_stays_though_pod_and_node_are_gone(site: GkeSite) -> None:
    """What was read first is told by every later reader: without its pod, this failure would look
    like a reclaim.
    """
    spec = site.spec("scaled-in", Program.DEFY)
    await site.started(spec)
    site.cluster().kubelet.evict_over_limit(
        site.pod(spec), 'Container main exceeded its local ephemeral storage limit "1Gi".'
    )
    report = await ended(site, spec)
    site.cluster().kubelet.delete(site.pod(spec))
    assert site.cluster().store.all("pods") == []
    assert report.state is RunState.FAILED
    assert report == await site.restarted().describe(spec.region, spec.run)


@pytest.mark.parametrize(("code", "state"), [(7, RunState.FAILED), (0, RunState.SUCCEEDED)])
async def test_a_job_alone_tells_how_it_ended(site: GkeSite, code: int, state: RunState) -> None:
    """The pod was gone before anybody looked: the Job's condition names the exit code."""
    spec = site.spec("unread", command=site.script(f"exit {code}"))
    await site.backend.submit(spec)
    async with asyncio.timeout(WITHIN_S):
        while not true_condition(site.job(spec), "Complete", "Failed"):
            await asyncio.sleep(0.02)
    site.cluster().kubelet.delete(site.pod(spec))
    report = await site.report(spec)
    assert (state, code) == (report.state, report.exit_code)
    assert report.started_at is not None


async def test_a_stopped_run_keeps_its_start(site: GkeSite) -> None:
    """Its pod goes with the stop; what it used is charged all the same."""
    spec = site.spec("stopped")
    started = await site.started(spec)
    await site.terminated(spec)
    report = await site.until(spec, RunState.TERMINATED)
    assert started.started_at == report.started_at
    assert report.ended_at is not None


async def test_a_run_asked_to_end_is_not_over_while_its_program_lives(site: GkeSite) -> None:
    """It is told as running, and why it will end."""
    spec = await started_and_slow_to_end(site)
    await site.terminated(spec, "cancelled by ada")
    report = await site.report(spec)
    assert (report.state, site.lives(spec)) == (RunState.RUNNING, True)
    assert "cancelled by ada" in report.detail
    async with asyncio.timeout(WITHIN_S):
        while not true_condition(site.job(spec), "FailureTarget"):
            await asyncio.sleep(0.02)
    assert (await site.report(spec)).state is RunState.RUNNING
    await site.let_go(spec)
    await site.until(spec, RunState.TERMINATED)


async def test_a_job_that_somebody_deletes_is_running_until_its_pod_is_gone(site: GkeSite) -> None:
    """Only then is there no trace: a second run may start without meeting the first."""
    spec = await started_and_slow_to_end(site)
    site.cluster().controller.expire(("jobs", "lowtide", spec.run))
    assert (await site.report(spec)).state is RunState.RUNNING
    assert site.lives(spec)
    await site.let_go(spec)
    await site.until(spec, RunState.UNKNOWN)
    assert not site.lives(spec)
