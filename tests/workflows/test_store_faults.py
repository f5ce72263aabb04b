"""What the store answers a step: retried where that may mend it, told at once where it cannot."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from unittest.mock import Mock

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError

from activities.errors import StepTooLarge
from domain.errors import ChainBroken, LowtideError
from domain.job import Outcome, Phase
from tests.workflows.grid import dip
from tests.workflows.harness import PARIS, WITHIN_S, ZONES, Stage


@pytest.mark.parametrize(
    "error", [StepTooLarge("items in one transaction", 101, 100), ChainBroken("a", 2, 1)]
)
async def test_what_no_retry_mends_fails_the_job_at_once_and_a_rerun_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: LowtideError
) -> None:
    """Asked once, the failure names it; nothing is left that hinders the same job's next try."""
    with monkeypatch.context() as store:
        commit = Mock(side_effect=error)
        store.setattr(stage.parts.ledger, "commit", commit)
        # The time-skipping clock leaps to the end of a closed workflow's time-out.
        job = await stage.submit(run_timeout=timedelta(minutes=1))
        with pytest.raises(WorkflowFailureError) as failure:
            await job.result()
    told = failure.value.cause
    assert isinstance(told, ActivityError)
    assert isinstance(told.cause, ApplicationError)
    assert told.cause.type == type(error).__name__
    assert commit.call_count == 1

    result = await stage.ended(await stage.submit(rerun=True))
    assert result.outcome is Outcome.SUCCEEDED


async def test_a_manifest_that_is_not_there_yet_is_asked_for_again(stage: Stage) -> None:
    """A worker was given another store: its jobs do not fail, and go on with the right one."""
    stage.grid.set(ZONES[PARIS], dip(stage.at(9), low=1))
    manifest = stage.manifest()
    job = await stage.submit(manifest)
    await stage.until(job, Phase.DEFERRED)
    with sqlite3.connect(stage.parts.settings.database) as raw:
        raw.execute("DELETE FROM blobs WHERE sha256 = ?", (manifest.sha256,))
    raw.close()
    await job.signal("run_now")
    await retried_for(job, "ManifestUnknown")

    stage.parts.ledger.put_blob(manifest.canonical())
    result = await stage.ended(job)
    assert result.outcome is Outcome.SUCCEEDED
    assert stage.kinds() == ["plan", "run_now", "override", "dispatch", "attempt", "completion"]


async def retried_for(job: WorkflowHandle, error: str) -> None:
    """Wait until a step of the job's was tried again after ``error``."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            pending = (await job.describe()).raw_description.pending_activities
            if any(
                item.attempt > 1 and item.last_failure.application_failure_info.type == error
                for item in pending
            ):
                return
            await asyncio.sleep(0.05)
