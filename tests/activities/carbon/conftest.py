from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from activities.carbon.api import open_client
from tests.activities.carbon.loopback import NOW, QUICK, TLS
from tests.servers.carbon import CarbonServer


@pytest.fixture
async def server() -> AsyncIterator[CarbonServer]:
    async with CarbonServer(NOW) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(QUICK, tls=TLS) as client:
        yield client
