"""The refresh of carbon signals. Idempotent: several clocks may call it at once."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from temporalio import activity

from activities.heartbeat import beating
from activities.history.best_effort import BestEffortHistory
from domain.messages import RefreshReport
from domain.ports import Refusal, SignalProvider, SignalStore
from domain.steps import Step

REASONS_TOLD = 20
ZONES_TOLD = 5
"""Of one reason. A report stands in workflow history: it tells what is wrong, not every zone."""

_LOG = logging.getLogger(__name__)


class Signals:
    """The refresh, and the activity ``refresh_signals``."""

    def __init__(
        self,
        provider: SignalProvider,
        store: SignalStore,
        zones: Sequence[str],
        history: BestEffortHistory | None = None,
    ) -> None:
        """Hold what it takes.

        Args:
            provider: who is asked.
            store: where decisions read.
            zones: where the policy's regions stand.
            history: where observations are kept beside the store, for the trend.
        """
        self._provider = provider
        self._store = store
        self._zones = tuple(zones)
        self._history = history

    @activity.defn(name=Step.REFRESH_SIGNALS)
    async def refresh_signals(self) -> RefreshReport:
        """One refresh of every zone, at the time of the attempt."""
        async with beating():
            return await self.refresh(activity.info().started_time)

    async def refresh(self, now: datetime) -> RefreshReport:
        """Fetch every zone's newest series and store them."""
        answer = await self._provider.fetch(self._zones, now)
        await asyncio.to_thread(self._store.put_forecasts, answer.forecasts)
        await asyncio.to_thread(self._store.put_observations, answer.observations)
        lost = None
        if self._history is not None and answer.observations:
            lost = await self._history.put_observations(answer.observations)
        refused = _by_reason(answer.refusals)
        for told in (*refused, *([f"history: {lost}"] if lost else [])):
            _LOG.warning("refresh: %s", told)
        return RefreshReport(
            forecasts=len(answer.forecasts),
            observations=len(answer.observations),
            refused=refused,
            history=lost,
        )


def _by_reason(refusals: Sequence[Refusal]) -> tuple[str, ...]:
    """A line for each reason, those that concern most zones first."""
    zones: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in refusals:
        zones[item.signal.value, item.reason].append(item.zone)
    most_first = sorted(zones.items(), key=lambda item: -len(item[1]))
    lines = [
        f"{_some([*dict.fromkeys(names)])} {signal}: {reason}"
        for (signal, reason), names in most_first
    ]
    more = len(lines) - REASONS_TOLD
    return (*lines[:REASONS_TOLD], *([f"{more} more reasons"] if more > 0 else []))


def _some(zones: Sequence[str]) -> str:
    more = len(zones) - ZONES_TOLD
    return ", ".join(zones[:ZONES_TOLD]) + (f" and {more} more zones" if more > 0 else "")
