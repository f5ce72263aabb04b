"""The example on the local backend: a real reclaim, then the attempt that finishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from activities.compute.local import LocalCompute
from domain.capacity import CapacityType
from domain.job import RunReport, RunSpec, RunState, run_name
from tests.examples.attempts import ROOT, SMALL, WITHIN_S, command, result_of

JOB = "job-default-genome"
REGION = "aws:eu-central-1"
ENOUGH = SMALL.but(reads=3000)
"""Longer than it takes to see a checkpoint and take the machine back."""


@pytest.fixture
async def compute(tmp_path: Path) -> AsyncIterator[LocalCompute]:
    backend = LocalCompute(tmp_path / "runs", grace_s=10.0)
    yield backend
    for attempt in (1, 2):
        await backend.terminate(REGION, run_name(JOB, 0, attempt), "the test is over")
        await ended(backend, attempt)
    # Private: the supervisors that it started, which have nothing more to do.
    for supervisor in backend._children:
        await asyncio.to_thread(supervisor.wait, WITHIN_S)


def spec(attempt: int) -> RunSpec:
    return RunSpec(
        run=run_name(JOB, segment=0, attempt=attempt),
        workflow_id=JOB,
        attempt=attempt,
        region=REGION,
        capacity_type=CapacityType.SPOT,
        image="registry.example/lowtide/genomics:1.0.0",
        command=tuple(command(ENOUGH, checkpoint_every_s=0.05)),
        environment={"PYTHONPATH": str(ROOT)},
        vcpus=1.0,
        memory_gib=2.0,
        gpus=0,
        gpu_model=None,
        max_runtime_s=300.0,
    )


async def ended(backend: LocalCompute, attempt: int) -> RunReport:
    async with asyncio.timeout(WITHIN_S):
        while not (report := await backend.describe(REGION, spec(attempt).run)).state.is_final:
            await asyncio.sleep(0.02)
    return report


async def test_a_reclaimed_run_is_finished_by_the_next_attempt(
    compute: LocalCompute, tmp_path: Path
) -> None:
    """SIGTERM and 143 are told as a reclaim; the next attempt goes on where the first was cut."""
    data = tmp_path / "data" / JOB
    await compute.submit(spec(1))
    async with asyncio.timeout(WITHIN_S):
        while not (data / "checkpoint" / "attempt-1.checkpoint").exists():
            await asyncio.sleep(0.01)
    compute.reclaim(REGION, spec(1).run)
    first = await ended(compute, 1)
    assert (first.state, first.exit_code) == (RunState.RECLAIMED, 143)

    await compute.submit(spec(2))
    second = await ended(compute, 2)
    assert (second.state, second.exit_code) == (RunState.SUCCEEDED, 0)
    findings, by = result_of((data / "output" / "result.json").read_bytes())
    assert findings["parameters"]["reads"] == ENOUGH.reads
    assert findings["recall"] == findings["precision"] == 1.0
    assert (by["job"], by["attempt"], by["region"]) == (JOB, 2, REGION)
    assert 0 < by["resumed_at"] < ENOUGH.reads
