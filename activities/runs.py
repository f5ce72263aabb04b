"""Runs: submit, describe, terminate. Each is idempotent by the run's name."""

from __future__ import annotations

import asyncio

from temporalio import activity

from activities.commits import commit_next
from activities.errors import RunStillAlive
from activities.manifests import Manifests
from activities.world import WorldReader
from domain.errors import ResidencyViolation
from domain.job import RunReport, RunSpec, RunState
from domain.ledger import Draft, EventKind
from domain.manifest import JobManifest
from domain.messages import DispatchInput, DispatchResult, RunRef, StopInput
from domain.ports import Commit, ComputeBackend, Ledger
from domain.steps import Step

CONFIRM_EVERY_S = 0.5
"""Pause between looks at a run that was asked to end."""


class Runs:
    """The activities ``dispatch_run``, ``describe_run`` and ``terminate_run``."""

    def __init__(
        self, compute: ComputeBackend, world: WorldReader, ledger: Ledger, manifests: Manifests
    ) -> None:
        """Hold the backend and what a submission is checked against."""
        self._compute = compute
        self._world = world
        self._ledger = ledger
        self._manifests = manifests

    @activity.defn(name=Step.DISPATCH_RUN)
    async def dispatch_run(self, step: DispatchInput) -> DispatchResult:
        """Submit a run and record it.

        Raises:
            ResidencyViolation: the second, independent check of residency; nothing is submitted.
        """
        manifest = await self._manifests.admitted(step.manifest_sha256)
        policy, catalogue = self._world.policy, self._world.catalogue
        if not policy.is_legal(manifest.residency, step.cell.region, catalogue):
            raise ResidencyViolation(step.cell.region, manifest.residency)
        await self._compute.submit(_spec(step, manifest))
        draft = Draft(
            EventKind.DISPATCH,
            activity.info().started_time,
            {
                "run": step.run,
                "attempt": step.attempt,
                "segment": step.segment,
                "cell": step.cell.model_dump(mode="json"),
                "backend": self._compute.name_in(step.cell.region),
            },
        )
        [event] = await asyncio.to_thread(
            commit_next, self._ledger, Commit(job=step.job, first_seq=step.seq, drafts=(draft,))
        )
        return DispatchResult(next_seq=event.seq + 1)

    @activity.defn(name=Step.DESCRIBE_RUN)
    async def describe_run(self, run: RunRef) -> RunReport:
        """What the backend says of a run."""
        return await self._compute.describe(run.region, run.run)

    @activity.defn(name=Step.TERMINATE_RUN)
    async def terminate_run(self, step: StopInput) -> RunReport:
        """Ask a run to end and wait until it has; what never started counts as ended."""
        run = step.run
        await self._compute.terminate(run.region, run.run, step.reason)
        while True:
            report = await self._compute.describe(run.region, run.run)
            if report.state.is_final or report.state is RunState.UNKNOWN:
                return report
            if activity.is_worker_shutdown():
                raise RunStillAlive(run.run, report.state.value)
            activity.heartbeat(report.state.value)
            await asyncio.sleep(CONFIRM_EVERY_S)


def _spec(step: DispatchInput, manifest: JobManifest) -> RunSpec:
    resources = manifest.resources
    return RunSpec(
        run=step.run,
        workflow_id=step.job,
        attempt=step.attempt,
        region=step.cell.region,
        capacity_type=step.cell.capacity_type,
        image=manifest.image,
        command=manifest.command,
        environment=manifest.environment,
        vcpus=resources.vcpus,
        memory_gib=resources.memory_gib,
        gpus=resources.gpus,
        gpu_model=resources.gpu_model,
        max_runtime_s=manifest.max_runtime.total_seconds(),
    )
