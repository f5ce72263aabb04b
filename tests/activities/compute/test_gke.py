"""GKE compute passes the contract, on simulated clusters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.activities.compute.gke_site import GkeSite, gke_site
from tests.contracts.compute import ComputeContract


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[GkeSite]:
    async with gke_site(tmp_path) as site:
        yield site


class TestGke(ComputeContract):
    pass
