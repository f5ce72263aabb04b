"""The real product but for its compute, on a server that skips time.

    async with time_skipping() as env, staged(env, tmp_path) as stage:
        stage.grid.set("FR", dip(stage.start + timedelta(hours=20), low=10))
        job = await stage.submit(stage.manifest(within=timedelta(hours=30)))
        assert (await job.result()).region == "aws:eu-west-3"

Workflow, activities, placement and SQLite store are the product's. Compute follows a script and
starts nothing; the grid is a function of time. A run's news reaches its job as ``WatchRegion``
would bring it; with ``stage.compute.news_is_lost`` the job's own safety poll must find it.

One environment for each test: after a first workflow has ended, the server's clock leaps to the
end of that workflow's run time-out (ten years) as soon as another result is awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType, IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.prices.refresh import PriceRefresh
from activities.prices.static import StaticPrices
from activities.refresh import Signals
from activities.regret import StoredRegret
from activities.stores.sqlite import SqliteStore
from clients.scheduler import Client as SdkClient
from clients.scheduler import JobHandle
from domain.capacity import CapacityType
from domain.energy import METHODOLOGY
from domain.job import Phase, RunSpec, RunState
from domain.ledger import EventKind, LedgerEvent
from domain.manifest import JobManifest, parse_manifest
from domain.messages import JobInput, JobResult, JobState, JobStatus
from domain.policy import Policy, parse_policy
from domain.ports import ChangeBatch
from domain.prices import parse_prices
from domain.regions import RegionCatalogue, parse_catalogue
from domain.room import hour_of
from domain.steps import Queue
from tests.scripted_compute import ScriptedCompute
from tests.workflows.grid import RefreshedWorld, ScriptedGrid, flat
from tests.workflows.news import News, NewsOfRun
from workers.parts import Parts
from workers.process import running
from workers.registration import register_search_attributes
from workers.sections import WorkerSettings
from workers.settings import POLICIES, Settings
from workers.wiring import verify
from workflows import attributes
from workflows.job import CarbonAwareJob
from workflows.plugin import lowtide_plugin

NEWS_QUEUE = "test-news"
WITHIN_S = 60.0
"""Real seconds that a test waits for a condition."""

FRANKFURT, PARIS, STOCKHOLM = "aws:eu-central-1", "aws:eu-west-3", "aws:eu-north-1"
ZONES = {FRANKFURT: "DE", PARIS: "FR", STOCKHOLM: "SE-SE3"}
AT_HOME = 500.0
"""gCO2eq/kWh everywhere and always, until a test says otherwise: no reason to wait or move."""


@cache
def catalogue() -> RegionCatalogue:
    """The catalogue that ships."""
    return parse_catalogue((POLICIES / "regions.csv").read_text())


@cache
def shipped_policy() -> Policy:
    """The policy that ships, with three of its regions."""
    policy = parse_policy((POLICIES / "default.yaml").read_text(), catalogue())
    return policy.model_copy(update={"regions": {name: policy.regions[name] for name in ZONES}})


@asynccontextmanager
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A fresh time-skipping server, at midnight: a test means the same at any time of the day."""
    async with await WorkflowEnvironment.start_time_skipping(
        plugins=[lowtide_plugin()],
        test_server_existing_path=str(Path(sys.executable).with_name("temporal-test-server")),
    ) as env:
        # The server can only add them: our own registration asks first which there are.
        await env.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=env.client.namespace,
                search_attributes={
                    key.name: IndexedValueType.ValueType(key.indexed_value_type)
                    for key in attributes.ALL
                },
            )
        )
        now = await env.get_current_time()
        await env.sleep(datetime.combine(now.date() + timedelta(days=1), time(), UTC) - now)
        yield env


@asynccontextmanager
async def real_time(*arguments: str) -> AsyncIterator[WorkflowEnvironment]:
    """A fresh dev server, for what the time-skipping one lacks: update with start, the list.

    ``arguments`` go to the server as they are.
    """
    async with await WorkflowEnvironment.start_local(
        plugins=[lowtide_plugin()],
        dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
        dev_server_extra_args=arguments,
    ) as env:
        await register_search_attributes(env.client)
        yield env


@asynccontextmanager
async def staged(
    env: WorkflowEnvironment, state_dir: Path, policy: Policy | None = None
) -> AsyncIterator[Stage]:
    """The product's workers on ``env``, all state in ``state_dir``."""
    compute = NewsworthyCompute(client=env.client)
    grid = ScriptedGrid()
    for zone in ZONES.values():
        grid.set(zone, flat(AT_HOME))
    with SqliteStore(state_dir / "lowtide.db") as store:
        parts = _parts(state_dir, store, compute, grid, policy or shipped_policy())
        news = Worker(env.client, task_queue=NEWS_QUEUE, workflows=[NewsOfRun])
        async with running(env.client, parts), news:
            start = (await env.get_current_time()).replace(microsecond=0)
            if env.supports_time_skipping:
                # However long the workers took to start: the hours of a test are full hours.
                start = start.replace(minute=0, second=0)
            yield Stage(env, parts, compute, grid, start)


def _parts(
    state_dir: Path,
    store: SqliteStore,
    compute: ScriptedCompute,
    grid: ScriptedGrid,
    policy: Policy,
) -> Parts:
    prices = _prices()
    return Parts(
        settings=Settings(
            state_dir=state_dir, worker=WorkerSettings(graceful_shutdown=timedelta(0))
        ),
        policy=policy,
        catalogue=catalogue(),
        signals=store,
        ledger=store,
        room=store,
        refresher=Signals(grid, store, list(ZONES.values())),
        history=store,
        prices=prices,
        price_refresh=PriceRefresh((), prices.prices(datetime.now(UTC)), store, ()),
        documents=store,
        compute=compute,
        world=RefreshedWorld(
            *(grid, store, prices, StoredRegret(store)),
            *(policy, catalogue(), METHODOLOGY, 1.0),
        ),
        close=_nothing_to_close,
    )


async def _nothing_to_close() -> None:
    """The grid is scripted."""


@cache
def _prices() -> StaticPrices:
    files = (POLICIES / "prices.csv", POLICIES / "egress.csv")
    return StaticPrices(parse_prices(*(file.read_text() for file in files)))


@dataclass
class NewsworthyCompute(ScriptedCompute):
    """Tells jobs of their runs, through the real ``watch_region`` step."""

    client: Client | None = None
    news_is_lost: bool = False
    """Whether no watcher tells of anything; to be set before a run is submitted."""
    told: dict[str, RunState] = field(default_factory=dict)
    """The last that each run's job was told of it."""

    async def submit(self, spec: RunSpec) -> None:
        known = spec.run in self.submitted_at
        await super().submit(spec)
        if not known and not self.news_is_lost:
            act = self.acts[min(len(self.specs), len(self.acts)) - 1]
            begins = self.submitted_at[spec.run] + act.queued
            told = [begins, begins + act.after]
            if act.blocked is not None:
                told.insert(0, self.submitted_at[spec.run] + timedelta(minutes=1))
            await self.client.start_workflow(
                NewsOfRun.run,
                News(spec.region, told),
                id=f"news-{spec.run}",
                task_queue=NEWS_QUEUE,
            )

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        del cursor
        now = self.now()
        runs = [spec.run for spec in self.specs if spec.region == region]
        reports = [self.report(run, region, now) for run in runs]
        news = tuple(report for report in reports if self.told.get(report.run) is not report.state)
        yield ChangeBatch(news, now.isoformat())
        self.told |= {report.run: report.state for report in news}


@dataclass(frozen=True)
class Stage:
    """One test's product: submit to it, let time pass, and look at what it did."""

    env: WorkflowEnvironment
    parts: Parts
    compute: NewsworthyCompute
    grid: ScriptedGrid
    start: datetime

    @property
    def client(self) -> Client:
        return self.env.client

    def at(self, hours: float = 0.0, minutes: float = 0.0) -> datetime:
        """An instant after the stage's start."""
        return self.start + timedelta(hours=hours, minutes=minutes)

    def manifest(self, within: timedelta = timedelta(hours=30), **fields: Any) -> JobManifest:
        """A one-hour job at home in Frankfurt, to be finished ``within``."""
        return parse_manifest(
            {
                "name": "nightly",
                "image": "busybox",
                "resources": {"vcpus": 4, "memory_gib": 16},
                "deadline": self.start + within,
                "runtime": "1h",
                "p95_runtime": "2h",
                "max_runtime": "4h",
                "residency": "eu",
                "home_region": FRANKFURT,
                **fields,
            }
        )

    async def submit(
        self, manifest: JobManifest | None = None, *, rerun: bool = False, **options: Any
    ) -> WorkflowHandle[CarbonAwareJob, JobResult]:
        """Start the job's workflow as the SDK does, without waiting for its plan."""
        manifest = manifest or self.manifest()
        return await self.client.start_workflow(
            CarbonAwareJob.run,
            JobInput(manifest, JobState(rerun=rerun)),
            id=manifest.workflow_id,
            task_queue=Queue.JOBS,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            memo={attributes.MEMO_MANIFEST_SHA256: manifest.sha256},
            search_attributes=attributes.at_start(manifest),
            static_summary=f"{manifest.job_class}: {manifest.name}",
            **options,
        )

    def sdk(self, job: WorkflowHandle[Any, Any]) -> JobHandle:
        """The job as the SDK gives it."""
        return SdkClient(self.client).job(job.id)

    async def ended(self, job: WorkflowHandle[Any, Any]) -> JobResult:
        """The job's outcome, whatever it is; time is skipped up to it."""
        with contextlib.suppress(WorkflowFailureError):
            await job.result()
        return await self.sdk(job).wait()

    async def timers_fired(self, job: WorkflowHandle[Any, Any]) -> list[datetime]:
        """When each of the job's timers has fired."""
        return [
            event.event_time.ToDatetime(UTC)
            async for event in job.fetch_history_events()
            if event.event_type == EventType.EVENT_TYPE_TIMER_FIRED
        ]

    async def skip_to(self, instant: datetime) -> None:
        """Let time pass until ``instant``; nothing happens where it has passed already."""
        wait = instant - await self.env.get_current_time()
        if wait > timedelta(0):
            await self.env.sleep(wait)

    async def until(
        self, job: WorkflowHandle[Any, Any], seen: Phase | Callable[[JobStatus], bool]
    ) -> JobStatus:
        """The job's status as soon as it is in a phase, or a condition holds; time stands still.

        Raises:
            TimeoutError: with the last status, after ``WITHIN_S`` real seconds.
        """
        holds = (lambda status: status.phase is seen) if isinstance(seen, Phase) else seen
        status = None
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    status = await job.query(CarbonAwareJob.status)
                    if holds(status):
                        return status
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise TimeoutError(f"waited for {seen}; the job's status is {status}") from None

    def events(self, kind: EventKind | None = None, name: str = "nightly") -> list[LedgerEvent]:
        """The job's chain, or its events of one kind."""
        chain = self.parts.ledger.events(f"job-default-{name}")
        return [event for event in chain if kind in {None, event.kind}]

    def kinds(self, name: str = "nightly") -> list[str]:
        """The chain in short: decisions by their reason, overrides by what was asked."""
        return [_in_short(event) for event in self.events(name=name)]

    def room_held(self) -> set[tuple[str, CapacityType]]:
        """Where jobs hold room, at any hour of the fortnight."""
        hours = range(hour_of(self.start), hour_of(self.start + timedelta(days=14)))
        return set(self.parts.room.view(hours, excluding_job="").reserved)

    def assert_ledger_holds(self) -> None:
        """Every chain verifies, every decision is taken again, and closed jobs hold no room."""
        report = verify(self.parts.ledger)
        assert report.holds, "; ".join(map(str, report.faults))
        assert not report.cannot_verify
        assert report.recomputed.get(EventKind.DECISION, 0) == sum(
            event.kind is EventKind.DECISION
            for record in self.parts.ledger.records()
            for event in self.parts.ledger.events(record.job)
        )
        if all(record.outcome for record in self.parts.ledger.records()):
            assert self.room_held() == set(), "closed jobs hold room"


def _in_short(event: LedgerEvent) -> str:
    if event.kind is EventKind.DECISION:
        return event.data["reason"]
    if event.kind is EventKind.OVERRIDE:
        return event.data["kind"] + (" refused" if event.data["refused"] else "")
    return event.kind.value
