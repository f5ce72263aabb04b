"""A backend that takes every run at once and runs none, and how its news come."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import TypeVar

from domain.job import RunReport, RunSpec, RunState
from domain.ports import ChangeBatch

SIGN_OF_LIFE_S = 5.0

NEWS_AFTER_S = 0.5
"""Between submission, beginning and end: long enough that each is heard of on its own."""

T = TypeVar("T")


async def news(submitted: asyncio.Queue[T]) -> AsyncIterator[tuple[RunState, list[T]]]:
    """Batches of what was submitted, as it begins and as it ends; an empty one now and then."""
    while True:
        try:
            batch = [await asyncio.wait_for(submitted.get(), SIGN_OF_LIFE_S)]
        except TimeoutError:
            yield RunState.RUNNING, []
            continue
        while not submitted.empty():
            batch.append(submitted.get_nowait())
        for state in (RunState.RUNNING, RunState.SUCCEEDED):
            await asyncio.sleep(NEWS_AFTER_S)
            yield state, batch


class NullCompute:
    """The ``ComputeBackend`` port, without compute."""

    def __init__(self) -> None:
        """Nothing is submitted yet."""
        self._submitted: dict[str, asyncio.Queue[RunSpec]] = defaultdict(asyncio.Queue)

    def name_in(self, region: str) -> str:
        """The same everywhere."""
        del region
        return "null"

    async def submit(self, spec: RunSpec) -> None:
        """Take it at once."""
        self._submitted[spec.region].put_nowait(spec)

    async def describe(self, region: str, run: str) -> RunReport:
        """It has succeeded, whatever it is."""
        return RunReport(run=run, region=region, workflow_id="", state=RunState.SUCCEEDED)

    async def terminate(self, region: str, run: str, reason: str) -> None:
        """Too late."""

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        """Each run's news, in batches of what came together."""
        del cursor
        async for state, specs in news(self._submitted[region]):
            yield ChangeBatch(tuple(_report(spec, state) for spec in specs), "")


def _report(spec: RunSpec, state: RunState) -> RunReport:
    return RunReport(
        run=spec.run, region=spec.region, workflow_id=spec.workflow_id, state=state, exit_code=0
    )
