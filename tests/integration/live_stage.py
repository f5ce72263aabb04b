"""The product on real adapters, the fakes of both providers, and a server that skips time.

All is the product's but for compute, which follows a script: workflows and workers on Temporal,
the signal feed that the settings wire, HTTP, SQLite. The providers' time and that of their circuit
breakers follow the server's, so hours pass at once. The time-skipping server has no schedules: a
test says when a refresh takes place, and starts the workflow that the schedule would start.

The grid is made so that what a decision compared shows in the region that it chose: by average the
cleanest is Paris, by marginal Frankfurt, and the cheapest is Stockholm (so it is by the yearly
figures too). Every sixth hour, from the third on, the grid is half as dirty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import Worker

from activities.carbon.api import open_client
from domain.decision_record import inputs_of, placement_of
from domain.forecast import Signal
from domain.job import Placement
from domain.ledger import EventKind
from domain.messages import JobResult, RefreshReport
from domain.placement import decide
from domain.policy import Policy
from domain.steps import Queue
from tests.activities.carbon.loopback import QUICK, TLS
from tests.servers import carbon_grid
from tests.servers.carbon import CarbonServer
from tests.servers.carbon_electricity_maps import KEY
from tests.servers.carbon_faults import Kind
from tests.servers.carbon_watttime import PASSWORD, USER
from tests.workflows.grid import ScriptedGrid
from tests.workflows.harness import NEWS_QUEUE, NewsworthyCompute, Stage, time_skipping
from tests.workflows.news import NewsOfRun
from workers.process import running
from workers.sections import (
    ElectricityMapsSettings,
    SignalSettings,
    WattTimeSettings,
    WorkerSettings,
)
from workers.settings import Settings
from workers.wiring import build
from workflows.signals import RefreshSignals

HOUR = timedelta(hours=1)
AVERAGE = {"DE": 400.0, "FR": 50.0, "SE-SE3": 300.0}
MARGINAL = {"DE": 100.0, "FR": 700.0, "SE-SE3": 790.0}
CLEAN_HOUR = 3
"""Of every six; a stage begins with the first."""

REFRESHED_EVERY = timedelta(minutes=20)
"""Well within what policy allows a forecast."""


def half_as_dirty_every_sixth_hour(zone: str, signal: Signal, at: datetime) -> float:
    """The grid behind both fakes."""
    levels = AVERAGE if signal is Signal.AVERAGE else MARGINAL
    return levels[zone] * (0.5 if at.hour % 6 == CLEAN_HOUR else 1.0)


@asynccontextmanager
async def live_stage(folder: Path, policy: Policy) -> AsyncIterator[LiveStage]:
    """A fresh server, the fakes and the product's workers while the block runs."""
    async with time_skipping() as env:
        start = (await env.get_current_time()).replace(minute=0, second=0, microsecond=0)
        async with CarbonServer(start) as carbon:
            with pytest.MonkeyPatch.context() as patch:
                _follow_the_fakes(patch, carbon)
                compute = NewsworthyCompute(client=env.client)
                parts = replace(build(_settings(folder, policy, carbon)), compute=compute)
                news = Worker(env.client, task_queue=NEWS_QUEUE, workflows=[NewsOfRun])
                async with running(env.client, parts), news:
                    yield LiveStage(env, parts, compute, ScriptedGrid(), start, carbon)


def _follow_the_fakes(patch: pytest.MonkeyPatch, carbon: CarbonServer) -> None:
    """Keys of theirs, their grid, quick retries, and breakers that go by their time."""
    patch.setenv("ELECTRICITY_MAPS_API_KEY", KEY)
    patch.setenv("WATTTIME_USER", USER)
    patch.setenv("WATTTIME_PASSWORD", PASSWORD)
    patch.setattr(carbon_grid, "g_per_kwh", half_as_dirty_every_sixth_hour)
    patch.setattr("workers.signal_feed.open_client", partial(open_client, QUICK, tls=TLS))
    clock = SimpleNamespace(time=lambda: carbon.clock().timestamp())
    patch.setattr("purgatory.domain.model.time", clock)


def _settings(folder: Path, policy: Policy, carbon: CarbonServer) -> Settings:
    file = folder / "policy.json"
    file.write_bytes(policy.canonical())
    return Settings(
        state_dir=folder / "state",
        policy=file,
        signals=SignalSettings(
            source="live",
            # Every refresh brings the past too.
            past_every=timedelta(minutes=5),
            electricity_maps=ElectricityMapsSettings(
                base_url=carbon.electricity_maps_url, requests_per_s=1000
            ),
            # The limiter goes by real time, of which the hours here take next to none.
            watttime=WattTimeSettings(
                base_url=carbon.watttime_url, requests_per_5_minutes=1_000_000
            ),
        ),
        worker=WorkerSettings(graceful_shutdown=timedelta(0)),
    )


@dataclass(frozen=True)
class LiveStage(Stage):
    """A stage whose signals come over HTTP; its scripted grid is not asked."""

    carbon: CarbonServer

    async def refresh(self) -> RefreshReport:
        """One refresh now, by the workflow that the schedule starts."""
        self.carbon.clock.frozen = await self.env.get_current_time()
        with self.env.auto_time_skipping_disabled():
            report: RefreshReport = await self.client.execute_workflow(
                RefreshSignals.run, id="refresh-signals", task_queue=Queue.SIGNALS
            )
        return report

    def only_down(self, *providers: str) -> None:
        """From now on these answer every request with 503, and the others well."""
        self.carbon.faults.clear()
        for provider in providers:
            self.carbon.faults.add(Kind.STATUS, status=503, provider=provider)

    async def planned(self, name: str) -> WorkflowHandle[Any, Any]:
        """Submit a job that may take ten hours from now, and wait for its first plan."""
        now = await self.env.get_current_time()
        job = await self.submit(self.manifest(now + 10 * HOUR - self.start, name=name))
        await self.until(job, lambda status: status.placement is not None)
        return job

    async def finished(self, job: WorkflowHandle[Any, Any], *, refreshes: bool = True) -> JobResult:
        """The job's outcome; time passes until then, and little longer, with refreshes or not."""
        while (await job.describe()).status is WorkflowExecutionStatus.RUNNING:
            await self.env.sleep(REFRESHED_EVERY)
            if refreshes:
                await self.refresh()
        with self.env.auto_time_skipping_disabled():
            return await self.sdk(job).wait()

    async def fresh(self, signal: Signal) -> dict[str, str]:
        """Zone -> who made its forecast, of those that a decision may trust now."""
        now, policy = await self.env.get_current_time(), self.parts.policy
        return {
            item.zone: item.provider
            for item in self.parts.signals.forecasts()
            if item.signal is signal and now - item.issued_at <= policy.max_age(item.provider)
        }

    def placements(self, name: str) -> list[Placement]:
        """What each decision of a job chose, as its ledger lines have it."""
        return [placement_of(event.data) for event in self.events(EventKind.DECISION, name)]

    def weighed(self, name: str) -> list[dict[str, str | None]]:
        """Of each decision, taken again from its recorded inputs: region -> by whose forecast its
        cells were scored, or ``None`` by cost alone. Regions that were left out are missing.
        """
        found = []
        for event in self.events(EventKind.DECISION, name):
            decision = decide(inputs_of(event.data, self.parts.ledger.blobs))
            outlook, places = decision.cells.outlook, decision.cells.rows.places
            scored = {option.region for option in decision.options if option.score is not None}
            found.append(
                {
                    place.region: None if outlook is None else outlook.provider(row)
                    for row, place in enumerate(places)
                    if place.region in scored
                }
            )
        return found
