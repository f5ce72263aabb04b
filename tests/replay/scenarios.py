"""A scenario for each branch of each workflow: what ``record.py`` runs and records.

A scenario drives the real product on the stage of ``tests/workflows/harness.py`` and returns the
executions whose histories stand for its branch.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from temporalio.client import WorkflowContinuedAsNewError

from domain.job import Phase
from domain.ledger import EventKind
from domain.manifest import Flexibility
from domain.messages import OverrideKind, OverrideRequest, WatchInput
from domain.steps import Queue
from tests.replay.scenario import (
    BLOCKED,
    FAILED,
    KEEPS,
    KEPT,
    LONG,
    RECLAIMED,
    SCENARIOS,
    SUCCEEDED,
    Execution,
    chunked,
    continued,
    deferring,
    ended,
    impatient,
    reclaimed_and_deferred,
    running,
    scenario,
)
from tests.scripted_compute import Act
from tests.workflows.grid import dip
from tests.workflows.harness import FRANKFURT, PARIS, STOCKHOLM, ZONES, Stage
from workflows.prices import RefreshPrices
from workflows.settlement import SettleLedger
from workflows.signals import RefreshSignals
from workflows.watch import WatchRegion, watch_workflow_id

__all__ = ["SCENARIOS"]

# ── a job's own way ──────────────────────────────────────────────────────────────────────────


@scenario()
async def at_once(stage: Stage) -> list[Execution]:
    """Nowhere is cleaner at any time."""
    return await ended(await stage.submit())


@scenario()
async def deferred(stage: Stage) -> list[Execution]:
    """To a cell eight hours ahead, with a caller who waits for the plan."""
    job = await deferring(stage)
    await job.execute_update("admitted")
    return await ended(job)


@scenario()
async def looks(stage: Stage) -> list[Execution]:
    """To a cell a day ahead, looked at on the way."""
    return await ended(await deferring(stage, hours=24))


@scenario()
async def planned_again(stage: Stage) -> list[Execution]:
    """A look finds a better cell."""
    job = await deferring(stage, hours=20)
    stage.grid.set(ZONES[STOCKHOLM], dip(stage.at(16), low=1))
    stage.grid.set(ZONES[PARIS], dip(stage.at(20), low=400))
    return await ended(job)


@scenario()
async def policy_changed(stage: Stage) -> list[Execution]:
    """A signal asks for a look."""
    job = await deferring(stage)
    await job.signal("look_again")
    return await ended(job)


@scenario()
async def look_unanswered(stage: Stage) -> list[Execution]:
    """The signals cannot be read when it is time to look, and the plan holds."""
    job = await deferring(stage)
    stage.grid.set(ZONES[STOCKHOLM], unreadable)
    return await ended(job)


def unreadable(hour: datetime) -> float:
    """A curve of which nothing can be told."""
    raise OSError(f"no signal for {hour}")


@scenario()
async def urgent(stage: Stage) -> list[Execution]:
    """A manifest that does not wait."""
    stage.grid.set(ZONES[PARIS], dip(stage.at(8), low=10))
    return await ended(await stage.submit(stage.manifest(flexibility=Flexibility.URGENT)))


@scenario()
async def refused(stage: Stage) -> list[Execution]:
    """The home region is outside the residency class."""
    return await ended(await stage.submit(stage.manifest(residency="germany", home_region=PARIS)))


# ── overrides ────────────────────────────────────────────────────────────────────────────────


@scenario()
async def run_now_by_signal(stage: Stage) -> list[Execution]:
    """With no input at all."""
    job = await deferring(stage)
    await job.signal(OverrideKind.RUN_NOW)
    return await ended(job)


@scenario()
async def run_now_by_update(stage: Stage) -> list[Execution]:
    """As the SDK sends it."""
    job = await deferring(stage)
    await job.execute_update(OverrideKind.RUN_NOW, OverrideRequest(reason="drill"))
    return await ended(job)


@scenario()
async def deadline_changed(stage: Stage) -> list[Execution]:
    """To an earlier one, while deferred."""
    job = await deferring(stage)
    request = OverrideRequest(deadline=stage.at(6), reason="needed earlier")
    await job.execute_update(OverrideKind.CHANGE_DEADLINE, request)
    return await ended(job)


@scenario()
async def deadline_changed_while_running(stage: Stage) -> list[Execution]:
    """The safety poll's timer is set anew."""
    stage.compute.acts = (LONG,)
    job = await running(stage)
    await job.signal(OverrideKind.CHANGE_DEADLINE, {"deadline": stage.at(20).isoformat()})
    return await ended(job)


@scenario()
async def override_refused(stage: Stage) -> list[Execution]:
    """A payload that cannot be read is recorded while the job sleeps on."""
    job = await deferring(stage)
    await job.signal(OverrideKind.CHANGE_DEADLINE, "tomorrow")
    await stage.until(job, lambda _: bool(stage.events(EventKind.OVERRIDE)))
    return await ended(job)


@scenario()
async def cancelled_while_deferred(stage: Stage) -> list[Execution]:
    job = await deferring(stage)
    await job.signal(OverrideKind.CANCEL, {"reason": "drill"})
    return await ended(job)


@scenario()
async def cancelled_while_running(stage: Stage) -> list[Execution]:
    stage.compute.acts = (LONG,)
    job = await running(stage)
    await job.execute_update(OverrideKind.CANCEL, OverrideRequest(reason="drill"))
    return await ended(job)


@scenario()
async def temporal_cancel_while_deferred(stage: Stage) -> list[Execution]:
    job = await deferring(stage)
    await job.cancel()
    return await ended(job)


@scenario()
async def temporal_cancel_while_running(stage: Stage) -> list[Execution]:
    stage.compute.acts = (LONG,)
    job = await running(stage)
    await job.cancel()
    return await ended(job)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────


@scenario()
async def reclaimed_twice(stage: Stage) -> list[Execution]:
    """Then on-demand, since the runway covers no third one."""
    stage.compute.acts = (RECLAIMED, RECLAIMED, SUCCEEDED)
    return await ended(await stage.submit(stage.manifest(within=timedelta(hours=5))))


@scenario()
async def program_failed_once(stage: Stage) -> list[Execution]:
    stage.compute.acts = (FAILED, SUCCEEDED)
    return await ended(await stage.submit(stage.manifest(retries=1)))


@scenario()
async def program_failed(stage: Stage) -> list[Execution]:
    stage.compute.acts = (FAILED,)
    return await ended(await stage.submit())


@scenario()
async def region_out_of_reach(stage: Stage) -> list[Execution]:
    """No answer to the submission nor to its end: given up, unconfirmed, and run elsewhere."""
    stage.grid.set(ZONES[PARIS], dip(stage.start, low=10))
    stage.compute.down.add(PARIS)
    return await ended(await stage.submit())


@scenario()
async def queued_too_long(stage: Stage) -> list[Execution]:
    """Terminated, confirmed, and moved."""
    stage.compute.acts = (Act(queued=timedelta(hours=20)), SUCCEEDED)
    return await ended(await stage.submit(stage.manifest(within=timedelta(hours=8))))


@scenario()
async def blocked_where_it_was(stage: Stage) -> list[Execution]:
    """Its region says that it never starts there: moved at once."""
    stage.compute.acts = (BLOCKED, SUCCEEDED)
    return await ended(await stage.submit())


@scenario()
async def blocked_everywhere(stage: Stage) -> list[Execution]:
    """Every region says so: failed, with the reason."""
    stage.compute.acts = (BLOCKED,)
    return await ended(await stage.submit())


@scenario()
async def news_lost(stage: Stage) -> list[Execution]:
    """The job's own safety polls find the end."""
    stage.compute.acts = (LONG,)
    stage.compute.news_is_lost = True
    return await ended(await stage.submit())


@scenario()
async def run_lost(stage: Stage) -> list[Execution]:
    """A safety poll finds that the region has no trace of it; it is run elsewhere."""
    stage.compute.news_is_lost = True
    job = await stage.submit()
    await stage.until(job, Phase.QUEUED)
    stage.compute.submitted_at.clear()
    return await ended(job)


# ── in chunks ────────────────────────────────────────────────────────────────────────────────


@scenario()
async def cut_and_resumed(stage: Stage) -> list[Execution]:
    """Stopped at the end of its first clean hour, and ended in the second."""
    stage.compute.acts = (KEEPS, SUCCEEDED)
    return await ended(await chunked(stage))


@scenario()
async def chunk_without_news(stage: Stage) -> list[Execution]:
    """A safety poll finds that it runs on when its chunk is over."""
    stage.compute.acts = (KEEPS, SUCCEEDED)
    stage.compute.news_is_lost = True
    return await ended(await chunked(stage))


@scenario()
async def chunk_reclaimed(stage: Stage) -> list[Execution]:
    """Resumed from what it kept."""
    stage.compute.acts = (KEPT, SUCCEEDED)
    return await ended(await chunked(stage))


# ── a second execution ───────────────────────────────────────────────────────────────────────


@scenario()
async def run_again(stage: Stage) -> list[Execution]:
    """``--rerun`` after a failure."""
    stage.compute.acts = (FAILED, SUCCEEDED)
    first = await stage.submit()
    await stage.skip_to(stage.at(1))
    await stage.until(first, Phase.FINISHED)
    second = await stage.submit(rerun=True)
    await stage.skip_to(stage.at(2))
    await stage.until(second, Phase.FINISHED)
    return [second]


@scenario()
async def recorded_earlier(stage: Stage) -> list[Execution]:
    """The same manifest again, without ``--rerun``: the recorded outcome."""
    stage.compute.acts = (FAILED,)
    first = await stage.submit()
    await stage.skip_to(stage.at(1))
    await stage.until(first, Phase.FINISHED)
    second = await stage.submit()
    await stage.until(second, Phase.FINISHED)
    return [second]


@scenario()
async def orphan_stopped(stage: Stage) -> list[Execution]:
    """An earlier execution was terminated and left its run behind."""
    stage.compute.acts = (LONG, SUCCEEDED)
    first = await running(stage)
    await first.terminate("drill")
    second = await stage.submit()
    await stage.skip_to(stage.at(6))
    await stage.until(second, Phase.FINISHED)
    return [second]


# ── a history that grows long ────────────────────────────────────────────────────────────────


@scenario(impatient)
async def continued_as_new(stage: Stage) -> list[Execution]:
    """Both runs of a job that was reclaimed, deferred and looked at until the server had enough."""
    job = await reclaimed_and_deferred(stage)
    await job.signal("look_again")
    first = await continued(job)
    await job.signal(OverrideKind.RUN_NOW)
    await ended(job)
    return [stage.client.get_workflow_handle(job.id, run_id=first), job]


# ── the workflows beside ─────────────────────────────────────────────────────────────────────


@scenario()
async def region_watched(stage: Stage) -> list[Execution]:
    """As many rounds as a run has, then as new."""
    watch = await stage.client.start_workflow(
        WatchRegion.run,
        WatchInput(backend="scripted", region=FRANKFURT),
        id=watch_workflow_id("scripted", FRANKFURT),
        task_queue=Queue.SIGNALS,
    )
    first = stage.client.get_workflow_handle(watch.id, run_id=watch.first_execution_run_id)
    with suppress(WorkflowContinuedAsNewError):
        await first.result(follow_runs=False)
    await watch.terminate("recorded")
    return [first]


@scenario()
async def signals_refreshed(stage: Stage) -> list[Execution]:
    return await ended(
        await stage.client.start_workflow(
            RefreshSignals.run, id="refresh-signals", task_queue=Queue.SIGNALS
        )
    )


@scenario()
async def prices_refreshed(stage: Stage) -> list[Execution]:
    return await ended(
        await stage.client.start_workflow(
            RefreshPrices.run, id="refresh-prices", task_queue=Queue.SIGNALS
        )
    )


@scenario()
async def ledger_settled(stage: Stage) -> list[Execution]:
    return await ended(
        await stage.client.start_workflow(
            SettleLedger.run, id="settle-ledger", task_queue=Queue.SIGNALS
        )
    )
