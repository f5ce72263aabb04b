"""GKE compute: each run is a Kubernetes Job in the one cluster of its region.

The parts, each a small module:

    gke_cluster    which cluster, where its API server is, tokens
    gke_manifest   a run as a Job, and the marks that we put on it
    gke_api        the calls, with manners
    gke_wire       what we read of the answers
    gke_reports    Job and pod as a report: a reclaim told from a failure
    gke_jobs       submit, describe, end
    gke_watch      all runs of a region by two watch streams

Clusters are to be of Kubernetes 1.31 or later: from then on a Job is not told to be over while a
container of it runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from activities.compute.gke_api import POLITE, ClusterApi, Manners
from activities.compute.gke_cluster import ClusterEndpoint, GkeCluster, TokenSource
from activities.compute.gke_jobs import RegionJobs
from activities.compute.gke_watch import RegionWatch
from domain.errors import UnknownRegion
from domain.job import RunReport, RunSpec
from domain.ports import ChangeBatch


class Gke:
    """A ``ComputeBackend`` of GKE clusters. Use and close it in one event loop.

    Where a cluster does not serve us for longer than a call's patience, every method but ``watch``
    raises ``ComputeUnavailable``; ``watch`` gives signs of life and goes on when it is back.
    """

    def __init__(
        self,
        clusters: Sequence[GkeCluster],
        endpoints: ClusterEndpoint,
        tokens: TokenSource,
        manners: Manners = POLITE,
    ) -> None:
        """Hold one cluster a region; nothing is asked yet."""
        self._regions = {
            cluster.region: RegionJobs(ClusterApi(cluster, endpoints, tokens, manners))
            for cluster in clusters
        }

    def name_in(self, region: str) -> str:
        """As watchers and ledger events name it, in every region."""
        del region
        return "gke"

    async def aclose(self) -> None:
        """Close all connections."""
        for jobs in self._regions.values():
            await jobs.api.aclose()

    async def submit(self, spec: RunSpec) -> None:
        """Start a run once.

        Raises:
            SpecConflict: the name is taken by a run of another specification.
            RunRefused: the cluster does not take it as it is.
        """
        await self._of(spec.region).submit(spec)

    async def describe(self, region: str, run: str) -> RunReport:
        """A run's state, by its Job and pod."""
        return await self._of(region).describe(run)

    async def terminate(self, region: str, run: str, reason: str) -> None:
        """Ask a run to end; what was never submitted never starts."""
        await self._of(region).terminate(run, reason)

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        """Batches of changes from ``cursor`` on."""
        async with aclosing(RegionWatch(self._of(region)).batches(cursor)) as batches:
            async for batch in batches:
                yield batch

    def _of(self, region: str) -> RegionJobs:
        try:
            return self._regions[region]
        except KeyError:
            raise UnknownRegion(region, self._regions) from None
