"""GKE under a test's hand: simulated clusters, whose pods are shell scripts on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from activities.compute.gke import Gke
from activities.compute.gke_api import Manners
from activities.compute.gke_cluster import GkeCluster, KnownEndpoints, StaticToken, TokenSource
from domain.job import RunSpec, RunState
from tests.activities.compute.process_site import ProcessSite
from tests.contracts.compute_site import WITHIN_S
from tests.servers.kubernetes import KubernetesServer
from tests.servers.kubernetes_api import ClusterServer
from tests.servers.kubernetes_store import Key, Object

REGIONS = ("gcp:europe-west1", "gcp:europe-north1")
TOKEN = "a-bearer-token"  # noqa: S105 - of a simulator
GRACE_S = 0.5

BRISK = Manners(
    calls_per_s=2000.0,
    try_s=5.0,
    patience_s=20.0,
    backoff_s=0.01,
    reconnect_s=0.02,
    gather_s=0.01,
    lag_s=0.3,
    beat_s=0.1,
)
"""As in production, but without its pauses."""


def cluster_of(region: str, **changed: object) -> GkeCluster:
    location = region.partition(":")[2]
    cluster = GkeCluster(
        region=region,
        project="genomics",
        location=location,
        name=f"batch-{location}",
        bucket=f"runs-{location}",
    )
    return replace(cluster, **changed)


class GkeSite(ProcessSite):
    """Two simulated clusters."""

    def __init__(self, server: KubernetesServer, told: Path, manners: Manners = BRISK) -> None:
        self.server = server
        self.told = told
        self.manners = manners
        self.regions = REGIONS
        self._workers: list[Gke] = []
        self.backend: Gke = self.restarted()

    def restarted(self, manners: Manners | None = None) -> Gke:
        worker = self.with_tokens(StaticToken(TOKEN), manners or self.manners)
        self._workers.append(worker)
        return worker

    def with_tokens(self, tokens: TokenSource, manners: Manners = BRISK) -> Gke:
        """An adapter with tokens of its own; whoever asked for it closes it."""
        clusters = [cluster_of(region) for region in REGIONS]
        urls = {cluster.region: self.server.url_of(cluster.name) for cluster in clusters}
        return Gke(clusters, KnownEndpoints(urls), tokens, manners)

    async def close(self) -> None:
        for worker in self._workers:
            await worker.aclose()

    def cluster(self, region: str = REGIONS[0]) -> ClusterServer:
        return self.server.clusters[cluster_of(region).name]

    def job(self, spec: RunSpec) -> Object:
        return self.cluster(spec.region).store.get(("jobs", "lowtide", spec.run))

    def pod(self, spec: RunSpec) -> Key:
        return self.cluster(spec.region).pod_of(spec.run)

    async def until_pod(self, spec: RunSpec) -> Key:
        """Wait until a run's Job has a pod."""
        async with asyncio.timeout(WITHIN_S):
            while not self.cluster(spec.region).store.owned(self.job(spec)["metadata"]["uid"]):
                await asyncio.sleep(0.01)
        return self.pod(spec)

    async def reclaim(self, spec: RunSpec) -> None:
        self.cluster(spec.region).kubelet.preempt(self.pod(spec))

    def close_queue(self) -> None:
        for region in REGIONS:
            self.cluster(region).kubelet.make_room(False)

    async def submit_unanswered(self, spec: RunSpec) -> None:
        self.cluster(spec.region).faults.lost_answers = 1
        submission = asyncio.create_task(self.backend.submit(spec))
        async with asyncio.timeout(WITHIN_S):
            while self.cluster(spec.region).faults.lost_answers:
                await asyncio.sleep(0)
        submission.cancel()
        assert RunState.UNKNOWN is not (await self.report(spec)).state

    async def at_rest(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not all(self.cluster(region).is_at_rest for region in REGIONS):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def gke_site(
    root: Path, manners: Manners = BRISK, **options: object
) -> AsyncIterator[GkeSite]:
    """A site in a folder of its own, its processes gone afterwards."""
    told = root / "told"
    told.mkdir()
    names = [cluster_of(region).name for region in REGIONS]
    async with KubernetesServer(
        names, root / "pods", grace_s=GRACE_S, tokens={TOKEN}, **options
    ) as server:
        site = GkeSite(server, told, manners)
        try:
            yield site
        finally:
            await site.close()
