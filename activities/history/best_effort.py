"""A history beside a refresh: whatever becomes of it, the refresh goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from activities.errors import ActivityFault
from domain.forecast import Observation
from domain.ports import SignalHistory

WITHIN_S = 30.0
"""How long a refresh waits. The requests behind it have shorter limits of their own."""


class BestEffortHistory:
    """Appends to a history within a time, one append at a time, and never raises.

    It has a thread of its own: a history that hangs takes none from the stores. What is not kept is
    told and not tried again; providers repeat their last hours, and so the next refresh does.
    """

    def __init__(self, history: SignalHistory, within_s: float = WITHIN_S) -> None:
        """Hold the history."""
        self._history = history
        self._within_s = within_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._running: Future[str | None] | None = None

    async def put_observations(self, observations: Sequence[Observation]) -> str | None:
        """Why the observations were not kept, or not in time; ``None`` where they were."""
        if self._running is not None and not self._running.done():
            return "skipped: still busy with what an earlier refresh brought"
        self._running = self._thread.submit(self._put, tuple(observations))
        waiting = asyncio.wrap_future(self._running)
        done, _ = await asyncio.wait([waiting], timeout=self._within_s)
        return waiting.result() if done else f"not done after {self._within_s:g} s"

    def _put(self, observations: tuple[Observation, ...]) -> str | None:
        try:
            self._history.put_observations(observations)
        except ActivityFault as fault:
            return str(fault)
        except Exception as error:  # noqa: BLE001 - no fault of a history may fail a refresh
            # Its text is not ours, and may hold what nobody should read.
            return f"failed with {type(error).__name__}"
        return None
