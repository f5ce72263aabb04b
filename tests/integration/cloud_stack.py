"""The product on fakes of AWS Batch and GKE: real Temporal, a real worker to be killed, real jobs.

The fakes live in the test's own process, so that machines are taken back, answers lost and regions
put out of reach at its word; a job's program is a process that tells of itself (``cloud_job.py``).
The grid's time is compressed; the clouds are waited for as in production: Batch is polled every
10 s, and a dead worker's submission is waited for a minute. The policy's margin covers that.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from activities.stores.sqlite import SqliteStore
from domain.energy import METHODOLOGY, energy_kwh, it_power_w
from domain.job import RunState
from domain.ledger import EventKind, LedgerEvent
from domain.manifest import JobManifest
from domain.messages import AttemptRecord
from domain.regions import parse_catalogue
from domain.verify import VerifyReport
from tests.integration import cloud_job
from tests.integration.stack import Stack
from tests.servers.aws import CREDENTIALS
from tests.servers.batch import BatchServer
from tests.servers.batch_jobs import BatchJob
from tests.servers.batch_region import BatchRegion
from tests.servers.batch_region import Reclaims as BatchReclaims
from tests.servers.kubernetes import KubernetesServer
from tests.servers.kubernetes_api import ClusterServer
from tests.servers.kubernetes_jobs import key_of, phase
from tests.servers.kubernetes_store import Event, Failure, Key
from workers.settings import POLICIES
from workers.wiring import verify

AWS = {"aws:eu-north-1": "EC2", "aws:eu-west-3": "FARGATE", "aws:eu-central-1": "EC2"}
"""Region -> the platform that it prefers: each has its own way of taking machines back."""
GCP = ("gcp:europe-north1", "gcp:europe-west1", "gcp:europe-west4")

HOUR_S = 1.0
"""One hour of the grid; the trace begins a few hours before it is cleanest."""
AT_ONCE = 50
"""Submissions under way at a time: each waits 20 s for its first plan."""
RECLAIMED_AFTER_S = 1.0
VCPUS, MEMORY_GIB = 1, 2


def policy(margin_s: float, vcpus: int, **residency: tuple[str, ...]) -> dict[str, Any]:
    """A policy of this room in every region, and its residency classes."""
    room = {"spot": {"vcpus": vcpus}, "on_demand": {"vcpus": vcpus}}
    return {
        "version": "fake-cloud",
        # By cost, so that Spot is taken wherever there is room.
        "weights": {"carbon": 0.4, "cost": 0.6},
        "steering_signal": "average",
        # Whoever is killed refreshes nothing for a while.
        "forecast_max_age": "1m",
        "safety_margin": f"{margin_s}s",
        "start_up": "1s",
        "look_again": {"min_remaining": "1h", "min_gain": 0.02},
        "wake_jitter": "3s",
        "residency": {
            name: {"regions": list(regions)}
            for name, regions in ({"anywhere": (*AWS, *GCP)} | residency).items()
        },
        "regions": dict.fromkeys((*AWS, *GCP), room),
    }


class CloudStack(Stack):
    """One fake account of AWS, a fake cluster in each region of GCP, and the product on both."""

    def __init__(self, folder: Path, policy: Mapping[str, Any]) -> None:
        (folder / "policy.yaml").write_text(json.dumps(policy))  # JSON is YAML
        (folder / "token").write_text("of the fake clusters")
        super().__init__(
            folder,
            LOWTIDE_POLICY=str(folder / "policy.yaml"),
            LOWTIDE_TRACE__HOUR_S=str(HOUR_S),
            LOWTIDE_TRACE__TRACE_AT="2019-06-04T08:00:00Z",
            LOWTIDE_REFRESH_EVERY="5s",
            LOWTIDE_SETTLE_EVERY="5s",
            LOWTIDE_WORKER__DISPATCHES_PER_SECOND="100",
            **CREDENTIALS,
        )
        for name in (cloud_job.RESULTS, cloud_job.ALIVE):
            (folder / name).mkdir()
        self.told_file = folder / cloud_job.TOLD
        self.told_file.touch()
        self.batch = BatchServer(folder / "containers")
        self.kubernetes = KubernetesServer(GCP, folder / "pods")
        self._fakes = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for fake in (self.batch, self.kubernetes):
            await self._fakes.enter_async_context(fake)
        self._settings["LOWTIDE_COMPUTE"] = json.dumps(self._compute())
        return await super().__aenter__()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            await self._fakes.aclose()

    def _compute(self) -> dict[str, Any]:
        return {
            "kind": "cloud",
            "aws": {
                region: {
                    "bucket": f"runs-{code_of(region)}",
                    "fargate": {
                        "spot": "lowtide-fargate-spot",
                        "on_demand": "lowtide-fargate-on-demand",
                    },
                    "prefer": platform,
                    "execution_role_arn": "arn:aws:iam::123456789012:role/lowtide-execution",
                    "endpoint_url": self.batch.url,
                }
                for region, platform in AWS.items()
            },
            "gke": {
                region: {
                    "project": "genomics",
                    "location": code_of(region),
                    "name": f"batch-{code_of(region)}",
                    "bucket": f"runs-{code_of(region)}",
                    "endpoint_url": self.kubernetes.url_of(region),
                }
                for region in GCP
            },
            "gke_token_file": str(self.folder / "token"),
        }

    # ── clouds ───────────────────────────────────────────────────────────────────────────────

    def aws(self, region: str) -> BatchRegion:
        """The fake's side of a region."""
        return self.batch.region(code_of(region))

    def gke(self, region: str) -> ClusterServer:
        """The fake's side of a region."""
        return self.kubernetes.clusters[region]

    def trouble(self, reclaimed: int, throttled: float) -> None:
        """From now on in every region: so many of a hundred Spot runs are taken back, a share of
        requests is throttled, and one answer is lost after the change that it tells of was made.
        """
        for region in map(self.aws, AWS):
            region.reclaims = EvenReclaims(reclaimed)
            region.faults.throttle_share = throttled
            region.faults.lose_next = 1
        for cluster in map(self.gke, GCP):
            Preemptions(cluster, reclaimed)
            cluster.faults.throttled = throttled
            cluster.faults.lost_answers = 1

    def go_down(self, region: str, is_down: bool = True) -> None:
        """A region's API answers nothing from now on; or is back."""
        if region in AWS:
            self.aws(region).faults.down = is_down
        else:
            self.gke(region).go_down(is_down)

    def close_queue(self, region: str, reason: str = "") -> None:
        """Nothing starts in a region from now on; Batch says why, if it does."""
        if region in GCP:
            self.gke(region).kubelet.make_room(False)
            return
        for queue in self.aws(region).queues:
            self.aws(region).close_queue(queue, reason)

    def open_queue(self, region: str) -> None:
        """What waits there starts."""
        if region in GCP:
            self.gke(region).kubelet.make_room()
            return
        for queue in self.aws(region).queues:
            self.aws(region).open_queue(queue)

    def end_spot_capacity(self, reason: str) -> None:
        """No Spot machine is to be had anywhere from now on."""
        for region in map(self.aws, AWS):
            for queue in region.queues.values():
                if queue.spot:
                    region.close_queue(queue.name, reason)
        for cluster in map(self.gke, GCP):
            cluster.kubelet.make_spot_room(False)

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

    def command(self, seconds: float) -> list[str]:
        """What works so long and commits."""
        program = (sys.executable, "-I", "-S", cloud_job.__file__)
        return [*program, str(self.folder), str(seconds)]

    def job(self, name: str, seconds: float, within_s: float, **changed: object) -> JobManifest:
        """A job that works so long and must be finished within some time from now."""
        fields: dict[str, object] = {
            "command": self.command(seconds),
            "resources": {"vcpus": VCPUS, "memory_gib": MEMORY_GIB},
            "runtime": f"{seconds}s",
            "p95_runtime": f"{seconds + 1}s",
            "max_runtime": "10m",
            "deadline": datetime.now(UTC) + timedelta(seconds=within_s),
            "residency": "anywhere",
            "home_region": "aws:eu-central-1",
        }
        return self.manifest(name, **(fields | changed))

    async def submitted_in_turn(self, manifests: Iterable[JobManifest]) -> None:
        """Submit many jobs, some at a time."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def submit(manifest: JobManifest) -> None:
            async with turn:
                await self.client.submit(manifest)

        await asyncio.gather(*map(submit, manifests))

    async def is_at_rest(self) -> bool:
        """Whether no step of any job is under way: all wait for their cells or their runs."""
        jobs = [self.client.temporal.get_workflow_handle(job) for job in self.chains()]
        found = await asyncio.gather(*(job.describe() for job in jobs))
        return not any(job.raw_description.pending_activities for job in found)

    # ── what came of it ──────────────────────────────────────────────────────────────────────

    def told(self, what: str | None = None) -> list[dict[str, Any]]:
        """What jobs' programs told, oldest first; of one kind."""
        lines = map(json.loads, self.told_file.read_text().splitlines())
        return [line for line in lines if what in {None, line["what"]}]

    def effects(self) -> list[str]:
        """``job attempt`` of each program that was started."""
        return [f"{line['job']} {line['attempt']}" for line in self.told("began")]

    def chains(self) -> dict[str, tuple[LedgerEvent, ...]]:
        """Every job's events."""
        with SqliteStore(self.state / "lowtide.db") as store:
            return {record.job: store.events(record.job) for record in store.records()}

    def attempts(self) -> dict[str, list[AttemptRecord]]:
        """Every job's runs, as the ledger has them."""
        return {
            job: [
                AttemptRecord.model_validate(event.data)
                for event in events
                if event.kind is EventKind.ATTEMPT
            ]
            for job, events in self.chains().items()
        }

    def verified(self) -> VerifyReport:
        """The whole ledger, recomputed."""
        with SqliteStore(self.state / "lowtide.db") as store:
            return verify(store)

    async def are_settled(self) -> bool:
        """Whether every job has its settlement."""
        return all(settlement_of(events) is not None for events in self.chains().values())

    def assert_each_committed_once(self, jobs: int) -> None:
        """One result a job, by a run that the ledger knows; no run beside another but the one that
        the ledger names as not confirmed dead; what began is what the ledger says.
        """
        self.assert_each_succeeded_once(jobs)
        attempts = self.attempts()
        committed = Counter(line["job"] for line in self.told("committed"))
        assert committed == Counter(list(attempts)), "one result a job"
        assert {path.name for path in (self.folder / cloud_job.RESULTS).iterdir()} == set(attempts)
        unconfirmed = self.unconfirmed()
        starts = [(line["job"], line["attempt"]) for line in self.told("began")]
        begun = {(job, run.attempt) for job in attempts for run in attempts[job] if has_begun(run)}
        assert len(starts) == len(set(starts)), "no run twice"
        assert begun <= set(starts) <= begun | unconfirmed
        for line in self.told("began"):
            for other in line["beside"]:
                earlier = min(other, line["attempt"])
                assert (line["job"], earlier) in unconfirmed, line

    def assert_each_attempt_is_charged(self) -> None:
        """A job's energy is at least that of all its runs, reclaimed ones too, as they began and
        ended.
        """
        catalogue = parse_catalogue((POLICIES / "regions.csv").read_text())
        power_w = it_power_w(METHODOLOGY, VCPUS, MEMORY_GIB, 0, None)
        attempts = self.attempts()
        for job, events in self.chains().items():
            least_kwh = sum(
                energy_kwh(
                    power_w,
                    (run.report.ended_at - run.report.started_at) / timedelta(seconds=HOUR_S),
                    catalogue.get(run.cell.region).pue,
                )
                for run in attempts[job]
                if has_begun(run)
            )
            settled = settlement_of(events)
            assert settled is not None
            assert settled.data["actual"]["energy_kwh"] >= least_kwh - 1e-9, job

    def reclaims(self) -> Counter[str]:
        """How often machines were taken back in each way, by the first word of its telling."""
        return Counter(
            run.report.detail.split()[0]
            for runs in self.attempts().values()
            for run in runs
            if run.report.state is RunState.RECLAIMED
        )

    def unconfirmed(self) -> set[tuple[str, int]]:
        """(job, attempt) of each run that was not confirmed dead before the next one began."""
        return {
            (job, run.attempt)
            for job, runs in self.attempts().items()
            for run in runs
            if run.unconfirmed
        }


def code_of(region: str) -> str:
    """A region by its provider's own name of it."""
    return region.partition(":")[2]


def has_begun(run: AttemptRecord) -> bool:
    """Whether its program was started, as far as the ledger knows."""
    return run.report.started_at is not None


def settlement_of(events: Iterable[LedgerEvent]) -> LedgerEvent | None:
    """A chain's settlement."""
    return next((event for event in events if event.kind is EventKind.SETTLEMENT), None)


# ── machines that are taken back ─────────────────────────────────────────────────────────────


class Share:
    """Hits so many of a hundred, evenly, beginning with the first."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._sum = 100 - percent

    def hits(self) -> bool:
        self._sum += self._percent
        hit = self._sum >= 100
        self._sum %= 100
        return hit


class EvenReclaims(BatchReclaims):
    """An even share of one region's Spot jobs, some time after their start."""

    def __init__(self, percent: int) -> None:
        super().__init__(after_s=RECLAIMED_AFTER_S)
        self._share = Share(percent)

    def hits(self, job: BatchJob) -> bool:
        return job.queue.spot and self._share.hits()


class Preemptions:
    """The same on a cluster: by turns with notice, and with the node gone without a word."""

    def __init__(self, cluster: ClusterServer, percent: int) -> None:
        self._kubelet = cluster.kubelet
        self._share = Share(percent)
        self._ways = itertools.cycle((self._kubelet.preempt, self._kubelet.lose_node))
        self._seen: set[Key] = set()
        cluster.store.listen(self._hear)

    def _hear(self, event: Event) -> None:
        pod = event.object
        if event.resource != "pods" or phase(pod) != "Running" or key_of(pod) in self._seen:
            return
        self._seen.add(key_of(pod))
        if pod["metadata"]["labels"]["lowtide.dev/capacity-type"] == "spot" and self._share.hits():
            loop = asyncio.get_running_loop()
            loop.call_later(RECLAIMED_AFTER_S, self._take, next(self._ways), key_of(pod))

    @staticmethod
    def _take(way: Any, pod: Key) -> None:
        with suppress(Failure):  # it has ended by itself
            way(pod)
