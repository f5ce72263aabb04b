"""Submitting through the SDK, again and again: one run, one outcome, one manifest a name.

On a dev server and in real time: update with start is what the time-skipping server lacks.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clients.errors import JobRefused, RerunRefused
from clients.scheduler import Client
from domain.errors import ManifestConflict
from domain.job import Outcome, Phase, RunState
from domain.ledger import EventKind
from domain.manifest import JobManifest
from tests.scripted_compute import Act
from tests.workflows.harness import PARIS, Stage, real_time, staged

BRIEF = timedelta(milliseconds=200)
SUCCEEDS = Act(after=BRIEF)
FAILS = Act(ends=RunState.FAILED, after=BRIEF, exit_code=1)
LONG = Act(after=timedelta(hours=1))

CHAIN_OF_A_RUN = ["plan", "dispatch", "attempt", "completion"]


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    real_stage.compute.acts = (SUCCEEDS,)
    return real_stage


@pytest.fixture
def sdk(stage: Stage) -> Client:
    return Client(stage.client)


def urgent(stage: Stage, **fields: Any) -> JobManifest:
    return stage.manifest(flexibility="urgent", **fields)


class TestTheSameManifest:
    async def test_it_attaches_while_the_job_is_open_and_returns_its_outcome_after(
        self, stage: Stage, sdk: Client
    ) -> None:
        """Five at once, one more while it runs, one when it is over: one run."""
        stage.compute.acts = (Act(after=timedelta(seconds=2)),)
        manifest = urgent(stage)
        jobs = await asyncio.gather(*(sdk.submit(manifest) for _ in range(5)))
        jobs.append(await sdk.submit(manifest))
        results = [await job.wait() for job in jobs]
        results.append(await (await sdk.submit(manifest)).wait())

        assert len(stage.compute.specs) == 1
        assert stage.kinds() == CHAIN_OF_A_RUN
        assert {result.outcome for result in results} == {Outcome.SUCCEEDED}
        assert len({result.finished_at for result in results}) == 1


class TestAnotherManifest:
    async def test_it_is_refused_under_a_name_that_is_taken(
        self, stage: Stage, sdk: Client
    ) -> None:
        """While the job is open, and when it is closed."""
        manifest, other = urgent(stage), urgent(stage, command=["other"])
        stage.compute.acts = (Act(after=timedelta(seconds=1)),)
        job = await sdk.submit(manifest)
        with pytest.raises(ManifestConflict):
            await sdk.submit(other)
        await job.wait()
        with pytest.raises(ManifestConflict):
            await sdk.submit(other)
        with pytest.raises(ManifestConflict):
            await sdk.submit(other, rerun=True)

        assert len(stage.compute.specs) == 1
        assert stage.kinds() == CHAIN_OF_A_RUN


async def test_the_name_and_its_outcome_outlive_temporals_retention(
    stage: Stage, sdk: Client, tmp_path: Path
) -> None:
    """On a server that knows nothing of the job: nothing runs, and what is recorded is told."""
    manifest, other = urgent(stage), urgent(stage, command=["other"])
    await (await sdk.submit(manifest)).wait()
    async with real_time() as forgetful, staged(forgetful, tmp_path) as later:
        again = Client(later.client)
        result = await (await again.submit(manifest)).wait()
        assert (result.outcome, result.recorded_earlier) == (Outcome.SUCCEEDED, True)
        assert later.kinds() == CHAIN_OF_A_RUN
        assert later.compute.specs == []

    async with real_time() as forgetful, staged(forgetful, tmp_path) as later:
        with pytest.raises(JobRefused, match=f"taken by.*{manifest.sha256[:8]}"):
            await Client(later.client).submit(other)


class TestRerun:
    async def test_a_failed_job_runs_again_under_a_higher_fencing_number(
        self, stage: Stage, sdk: Client
    ) -> None:
        """In the same chain; without ``rerun`` the failure is what is returned."""
        stage.compute.acts = (FAILS, SUCCEEDS)
        manifest = urgent(stage)
        failed = await (await sdk.submit(manifest)).wait()
        told = await (await sdk.submit(manifest)).wait()
        again = await (await sdk.submit(manifest, rerun=True)).wait()

        assert (failed.outcome, told.outcome) == (Outcome.FAILED, Outcome.FAILED)
        assert (again.outcome, again.attempts) == (Outcome.SUCCEEDED, 1)
        assert [spec.attempt for spec in stage.compute.specs] == [1, 2]
        assert stage.kinds() == [*CHAIN_OF_A_RUN, *CHAIN_OF_A_RUN]

    async def test_a_cancelled_job_runs_again(self, stage: Stage, sdk: Client) -> None:
        """Its run was stopped and confirmed, so that there is nothing left to stop."""
        stage.compute.acts = (LONG, SUCCEEDS)
        manifest = urgent(stage)
        job = await sdk.submit(manifest)
        await stage.until(stage.client.get_workflow_handle(job.id), Phase.RUNNING)
        await job.cancel("a mistake")
        assert (await job.wait()).outcome is Outcome.CANCELLED

        again = await (await sdk.submit(manifest, rerun=True)).wait()

        assert again.outcome is Outcome.SUCCEEDED
        assert [event.data["attempt"] for event in stage.events(EventKind.ATTEMPT)] == [1, 2]

    async def test_a_job_that_is_open_or_has_succeeded_does_not(
        self, stage: Stage, sdk: Client
    ) -> None:
        """There is a result, or there will be one."""
        stage.compute.acts = (Act(after=timedelta(seconds=1)),)
        manifest = urgent(stage)
        job = await sdk.submit(manifest)
        with pytest.raises(RerunRefused):
            await sdk.submit(manifest, rerun=True)
        await job.wait()
        with pytest.raises(RerunRefused):
            await sdk.submit(manifest, rerun=True)
        assert len(stage.compute.specs) == 1


class TestRefused:
    async def test_without_a_legal_region_nothing_is_left_behind_and_the_name_is_free(
        self, stage: Stage, sdk: Client
    ) -> None:
        """Told at submission, with the reason; the corrected manifest takes the name."""
        nowhere = {"vcpus": 4, "memory_gib": 16, "gpus": 1, "gpu_model": "h100"}
        with pytest.raises(JobRefused, match="a legal region that can run 4 vCPUs"):
            await sdk.submit(urgent(stage, resources=nowhere))
        with pytest.raises(JobRefused, match="home_region"):
            await sdk.submit(urgent(stage, residency="germany", home_region=PARIS))
        with pytest.raises(JobRefused, match="residency"):
            await sdk.submit(urgent(stage, residency="moon"))

        assert stage.parts.ledger.records() == ()
        assert stage.compute.specs == []
        result = await (await sdk.submit(urgent(stage))).wait()
        assert result.outcome is Outcome.SUCCEEDED
        assert stage.kinds() == CHAIN_OF_A_RUN
