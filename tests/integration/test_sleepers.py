"""Thousands of deferred jobs cost a worker no memory: sleepers are evicted, replayed at wake."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from domain.job import Phase
from domain.manifest import JobManifest
from tests.integration.stack import Stack, eventually
from workers.settings import POLICIES

SLEEPERS = 5000
FIRST = 1000
"""By then the cache is full and everything has been used once."""
AT_ONCE = 16
CACHED = 100
GROWTH_MIB = 40.0
"""What 4,000 further sleepers may add; kept in the cache they would take some 280 MiB."""


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_workers_memory_is_flat_over_its_sleepers(tmp_path: Path) -> None:
    """5,000 deferred jobs take no more of it than 1,000, with a cache of 100."""
    async with Stack(
        tmp_path,
        LOWTIDE_WORKER__MAX_CACHED_WORKFLOWS=str(CACHED),
        LOWTIDE_POLICY=str(POLICIES / "default.yaml"),
        LOWTIDE_TRACE__HOUR_S="3600",
        # Evening: the sun is hours away.
        LOWTIDE_TRACE__TRACE_AT="2019-06-04T18:00:00Z",
        LOWTIDE_REFRESH_EVERY="5m",
        LOWTIDE_SETTLE_EVERY="1h",
    ) as stack:
        worker = psutil.Process((await stack.start_worker()).pid)
        memory: dict[int, float] = {}
        for first in range(0, SLEEPERS, FIRST):
            await submit(stack, first, first + FIRST)
            memory[first + FIRST] = worker.memory_info().rss / 2**20

        async def all_wait() -> bool:
            query = f'Phase="{Phase.DEFERRED.value}"'
            return (await stack.client.temporal.count_workflows(query)).count == SLEEPERS

        await eventually(all_wait)
    assert memory[SLEEPERS] <= memory[FIRST] + GROWTH_MIB, memory


async def submit(stack: Stack, first: int, end: int) -> None:
    """Submit jobs that wait, some at once, each with its first plan."""
    deadline = datetime.now(UTC) + timedelta(hours=24)
    numbers = iter(range(first, end))

    async def one_after_another() -> None:
        for number in numbers:
            await stack.client.submit(sleeper(stack, number, deadline))

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


def sleeper(stack: Stack, number: int, deadline: datetime) -> JobManifest:
    return stack.manifest(
        f"sleeper-{number}",
        runtime="30m",
        p95_runtime="40m",
        max_runtime="2h",
        deadline=deadline,
        residency="eu",
    )
