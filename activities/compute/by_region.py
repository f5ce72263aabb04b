"""Several backends as one: each region's runs go to its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from domain.job import RunReport, RunSpec
from domain.ports import ChangeBatch, ComputeBackend


class ComputeByRegion:
    """A ``ComputeBackend`` over those of some regions."""

    def __init__(self, backends: Mapping[str, ComputeBackend]) -> None:
        """Hold each region's backend; one may serve many."""
        self._backends = dict(backends)

    def name_in(self, region: str) -> str:
        """What serves a region."""
        return self._backends[region].name_in(region)

    async def submit(self, spec: RunSpec) -> None:
        """Start a run once, where its region says."""
        await self._backends[spec.region].submit(spec)

    async def describe(self, region: str, run: str) -> RunReport:
        """A run's state."""
        return await self._backends[region].describe(region, run)

    async def terminate(self, region: str, run: str, reason: str) -> None:
        """Ask a run to end."""
        await self._backends[region].terminate(region, run, reason)

    def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        """Batches of one region's changes."""
        return self._backends[region].watch(region, cursor)
