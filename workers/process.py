"""The worker process: every queue, one client, a graceful end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities.decisions import Decisions
from activities.manifests import Manifests
from activities.records import Records
from activities.runs import Runs
from activities.settle import Settle
from activities.watch import Watch
from domain.steps import Queue
from workers.health import health_endpoint
from workers.parts import Parts
from workers.registration import (
    register_schedules,
    register_search_attributes,
    schedule_prices,
    start_watchers,
)
from workflows.job import CarbonAwareJob
from workflows.prices import RefreshPrices
from workflows.settlement import SettleLedger
from workflows.signals import RefreshSignals
from workflows.watch import WatchRegion

ACTIVITIES_AT_ONCE = 50
"""For each queue; a decision takes milliseconds, a submission some hundreds of them."""


async def set_up(client: Client, parts: Parts) -> None:
    """Register with Temporal what jobs need, and start the watchers."""
    await register_search_attributes(client)
    settings = parts.settings
    await register_schedules(client, settings.refresh_every, settings.settle_every)
    is_live = settings.price_feed.kind == "live"
    await schedule_prices(client, settings.prices_every if is_live else None)
    regions = sorted(parts.policy.regions)
    await start_watchers(client, {region: parts.compute.name_in(region) for region in regions})


@asynccontextmanager
async def running(client: Client, parts: Parts) -> AsyncIterator[None]:
    """Poll every queue until the block ends, then finish or hand back what is running."""
    polling = workers(client, parts)
    settings = parts.settings.worker
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.close)
        for worker in polling:
            await stack.enter_async_context(worker)
        if settings.health_port:
            await stack.enter_async_context(
                health_endpoint(settings.health_host, settings.health_port, client, polling)
            )
        stack.push_async_callback(_shut_down, polling)
        yield


async def _shut_down(polling: tuple[Worker, ...]) -> None:
    """All at once: one after the other, their times of grace would add up past a pod's."""
    await asyncio.gather(*(worker.shutdown() for worker in polling))


def workers(client: Client, parts: Parts) -> tuple[Worker, ...]:
    """One worker a queue. Rate limits hold for a whole queue, so dispatch stands alone."""
    settings = parts.settings.worker
    grace = settings.graceful_shutdown
    manifests = Manifests(parts.ledger, client)
    decisions = Decisions(parts.world, parts.ledger, parts.room, manifests)
    records = Records(parts.ledger)
    runs = Runs(parts.compute, parts.world, parts.ledger, manifests)
    settle = Settle(parts.ledger, parts.signals, parts.room, parts.documents)
    watch = Watch(parts.compute, client)
    run_steps: list[Callable[..., Any]] = [runs.dispatch_run, runs.describe_run, runs.terminate_run]
    return (
        Worker(
            client,
            task_queue=Queue.JOBS,
            workflows=[CarbonAwareJob],
            max_cached_workflows=settings.max_cached_workflows,
            graceful_shutdown_timeout=grace,
            deployment_config=deployment(VersioningBehavior.PINNED),
        ),
        Worker(
            client,
            task_queue=Queue.DECISIONS,
            activities=[
                decisions.admit_job,
                decisions.choose_placement,
                records.record_overrides,
                records.finish_job,
            ],
            max_concurrent_activities=ACTIVITIES_AT_ONCE,
            graceful_shutdown_timeout=grace,
        ),
        Worker(
            client,
            task_queue=Queue.DISPATCH,
            activities=run_steps,
            max_concurrent_activities=ACTIVITIES_AT_ONCE,
            max_task_queue_activities_per_second=settings.dispatches_per_second,
            graceful_shutdown_timeout=grace,
        ),
        Worker(
            client,
            task_queue=Queue.URGENT,
            activities=run_steps,
            max_concurrent_activities=ACTIVITIES_AT_ONCE,
            graceful_shutdown_timeout=grace,
        ),
        Worker(
            client,
            task_queue=Queue.SIGNALS,
            workflows=[RefreshSignals, RefreshPrices, SettleLedger, WatchRegion],
            activities=[
                parts.refresher.refresh_signals,
                parts.price_refresh.refresh_prices,
                settle.settle_ledger,
                watch.watch_region,
            ],
            # Every region's watch holds a slot for good.
            max_concurrent_activities=len(parts.policy.regions) + ACTIVITIES_AT_ONCE,
            graceful_shutdown_timeout=grace,
            deployment_config=deployment(VersioningBehavior.AUTO_UPGRADE),
        ),
    )


def deployment(behaviour: VersioningBehavior) -> WorkerDeploymentConfig | None:
    """Versioning, where the Worker Controller or a person names a deployment and build; else none.

    A versioned worker gets nothing until its version is made current, so dev and compose run
    unversioned. The behaviour stands here and not at each workflow's definition, because the
    server refuses a workflow task that names one on an unversioned worker.
    """
    name = os.environ.get("TEMPORAL_DEPLOYMENT_NAME")
    build = os.environ.get("TEMPORAL_WORKER_BUILD_ID")
    if not name or not build:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(name, build),
        use_worker_versioning=True,
        default_versioning_behavior=behaviour,
    )


async def serve(client: Client, parts: Parts, stop: asyncio.Event) -> None:
    """Set up, work until ``stop``, and shut down gracefully."""
    await set_up(client, parts)
    async with running(client, parts):
        await stop.wait()
