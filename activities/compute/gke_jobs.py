"""The runs of one region: submit, describe, end.

Three things happen on the API server alone, whatever workers do meanwhile. A run is created once:
its name is the Job's, and a second creation is refused (409). A change of a Job holds only for the
version that was read: a run is marked as stopped before its end, or not at all. And an end is
written on the Job the first time that it is read, since the pod that tells of it goes with its
node: from then on every reader tells the same.
"""

from __future__ import annotations

from activities.compute.gke_api import ClusterApi, Conflict, Missing, Refused
from activities.compute.gke_manifest import (
    AT_ONCE_S,
    END,
    SPEC_SHA256,
    STOP,
    Stop,
    job_of,
    spec_sha256,
    tombstone_of,
)
from activities.compute.gke_reports import PodFacts, end_of, is_tombstone, newest, report_of
from activities.compute.gke_wire import Job
from activities.errors import ComputeUnavailable, RunRefused, SpecConflict
from domain.job import RunReport, RunSpec, RunState

ROUNDS = 10
"""How often a Job is read again because somebody changed it; a Job changes a few times in all."""


class RegionJobs:
    """One region's Jobs."""

    def __init__(self, api: ClusterApi) -> None:
        """Hold the cluster's API."""
        self.api = api
        self.region = api.cluster.region

    async def submit(self, spec: RunSpec) -> None:
        """Create a run's Job, or find it.

        A run that was asked to end before it was ever submitted has a tombstone under its name:
        then this changes nothing, and ``describe`` tells that it was terminated.
        """
        try:
            await self.api.create(job_of(self.api.cluster, spec))
        except Refused as refusal:
            raise RunRefused(spec.run, str(refusal)) from None
        except Missing as missing:
            raise ComputeUnavailable(self.region, str(missing)) from None
        except Conflict:
            job = await self.api.job(spec.run)
            same = job and job.metadata.annotations.get(SPEC_SHA256) == spec_sha256(spec)
            if not (same or (job and is_tombstone(job))):
                raise SpecConflict(spec.run) from None

    async def describe(self, run: str) -> RunReport:
        """A run's state."""
        job = await self.api.job(run)
        pod = newest(await self.api.pods([run]))
        if job is not None:
            return await self.settled(job, pod)
        # A Job that somebody deleted leaves its pod for some seconds: it may still be at work.
        lives = pod is not None and not pod.is_over
        return RunReport(
            run=run,
            region=self.region,
            workflow_id="",
            state=RunState.RUNNING if lives else RunState.UNKNOWN,
            started_at=pod.started_at if lives and pod else None,
            detail="its Job was deleted" if lives else "",
        )

    async def terminate(self, run: str, reason: str) -> None:
        """End a run, or see that it never starts.

        One change marks the Job and cuts its own deadline to a second, both or neither. The Job
        controller then kills the pod, and the Job fails and stays like any other: deleting it
        would lose the record, suspending it would keep it for ever. Where there is no Job yet, a
        tombstone takes the name.
        """
        for _ in range(ROUNDS):
            try:
                return await self._stop(run, Stop(reason=reason))
            except (Conflict, Missing):
                continue
        raise ComputeUnavailable(self.region, f"run {run} was changed again and again")

    async def _stop(self, run: str, stop: Stop) -> None:
        """One round of it. Raises ``Conflict`` or ``Missing`` where the Job changed meanwhile."""
        job = await self.api.job(run)
        if job is None:
            await self.api.create(tombstone_of(run, stop))
        elif end_of(job) is None and STOP not in job.metadata.annotations:
            pod = newest(await self.api.pods([run]))
            stop = Stop(reason=stop.reason, started_at=pod.started_at if pod else None)
            change: dict[str, object] = {"activeDeadlineSeconds": AT_ONCE_S}
            if job.spec.suspend:
                # Held back by a queue, as Kueue: its deadline stands still, and it has no pod.
                change |= {"parallelism": 0, "suspend": False}
            await self.api.patch(job, {STOP: stop.model_dump_json()}, change)

    async def settled(self, job: Job, pod: PodFacts | None) -> RunReport:
        """A Job's report; an end that is read for the first time is written on it."""
        for _ in range(ROUNDS):
            report = report_of(self.region, job, pod)
            if end_of(job) is None or END in job.metadata.annotations or is_tombstone(job):
                return report
            try:
                await self.api.patch(job, {END: report.model_dump_json()}, {})
            except Missing:
                return report
            except Conflict:
                job = await self.api.job(job.run) or job
            else:
                return report
        raise ComputeUnavailable(self.region, f"run {job.run} was changed again and again")
