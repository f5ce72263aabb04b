"""One refresh of 300 zones, both signals, against fakes that answer in 50 ms each.

Each fake runs in a process of its own and refuses what is over its published rate; so the
limiter must hold it exactly, and it is what bounds the refresh: twelve requests of a provider in
flight could do 240 a second. What a refresh costs at the providers' real limits follows from the
number of requests, and is printed as the largest number of zones that fits.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from activities.carbon import electricity_maps, watttime_api
from activities.carbon.api import IN_FLIGHT, RateLimit, open_client
from activities.carbon.electricity_maps import ElectricityMaps
from activities.carbon.failover import Failover
from activities.carbon.questions import BUDGET_S, Pace
from activities.carbon.watttime import WattTime
from activities.carbon.watttime_api import WattTimeApi
from activities.refresh import Signals
from activities.stores.sqlite import SqliteStore
from domain.forecast import Signal
from domain.ports import SecretName
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME
from tests.servers.carbon_electricity_maps import KEY
from tests.servers.carbon_watttime import PASSWORD, USER

ZONES = tuple(f"SYN-{n:03d}" for n in range(300))
HORIZON_HOURS = 24
ANSWER_MS = 50
PER_S = 200
"""Each fake's published rate."""
GOAL_S = 5.0


class _Secrets:
    """The fakes' own."""

    values: Mapping[SecretName, str] = {
        SecretName.ELECTRICITY_MAPS_KEY: KEY,
        SecretName.WATTTIME_USER: USER,
        SecretName.WATTTIME_PASSWORD: PASSWORD,
    }

    def read(self, name: SecretName) -> str:
        """One of them."""
        return self.values[name]


@contextmanager
def fake(provider: str) -> Iterator[Mapping[str, str]]:
    """One provider's fake, in a process of its own, while the block runs; yields its addresses."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.carbon", "--latency-ms", str(ANSWER_MS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        urls = json.loads(process.stdout.readline())
        limit = {"limits": {provider: [PER_S, 1.0]}}
        httpx.patch(urls["control"], json=limit).raise_for_status()
        yield urls
    finally:
        process.terminate()
        process.wait(timeout=10)


async def measure(averages: Mapping[str, str], marginals: Mapping[str, str], folder: Path) -> None:
    """The first refresh of a process, and one after it."""
    store = SqliteStore(folder / "lowtide.db")
    async with open_client() as client:
        provider = failover(client, averages[ELECTRICITY_MAPS], marginals[WATTTIME])
        before = 0
        for what in ("first of a process", "every one after"):
            begun, busy = time.perf_counter(), time.process_time()
            report = await Signals(provider, store, ZONES).refresh(datetime.now(UTC))
            took, busy = time.perf_counter() - begun, time.process_time() - busy
            seen = [await counters(urls["control"]) for urls in (averages, marginals)]
            requests = sum(sum(item["requests"].values()) for item in seen)
            print(
                f"{what:>20}: {took:5.2f} s (goal {GOAL_S:g} s), {busy:.2f} s of one core,"
                f" {report.forecasts} forecasts, {len(report.refused)} refused,"
                f" {requests - before} requests, {sum(item['over_limit'] for item in seen)} over"
                f" the limit, at most {[item['max_connections'] for item in seen]} connections"
            )
            before = requests


def failover(client: httpx.AsyncClient, average_url: str, marginal_url: str) -> Failover:
    """Both providers at their published rate."""
    rate = RateLimit.within(PER_S, 1.0)
    account = WattTimeApi(client, _Secrets(), base_url=marginal_url, limit=rate)
    regions = {zone: zone for zone in ZONES}
    return Failover(
        {
            Signal.MARGINAL: (
                WattTime(account, Signal.MARGINAL, regions, horizon_hours=HORIZON_HOURS),
            ),
            Signal.AVERAGE: (
                ElectricityMaps(
                    client,
                    _Secrets(),
                    base_url=average_url,
                    limit=rate,
                    horizon_hours=HORIZON_HOURS,
                ),
            ),
        }
    )


async def counters(url: str) -> dict[str, Any]:
    """What a fake counted, by a client of its own: the shared one has manners."""
    async with httpx.AsyncClient() as client:
        seen: dict[str, Any] = (await client.get(url)).json()
        return seen


def zones_that_fit(rate: RateLimit, forecast_requests: int) -> int:
    """The most zones whose forecasts, and a slice's history, fit in ``BUDGET_S``."""
    return int((rate.burst + rate.per_s * BUDGET_S) / (forecast_requests + 1 / Pace().slots))


def main() -> None:
    """Print what a refresh takes, and what fits."""
    print(
        f"{len(ZONES)} zones, both signals, {HORIZON_HOURS} h ahead; answers in {ANSWER_MS} ms,"
        f" published rate {PER_S}/s each, {IN_FLIGHT} connections to each host"
    )
    with (
        fake(ELECTRICITY_MAPS) as averages,
        fake(WATTTIME) as marginals,
        tempfile.TemporaryDirectory() as folder,
    ):
        asyncio.run(measure(averages, marginals, Path(folder)))
    print(
        f"at the providers' real limits, zones that fit in the {BUDGET_S:g} s that a provider has"
        " of a refresh's 4 minutes:"
    )
    for name, rate, requests, when in (
        ("WattTime", watttime_api.RATE, 1, ""),
        ("Electricity Maps", electricity_maps.RATE, 1, ""),
        ("Electricity Maps", electricity_maps.RATE, 2, " in the first refresh of a process"),
    ):
        fit = zones_that_fit(rate, requests)
        print(f"{name:>20}: {fit:5} at {rate.per_s:g}/s{when}")


if __name__ == "__main__":
    main()
