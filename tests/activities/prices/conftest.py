from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from activities.prices import ec2_spot
from domain.prices import PriceTable, parse_prices
from tests.servers.aws import CREDENTIALS
from tests.servers.batch import BatchServer
from tests.servers.prices import PriceServer

POLICIES = Path(__file__).parents[3] / "policies"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of nobody; no real account is ever reached with them."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return


@pytest.fixture(scope="session")
def seed() -> PriceTable:
    """The table that ships."""
    files = (POLICIES / "prices.csv", POLICIES / "egress.csv")
    return parse_prices(*(file.read_text() for file in files))


@pytest.fixture
async def ec2(tmp_path: Path) -> AsyncIterator[BatchServer]:
    """EC2's Spot prices."""
    async with BatchServer(tmp_path, runs_processes=False) as server:
        yield server


@pytest.fixture
async def lists() -> AsyncIterator[PriceServer]:
    """AWS's list and Google's catalogue."""
    async with PriceServer() as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Any]:
    """Makes boto3 clients for a server, which are closed in the end."""
    made = []

    def connected(service: str, url: str, region: str) -> Any:
        made.append(ec2_spot.connect(service, region, url))
        return made[-1]

    yield lambda service, url: partial(connected, service, url)
    for client in made:
        client.close()
