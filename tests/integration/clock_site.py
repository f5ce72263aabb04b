"""A fleet's signal plane on this machine, and the clocks that refresh it, each as it runs.

The providers are fakes over HTTP whose time stands still, so that every clock is given the same.
What else there is, settings say: they stand in the environment, where each clock finds them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from temporalio.testing import ActivityEnvironment

from activities.carbon.watttime import OBSERVED
from domain.forecast import Signal
from domain.ports import SignalHistory, SignalStore
from tests.servers.carbon import CarbonServer
from tests.servers.carbon_electricity_maps import KEY
from tests.servers.carbon_watttime import PASSWORD, USER
from workers.wiring import load_parts

ROOT = Path(__file__).parents[2]
LOWTIDE = Path(sys.executable).with_name("lowtide")
STEP, DAY = timedelta(minutes=5), timedelta(days=1)
REGIONS = ("aws:eu-central-1", "aws:eu-north-1", "aws:eu-west-3")
ZONES = ("DE", "FR", "SE-SE3")
"""Where these stand."""
MARGIN = timedelta(minutes=10)
"""What a window of the providers moves by while a test runs, at most."""

POLICY = """
version: clocks
weights: {carbon: 1, cost: 0}
steering_signal: average
residency: {eu: {countries: [DE, FR, SE]}}
regions:
"""

CONTAINER = """
import gc, json, sys
import psutil
sys.path.insert(0, sys.argv[1])
import handler
for _ in range(int(sys.argv[2])):
    print(json.dumps(handler.handle({"id": "of an event"}, None)))
    gc.collect()
    assert not psutil.Process().net_connections(), "a connection is left open"
"""
"""What Lambda's runtime does with our handler; and nothing may be left open in between."""

Points = dict[tuple[str, str, datetime], float]


class Providers(CarbonServer):
    """Both providers, who may let nobody in before so many have come."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self._awaited = 0
        self._opened = asyncio.Event()

    def wait_for(self, clocks: int) -> None:
        """The next logins are answered when there are so many."""
        self._awaited = clocks
        self._opened.clear()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/login"):
            self._awaited -= 1
            if self._awaited <= 0:
                self._opened.set()
            await self._opened.wait()
        return await super()._serve(request)


@dataclass(frozen=True)
class Done:
    """A clock's process that has ended."""

    code: int
    out: str
    err: str

    def report(self) -> dict[str, Any]:
        """What it brought, of one that must have gone well."""
        [found] = self.reports()
        return found

    def reports(self) -> list[dict[str, Any]]:
        """What each of its refreshes brought."""
        assert self.code == 0, self
        decoder, left, found = json.JSONDecoder(), self.out.strip(), []
        while left:
            report, end = decoder.raw_decode(left)
            found.append(report)
            left = left[end:].lstrip()
        return found


async def run(*command: str | Path, **options: Any) -> Done:
    """A process, to its end."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, **options)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def cron_job(*arguments: str, **options: Any) -> Done:
    """The command that the CronJob runs."""
    return await run(LOWTIDE, "refresh", *arguments, **options)


async def function(times: int = 1, **options: Any) -> Done:
    """The Lambda function in a container of its own, invoked so often."""
    handler = str(ROOT / "infra" / "lambda")
    return await run(sys.executable, "-c", CONTAINER, handler, str(times), **options)


async def schedule() -> dict[str, Any]:
    """The activity of the schedule in Temporal, in a worker that has just started: this process."""
    parts = load_parts()
    worker = ActivityEnvironment()
    worker.info = replace(worker.info, started_time=datetime.now(UTC))
    try:
        report = await worker.run(parts.refresher.refresh_signals)
    finally:
        await parts.close()
        parts.signals.close()  # type: ignore[attr-defined]
    found: dict[str, Any] = report.model_dump(mode="json")
    return found


def policy(file: Path, regions: Iterable[str] = REGIONS) -> str:
    """The path of a policy that enables these regions."""
    rows = (f"  {region}: {{on_demand: {{vcpus: 10}}}}\n" for region in regions)
    file.write_text(POLICY + "".join(rows))
    return str(file)


def live(providers: CarbonServer, folder: Path) -> dict[str, str]:
    """Settings: these providers, their past with every refresh, and a state folder."""
    return {
        "LOWTIDE_POLICY": policy(folder / "policy.yaml"),
        "LOWTIDE_STATE_DIR": str(folder / "state"),
        "LOWTIDE_LOG_LEVEL": "error",
        "LOWTIDE_SIGNALS__SOURCE": "live",
        "LOWTIDE_SIGNALS__HORIZON_HOURS": "24",
        "LOWTIDE_SIGNALS__PAST_EVERY": "5m",
        "LOWTIDE_SIGNALS__ELECTRICITY_MAPS__BASE_URL": providers.electricity_maps_url,
        "LOWTIDE_SIGNALS__ELECTRICITY_MAPS__REQUESTS_PER_S": "1000",
        "LOWTIDE_SIGNALS__WATTTIME__BASE_URL": providers.watttime_url,
    }


KEYS = {"ELECTRICITY_MAPS_API_KEY": KEY, "WATTTIME_USER": USER, "WATTTIME_PASSWORD": PASSWORD}
"""Of the fakes, for the embedded product."""


@dataclass(frozen=True)
class Facts:
    """What a store holds, as far as it does not hang on the minute of the refresh."""

    forecasts: dict[tuple[str, str], tuple[str, datetime, tuple[float | None, ...]]]
    """(zone, signal) -> who issued it, when, and its values from a given time on."""
    observed: Points


def facts(store: SignalStore, begun: datetime) -> Facts:
    """A store's facts, for a test that began then."""
    return Facts(
        {
            (item.zone, item.signal.value): (
                item.provider,
                item.issued_at,
                tuple(item.at(begun + MARGIN + n * STEP) for n in range(DAY // STEP)),
            )
            for item in store.forecasts()
        },
        points(store, begun),
    )


def points(source: SignalStore | SignalHistory, begun: datetime) -> Points:
    """What was observed, from a little after the first hour that providers are asked for."""
    since = begun - OBSERVED + MARGIN
    return {
        (zone, signal.value, item.start): item.g_per_kwh
        for zone in ZONES
        for signal in Signal
        for item in source.observations(zone, signal, since, datetime.now(UTC))
        if item.start >= since
    }
