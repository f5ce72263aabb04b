"""Fences in a file: several connections are several processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from activities.compute.aws_batch_fence_sqlite import SqliteFence
from tests.contracts.run_fence import REGION, RUN, RunFenceContract, claim


@pytest.fixture
def fence(tmp_path: Path) -> Iterator[SqliteFence]:
    fence = SqliteFence(tmp_path / "fences.db")
    yield fence
    fence.close()


class TestSqliteFence(RunFenceContract):
    pass


def test_processes_share_the_file(tmp_path: Path) -> None:
    """One of them holds the run, and all see it; so does whoever opens the file later."""
    fences = [SqliteFence(tmp_path / "fences.db") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        rows = threads.map(lambda n: fences[n].claim(REGION, RUN, claim(f"worker-{n}")), range(4))
    holders = {row.holder for row in rows}
    for fence in fences:
        fence.close()
    later = SqliteFence(tmp_path / "fences.db")
    row = later.read(REGION, RUN)
    later.close()
    assert row is not None
    assert {row.holder} == holders
