"""Kill -9 the worker, the Temporal server, or both: every job still ends exactly once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from domain.job import Phase
from domain.ledger import EventKind
from domain.manifest import JobManifest
from tests.activities.compute.held import Held
from tests.integration.stack import Stack, eventually, exists

KILLED = [
    pytest.param(("server",), id="server"),
    pytest.param(("worker", "server"), id="worker and server"),
    # Alone it takes longest: Temporal waits for the dead worker, which a restart lets it forget.
    pytest.param(("worker",), id="worker", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("killed", KILLED)
async def test_jobs_outlive_a_kill(tmp_path: Path, killed: tuple[str, ...]) -> None:
    """Deferred, claimed but not started, running: each goes on where it was, and runs once."""
    async with Stack(tmp_path) as stack:
        await stack.start_worker()
        claimed = stack.manifest("claimed", flexibility="urgent")
        held = Held(stack.run_folder(claimed) / "stdout.log")
        running, waiting, *deferred = await stack.submitted(
            stack.manifest("running", "sleep 2", flexibility="urgent"),
            claimed,
            *(stack.manifest(f"deferred-{n}") for n in range(3)),
        )
        await stack.in_phase(running, Phase.RUNNING)
        await eventually(partial(exists, stack.run_folder(claimed) / "claim"))
        for job in deferred:
            await stack.in_phase(job, Phase.DEFERRED)
        if "worker" in killed:
            stack.kill_worker()
        if "server" in killed:
            await stack.kill_server()
            await stack.start_server()
        if "worker" in killed:
            await stack.start_worker()
        assert [job for job in stack.effects() if "deferred" in job or "claimed" in job] == []
        held.release()
        await stack.ended(running, waiting, *deferred)
        held.close()
        stack.assert_each_succeeded_once(5)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_dispatch_without_an_answer_counts_once(tmp_path: Path) -> None:
    """Submitted and recorded, and the answer lost; or lost before a supervisor was started.

    Temporal waits for the dead worker as long as these jobs' patience lasts, so that they give the
    dispatch up: one then finds its run and its event, the other stops its run and has another.
    """
    async with Stack(tmp_path) as stack:
        await stack.start_worker()
        written = stack.manifest("written", flexibility="urgent")
        unwritten = stack.manifest("unwritten", flexibility="urgent")
        logs = [stack.run_folder(job) / "supervisor.log" for job in (written, unwritten)]
        held = [Held(log) for log in logs]
        jobs = []
        for manifest, log in zip((written, unwritten), logs, strict=True):
            jobs += await stack.submitted(manifest)
            await eventually(partial(exists, log.with_name("spec.json")))
        assert stack.server is not None
        os.kill(stack.server.pid, signal.SIGSTOP)
        held[0].release()
        await eventually(partial(dispatched, stack, written))
        stack.kill_worker()
        await stack.kill_server()
        logs[1].unlink()
        await stack.start_server()
        await stack.start_worker()
        await stack.ended(*jobs)
        held[0].close()
        stack.assert_each_succeeded_once(2)
        assert [f"{written.workflow_id} 1", f"{unwritten.workflow_id} 2"] == stack.effects()
        kinds = [event.kind for event in stack.chain(written.workflow_id)]
        assert kinds[:4] == [
            EventKind.DECISION,
            EventKind.DISPATCH,
            EventKind.ATTEMPT,
            EventKind.COMPLETION,
        ]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
async def test_jobs_outlive_many_kills(tmp_path: Path, seed: int) -> None:
    """At moments that nobody chose, and whatever was in flight then."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    async with Stack(tmp_path) as stack:
        await stack.start_worker()
        jobs = list(await stack.submitted(*(varied(stack, chance, n) for n in range(4))))
        for kill in range(4):
            await asyncio.sleep(chance.uniform(0, 3))  # the chosen moment, not a wait
            if chance.random() < 0.7:
                stack.kill_worker()
            if chance.random() < 0.5:
                await stack.kill_server()
                await stack.start_server()
            if stack.workers[-1].poll() is not None:
                await stack.start_worker()
            more = (varied(stack, chance, 4 + 2 * kill + n) for n in range(2))
            jobs += await stack.submitted(*more)
        await stack.ended(*jobs)
        stack.assert_each_succeeded_once(12)


def varied(stack: Stack, chance: random.Random, number: int) -> JobManifest:
    """A job that starts at once or waits, in one region or many, for a moment or seconds."""
    return stack.manifest(
        f"varied-{number}",
        f"sleep {chance.uniform(0, 3):.1f}",
        runtime="3s",
        p95_runtime="4s",
        flexibility=chance.choice(["urgent", "flexible", "flexible"]),
        residency=chance.choice(["germany", "eu"]),
        deadline=datetime.now(UTC) + timedelta(seconds=chance.uniform(15, 40)),
    )


async def dispatched(stack: Stack, job: JobManifest) -> bool:
    return any(event.kind is EventKind.DISPATCH for event in stack.chain(job.workflow_id))
