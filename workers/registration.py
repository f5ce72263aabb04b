"""What must exist in Temporal before jobs run: search attributes, schedules, watchers.

Each step is idempotent: every worker does all of it at start.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from domain.messages import WatchInput
from domain.steps import Queue
from workflows import attributes
from workflows.prices import RefreshPrices
from workflows.settlement import SettleLedger
from workflows.signals import RefreshSignals
from workflows.watch import WatchRegion, watch_workflow_id

REFRESH_SCHEDULE = "refresh-signals"
PRICES_SCHEDULE = "refresh-prices"
SETTLE_SCHEDULE = "settle-ledger"


class SearchAttributeConflict(RuntimeError):
    """The namespace has a search attribute of ours with another type."""


async def register_search_attributes(client: Client) -> None:
    """Create what is missing; refuse to start on a conflict, which would stick jobs later."""
    found = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = {}
    for key in attributes.ALL:
        wanted = IndexedValueType.ValueType(key.indexed_value_type)
        have = found.custom_attributes.get(key.name)
        if have is None:
            missing[key.name] = wanted
        elif have != wanted:
            raise SearchAttributeConflict(
                f"search attribute {key.name} is {IndexedValueType.Name(have)} in namespace"
                f" {client.namespace}; Lowtide needs {IndexedValueType.Name(wanted)}"
            )
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )


async def register_schedules(
    client: Client, refresh_every: timedelta, settle_every: timedelta
) -> None:
    """Create or update the refresh and settlement schedules."""
    await _schedule(
        client,
        REFRESH_SCHEDULE,
        ScheduleActionStartWorkflow(
            RefreshSignals.run,
            id=REFRESH_SCHEDULE,
            task_queue=Queue.SIGNALS,
            execution_timeout=max(timedelta(seconds=30), refresh_every * 0.9),
        ),
        refresh_every,
        "carbon signals; decisions read their age, so a missed refresh is never made up late",
    )
    await _schedule(
        client,
        SETTLE_SCHEDULE,
        ScheduleActionStartWorkflow(SettleLedger.run, id=SETTLE_SCHEDULE, task_queue=Queue.SIGNALS),
        settle_every,
        "observed intensity, ledger roots, room of lost owners",
    )


async def schedule_prices(client: Client, every: timedelta | None) -> None:
    """Create or update the refresh of prices; ``None``: the price table stands alone, so end it."""
    if every is None:
        try:
            await client.get_schedule_handle(PRICES_SCHEDULE).delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return
    await _schedule(
        client,
        PRICES_SCHEDULE,
        ScheduleActionStartWorkflow(
            RefreshPrices.run,
            id=PRICES_SCHEDULE,
            task_queue=Queue.SIGNALS,
            execution_timeout=max(timedelta(seconds=30), every * 0.9),
        ),
        every,
        "prices of compute; a place that nobody told of keeps the last known",
    )


async def _schedule(
    client: Client,
    schedule_id: str,
    action: ScheduleActionStartWorkflow,
    every: timedelta,
    note: str,
) -> None:
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP,
            # The SDK's default of a year would replay a backlog that nobody needs.
            catchup_window=max(timedelta(seconds=10), every * 2),
        ),
        state=ScheduleState(note=note),
    )
    try:
        await client.create_schedule(schedule_id, schedule, trigger_immediately=True)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(schedule_id)
        await handle.update(lambda _: ScheduleUpdate(schedule))


async def start_watchers(client: Client, backends: Mapping[str, str]) -> None:
    """One ``WatchRegion`` for each region, under its fixed id; one that runs is left alone.

    ``backends`` is region -> the name of what serves it.
    """
    for region, backend in backends.items():
        await client.start_workflow(
            WatchRegion.run,
            WatchInput(backend=backend, region=region),
            id=watch_workflow_id(backend, region),
            task_queue=Queue.SIGNALS,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=f"watches {region}",
        )
