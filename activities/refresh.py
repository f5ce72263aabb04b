"""The refresh of carbon signals. Idempotent: several clocks may call it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from temporalio import activity

from domain.messages import RefreshReport
from domain.ports import SignalProvider, SignalStore
from domain.steps import Step


async def refresh(
    provider: SignalProvider, store: SignalStore, zones: Sequence[str], now: datetime
) -> RefreshReport:
    """Fetch every zone's newest series and store them."""
    answer = await provider.fetch(zones, now)
    await asyncio.to_thread(store.put_forecasts, answer.forecasts)
    await asyncio.to_thread(store.put_observations, answer.observations)
    return RefreshReport(
        forecasts=len(answer.forecasts),
        observations=len(answer.observations),
        refused=tuple(f"{item.zone} {item.signal}: {item.reason}" for item in answer.refusals),
    )


class Signals:
    """The activity ``refresh_signals``."""

    def __init__(self, provider: SignalProvider, store: SignalStore, zones: Sequence[str]) -> None:
        """Hold provider, store and the zones that the policy's regions stand in."""
        self._provider = provider
        self._store = store
        self._zones = tuple(zones)

    @activity.defn(name=Step.REFRESH_SIGNALS)
    async def refresh_signals(self) -> RefreshReport:
        """One refresh of every zone."""
        return await refresh(self._provider, self._store, self._zones, activity.info().started_time)
