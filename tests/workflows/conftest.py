"""One stage a test; whatever the test did, its ledger must verify afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.policy import Policy
from tests.workflows.harness import Stage, real_time, shipped_policy, staged, time_skipping


@pytest.fixture
def policy() -> Policy:
    return shipped_policy()


@pytest.fixture
async def stage(tmp_path: Path, policy: Policy) -> AsyncIterator[Stage]:
    async with time_skipping() as env, staged(env, tmp_path, policy) as stage:
        yield stage
        stage.assert_ledger_holds()


@pytest.fixture
async def real_stage(tmp_path: Path, policy: Policy) -> AsyncIterator[Stage]:
    """On a dev server, in real time."""
    async with real_time() as env, staged(env, tmp_path, policy) as stage:
        yield stage
        stage.assert_ledger_holds()
