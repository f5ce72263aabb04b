from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleOverlapPolicy,
)
from temporalio.service import RPCError

from domain.steps import Queue
from workers.devserver import dev_server
from workers.registration import (
    PRICES_SCHEDULE,
    REFRESH_SCHEDULE,
    SETTLE_SCHEDULE,
    SearchAttributeConflict,
    register_schedules,
    register_search_attributes,
    schedule_prices,
    start_watchers,
)
from workflows import attributes
from workflows.watch import watch_workflow_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with dev_server(tmp_path_factory.mktemp("temporal")) as server:
        yield server.client


async def registered(client: Client) -> dict[str, int]:
    found = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return dict(found.custom_attributes)


async def described(client: Client, schedule: str) -> ScheduleDescription:
    return await client.get_schedule_handle(schedule).describe()


async def test_search_attributes_are_there_and_may_be_registered_again(client: Client) -> None:
    """All of ours, each with its type, however often a worker starts."""
    await register_search_attributes(client)
    first = await registered(client)
    await register_search_attributes(client)
    assert await registered(client) == first
    wanted = {key.name: int(key.indexed_value_type) for key in attributes.ALL}
    assert wanted.items() <= first.items()


async def test_an_attribute_of_another_type_stops_the_start(client: Client) -> None:
    """It would stick jobs later, one by one; the error names attribute and both types."""
    await register_search_attributes(client)
    name, text = attributes.OUTCOME.name, IndexedValueType.INDEXED_VALUE_TYPE_INT
    request = RemoveSearchAttributesRequest(namespace=client.namespace, search_attributes=[name])
    await client.operator_service.remove_search_attributes(request)
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes={name: text})
    )
    with pytest.raises(SearchAttributeConflict, match=r"Outcome is .*INT in .*needs .*KEYWORD"):
        await register_search_attributes(client)
    await client.operator_service.remove_search_attributes(request)
    await register_search_attributes(client)
    assert (await registered(client))[name] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD


async def test_schedules_skip_overlaps_and_bound_their_catch_up(client: Client) -> None:
    """A refresh that was missed for hours is not made up a hundred times."""
    await register_schedules(client, 5 * MINUTE, 60 * MINUTE)
    for schedule, every in ((REFRESH_SCHEDULE, 5 * MINUTE), (SETTLE_SCHEDULE, 60 * MINUTE)):
        found = (await described(client, schedule)).schedule
        assert found.policy.overlap is ScheduleOverlapPolicy.SKIP
        assert found.policy.catchup_window <= 2 * every
        assert [item.every for item in found.spec.intervals] == [every]
        assert isinstance(found.action, ScheduleActionStartWorkflow)
        assert (found.action.id, found.action.task_queue) == (schedule, Queue.SIGNALS)
        assert not found.state.paused


async def test_the_first_refresh_does_not_wait_for_the_interval(client: Client) -> None:
    """A new schedule runs at once; registering it again does not run it again."""
    await register_schedules(client, 5 * MINUTE, 60 * MINUTE)
    before = (await described(client, REFRESH_SCHEDULE)).info.num_actions
    await register_schedules(client, 5 * MINUTE, 60 * MINUTE)
    assert (await described(client, REFRESH_SCHEDULE)).info.num_actions == before == 1


async def test_a_changed_interval_is_taken_over(client: Client) -> None:
    """Settings hold from the next start of a worker."""
    await register_schedules(client, 5 * MINUTE, 60 * MINUTE)
    await register_schedules(client, 7 * MINUTE, 60 * MINUTE)
    found = (await described(client, REFRESH_SCHEDULE)).schedule
    assert [item.every for item in found.spec.intervals] == [7 * MINUTE]
    assert found.policy.overlap is ScheduleOverlapPolicy.SKIP


async def test_prices_are_refreshed_where_they_are_live(client: Client) -> None:
    """At once and then on schedule; with the table alone the schedule ends, or never was."""
    await schedule_prices(client, None)
    await schedule_prices(client, 60 * MINUTE)
    found = await described(client, PRICES_SCHEDULE)
    assert found.info.num_actions == 1
    assert found.schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert [item.every for item in found.schedule.spec.intervals] == [60 * MINUTE]
    assert isinstance(found.schedule.action, ScheduleActionStartWorkflow)
    assert found.schedule.action.workflow == "RefreshPrices"
    assert found.schedule.action.task_queue == Queue.SIGNALS
    await schedule_prices(client, None)
    with pytest.raises(RPCError, match="not found"):
        await described(client, PRICES_SCHEDULE)


async def test_one_watcher_a_region_under_its_own_id(client: Client) -> None:
    """Every worker starts them all; those that run are left alone."""
    regions = ["aws:eu-north-1", "gcp:europe-west1"]
    ids = [watch_workflow_id("local", region) for region in regions]
    await start_watchers(client, dict.fromkeys(regions, "local"))
    runs = [(await client.get_workflow_handle(item).describe()).run_id for item in ids]
    await start_watchers(client, dict.fromkeys([*regions, "aws:eu-west-3"], "local"))
    again = [(await client.get_workflow_handle(item).describe()).run_id for item in ids]
    assert runs == again
    assert len(set(ids)) == 2
