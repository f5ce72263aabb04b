"""Every override in every phase, by signal and by update: it has its effect or is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from clients.errors import OverrideRefused
from domain.job import Outcome, Phase
from domain.ledger import EventKind
from domain.manifest import Flexibility
from domain.messages import JobStatus, OverrideKind, OverrideRequest
from tests.scripted_compute import Act
from tests.workflows.harness import PARIS, ZONES, Stage

Job = WorkflowHandle[Any, Any]

RUN_NOW, CANCEL, CHANGE_DEADLINE = OverrideKind

# ── a job in each phase ──────────────────────────────────────────────────────────────────────


async def planning(stage: Stage) -> Job:
    """Its plan is delayed: the world cannot be read."""
    stage.grid.set(ZONES[PARIS], lambda at: {stage.at(6): 50, stage.at(20): 10}.get(at, 500))
    stage.grid.broken = True
    job = await stage.submit()
    await stage.until(job, Phase.PLANNING)
    return job


async def deferred(stage: Stage) -> Job:
    """Planned for hour 20, in Paris."""
    stage.grid.set(ZONES[PARIS], lambda at: {stage.at(6): 50, stage.at(20): 10}.get(at, 500))
    job = await stage.submit()
    await stage.until(job, Phase.DEFERRED)
    return job


async def dispatching(stage: Stage) -> Job:
    """The region is out of reach."""
    stage.compute.down.update(ZONES)
    return await _urgent(stage, Phase.DISPATCHING)


async def queued(stage: Stage) -> Job:
    """The region takes an hour to find a machine."""
    stage.compute.acts = (Act(queued=timedelta(hours=1)),)
    return await _urgent(stage, Phase.QUEUED)


async def running(stage: Stage) -> Job:
    """Its run has begun."""
    return await _urgent(stage, Phase.RUNNING)


async def stopping(stage: Stage) -> Job:
    """Cancelled while its run's region is out of reach."""
    job = await running(stage)
    stage.compute.down.update(ZONES)
    await job.signal(CANCEL)
    await stage.until(job, Phase.STOPPING)
    return job


async def _urgent(stage: Stage, phase: Phase) -> Job:
    job = await stage.submit(stage.manifest(flexibility=Flexibility.URGENT))
    await stage.until(job, phase)
    return job


IN_PHASE: dict[Phase, Callable[[Stage], Awaitable[Job]]] = {
    Phase.PLANNING: planning,
    Phase.DEFERRED: deferred,
    Phase.DISPATCHING: dispatching,
    Phase.QUEUED: queued,
    Phase.RUNNING: running,
    Phase.STOPPING: stopping,
}

# ── what must come of it ─────────────────────────────────────────────────────────────────────

RUN = ["dispatch", "attempt"]

TAKEN: dict[tuple[OverrideKind, Phase], list[str]] = {
    **{
        (RUN_NOW, phase): ["plan", "run_now", "override", *RUN, "completion"]
        for phase in (Phase.PLANNING, Phase.DEFERRED)
    },
    **{
        (CHANGE_DEADLINE, phase): [
            *("plan", "change_deadline", "override", "look"),
            *(*RUN, "completion"),
        ]
        for phase in (Phase.PLANNING, Phase.DEFERRED)
    },
    **{
        (CHANGE_DEADLINE, phase): ["plan", *RUN, "change_deadline", "completion"]
        for phase in (Phase.DISPATCHING, Phase.QUEUED, Phase.RUNNING)
    },
    **{
        (CANCEL, phase): ["plan", "cancel", "completion"]
        for phase in (Phase.PLANNING, Phase.DEFERRED)
    },
    **{
        (CANCEL, phase): ["plan", *RUN, "cancel", "completion"]
        for phase in (Phase.DISPATCHING, Phase.QUEUED, Phase.RUNNING)
    },
    (CANCEL, Phase.STOPPING): ["plan", *RUN, "cancel", "cancel", "completion"],
}
"""The whole chain of a job that got an override in a phase."""

REFUSED: dict[tuple[OverrideKind, Phase], list[str]] = {
    **{
        (RUN_NOW, phase): ["plan", *RUN, "run_now refused", "completion"]
        for phase in (Phase.DISPATCHING, Phase.QUEUED, Phase.RUNNING)
    },
    **{
        (kind, Phase.STOPPING): ["plan", *RUN, "cancel", f"{kind.value} refused", "completion"]
        for kind in (RUN_NOW, CHANGE_DEADLINE)
    },
}
"""The whole chain of a job that refused a signal in a phase."""


def request(stage: Stage, kind: OverrideKind) -> OverrideRequest:
    deadline = stage.at(12) if kind is CHANGE_DEADLINE else None
    return OverrideRequest(reason="drill", actor="ops", deadline=deadline)


async def ask(stage: Stage, job: Job, kind: OverrideKind, asked: OverrideRequest) -> JobStatus:
    """By update, as the SDK does it."""
    sdk, told = stage.sdk(job), {"reason": asked.reason, "actor": asked.actor}
    if asked.deadline is not None:
        return await sdk.change_deadline(asked.deadline, **told)
    return await (sdk.run_now(**told) if kind is RUN_NOW else sdk.cancel(**told))


def recover(stage: Stage) -> None:
    stage.grid.broken = False
    stage.compute.down.clear()


async def assert_effect(stage: Stage, job: Job, kind: OverrideKind, phase: Phase) -> None:
    recover(stage)
    result = await stage.ended(job)

    assert stage.kinds() == TAKEN[kind, phase]
    [record, *_] = [event for event in stage.events(EventKind.OVERRIDE) if event.data["actor"]]
    assert (record.data["reason"], record.data["actor"]) == ("drill", "ops")
    if kind is CANCEL:
        assert result.outcome is Outcome.CANCELLED
        assert stage.compute.terminated.keys() == stage.compute.submitted_at.keys()
        assert all(
            attempt.data["report"]["state"] == "terminated"
            for attempt in stage.events(EventKind.ATTEMPT)
        )
        return
    assert result.outcome is Outcome.SUCCEEDED
    [dispatch] = stage.events(EventKind.DISPATCH)
    if kind is RUN_NOW:
        assert dispatch.recorded_at < stage.at(1)
    else:
        assert result.deadline == stage.at(12)
        assert dispatch.recorded_at < stage.at(7)


@pytest.mark.parametrize(("kind", "phase"), TAKEN, ids=str)
class TestTaken:
    async def test_by_signal(self, stage: Stage, kind: OverrideKind, phase: Phase) -> None:
        """It is recorded with who and why, and has its effect."""
        job = await IN_PHASE[phase](stage)
        await job.signal(kind.value, request(stage, kind))
        await assert_effect(stage, job, kind, phase)

    async def test_by_update(self, stage: Stage, kind: OverrideKind, phase: Phase) -> None:
        """The same, and the caller is told where the job stands."""
        job = await IN_PHASE[phase](stage)
        status = await ask(stage, job, kind, request(stage, kind))
        assert status.phase is phase
        await assert_effect(stage, job, kind, phase)


@pytest.mark.parametrize(("kind", "phase"), REFUSED, ids=str)
async def test_what_can_have_no_effect_is_refused(
    stage: Stage, kind: OverrideKind, phase: Phase
) -> None:
    """An update to its caller, and nothing is recorded of it; a signal in the ledger."""
    job, asked = await IN_PHASE[phase](stage), request(stage, kind)
    told = f"{kind.value}: no effect on a job that is {phase.value}"
    with pytest.raises(OverrideRefused, match=told):
        await ask(stage, job, kind, asked)
    await job.signal(kind.value, asked)
    recover(stage)
    await stage.ended(job)

    assert stage.kinds() == REFUSED[kind, phase]
    record = stage.events(EventKind.OVERRIDE)[-1]
    assert (record.data["refused"], record.data["actor"]) == (told, "ops")


async def test_a_finished_job_refuses_everything(stage: Stage) -> None:
    """Signals by the server, updates by the SDK; the chain ends with the completion."""
    job = await running(stage)
    await job.result()
    for kind in OverrideKind:
        asked = request(stage, kind)
        with pytest.raises(OverrideRefused, match="no effect on a job that is Finished"):
            await ask(stage, job, kind, asked)
        with pytest.raises(RPCError):
            await job.signal(kind.value, asked)
    assert stage.kinds() == ["plan", *RUN, "completion"]
