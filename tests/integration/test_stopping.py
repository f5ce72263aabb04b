"""Stopping on request: a worker and ``lowtide dev`` leave in order, and nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from functools import partial
from pathlib import Path

import psutil
import pytest

from domain.job import Outcome, Phase, RunState
from domain.ledger import EventKind
from tests.activities.compute.held import Held
from tests.integration.stack import WITHIN_S, Stack, eventually, exists, until

pytestmark = pytest.mark.slow


async def left(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to leave; its exit code."""
    return await asyncio.to_thread(process.wait, WITHIN_S)


async def test_dev_can_be_stopped_and_started_again(tmp_path: Path) -> None:
    """By Ctrl-C or SIGTERM it leaves with exit code 0 and takes its server along.

    Deferred jobs wait for its return, and a run that was going is adopted.
    """
    stack = Stack(tmp_path)
    try:
        dev = await stack.start_dev()
        running, *deferred = await stack.submitted(
            stack.manifest("running", until(tmp_path / "go"), flexibility="urgent"),
            *(stack.manifest(f"deferred-{n}") for n in range(3)),
        )
        await stack.in_phase(running, Phase.RUNNING)
        for job in deferred:
            await stack.in_phase(job, Phase.DEFERRED)
        for number in (signal.SIGINT, signal.SIGTERM):
            [server] = [
                child for child in psutil.Process(dev.pid).children() if child.name() == "temporal"
            ]
            dev.send_signal(number)
            assert await left(dev) == 0, stack.logs()
            assert not server.is_running()
            assert len(stack.supervisors("running")) == 1, "a run outlives its worker"
            dev = await stack.start_dev()
        (tmp_path / "go").touch()
        await stack.ended(running, *deferred)
        stack.assert_each_succeeded_once(4)
        assert f"{running.id} 1" in stack.effects()
    finally:
        await stack.close()


async def test_health_tells_whether_the_worker_can_work(tmp_path: Path) -> None:
    """200 while it polls, 503 while Temporal is away, and 200 again by itself."""
    async with Stack(tmp_path) as stack:
        await stack.start_worker()
        assert (await stack.health(), await stack.health("/other")) == (200, 404)
        await stack.kill_server()
        await eventually(partial(answers, stack, 503))
        await stack.start_server()
        await eventually(partial(answers, stack, 200))


async def test_a_worker_leaves_in_order_when_temporal_is_gone(tmp_path: Path) -> None:
    """What it cannot answer any more is handed to another worker by Temporal's own time-outs."""
    async with Stack(tmp_path) as stack:
        worker = await stack.start_worker()
        [job] = await stack.submitted(stack.manifest("waits"))
        await stack.in_phase(job, Phase.DEFERRED)
        await stack.kill_server()
        worker.terminate()
        assert await left(worker) == 0, stack.logs()
        await stack.start_server()
        await stack.start_worker()
        await stack.ended(job)
        stack.assert_each_succeeded_once(1)


async def test_a_worker_finishes_what_it_has_begun(tmp_path: Path) -> None:
    """Asked to stop amid a submission, it answers before it leaves: that is not tried again."""
    async with Stack(tmp_path) as stack:
        worker = await stack.start_worker()
        manifest = stack.manifest("begun", flexibility="urgent")
        held = Held(stack.run_folder(manifest) / "supervisor.log")
        [job] = await stack.submitted(manifest)
        await eventually(partial(exists, stack.run_folder(manifest) / "spec.json"))
        worker.terminate()
        await eventually(partial(answers, stack, 503))
        held.release()
        assert await left(worker) == 0, stack.logs()
        held.close()
        await stack.start_worker()
        await stack.ended(job)
        stack.assert_each_succeeded_once(1)
        assert await stack.tries(job, "dispatch_run") == [1]


async def test_a_worker_hands_back_what_takes_long(tmp_path: Path) -> None:
    """Asked to stop while it waits for a cancelled run's end, it leaves; another one waits on."""
    async with Stack(tmp_path) as stack:
        worker = await stack.start_worker()
        manifest = stack.manifest("endless", until(tmp_path / "never"), flexibility="urgent")
        [job] = await stack.submitted(manifest)
        await stack.in_phase(job, Phase.RUNNING)
        [supervisor] = stack.supervisors("endless")
        supervisor.suspend()
        await job.cancel("no longer needed")
        await stack.in_phase(job, Phase.STOPPING)
        worker.terminate()
        assert await left(worker) == 0, stack.logs()
        await stack.start_worker()
        supervisor.resume()
        result = await stack.client.job(job.id).wait()
        assert Outcome.CANCELLED is result.outcome
        [state] = [
            event.data["report"]["state"]
            for event in stack.chain(job.id)
            if event.kind is EventKind.ATTEMPT
        ]
        assert state == RunState.TERMINATED
        assert stack.supervisors() == []


async def answers(stack: Stack, status: int | None) -> bool:
    return await stack.health() == status
