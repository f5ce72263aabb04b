"""On fakes of AWS Batch and GKE, whatever happens: in time, once, and in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path

import pytest

from tests.integration.cloud_stack import AWS, GCP, CloudStack, policy
from tests.integration.stack import eventually

WORK_S = 1.5
ENDS_WITHIN_S = 400.0

Moment = Callable[[CloudStack], Awaitable[bool]]


@pytest.mark.slow
async def test_sixty_jobs_outlive_all_trouble(tmp_path: Path) -> None:
    """Reclaims, throttling, lost answers, a region out of reach, and a worker killed between steps:
    each job commits one result, in time, and is charged for all its runs.
    """
    await all_trouble(tmp_path, 60, at_rest, margin_s=80, slack_s=40, outage_s=6)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_five_hundred_jobs_outlive_all_trouble(tmp_path: Path) -> None:
    """The same of many, and the worker is killed amid its steps."""
    await all_trouble(tmp_path, 500, any_moment, margin_s=200, slack_s=120, outage_s=40)


async def all_trouble(
    folder: Path, jobs: int, moment: Moment, *, margin_s: float, slack_s: float, outage_s: float
) -> None:
    """Jobs that are to begin within ``slack_s`` when nothing goes wrong, and what goes wrong."""
    async with CloudStack(folder, policy(margin_s, jobs // 6)) as stack:
        await stack.start_worker()
        stack.trouble(reclaimed=45, throttled=0.05)
        manifests = [
            stack.job(f"sample-{number:03}", WORK_S, within_s=slack_s + margin_s)
            for number in range(jobs)
        ]
        await stack.submitted_in_turn(manifests)
        async with asyncio.TaskGroup() as trouble:
            trouble.create_task(outage(stack, AWS, outage_s))
            trouble.create_task(outage(stack, GCP, outage_s))
            await kill(stack, jobs // 10, moment)
            await kill(stack, jobs // 2, moment)
        async with asyncio.timeout(ENDS_WITHIN_S):
            results = [await stack.client.job(each.workflow_id).wait() for each in manifests]
        assert [result for result in results if not result.deadline_met] == []
        await eventually(stack.are_settled)
        stack.assert_each_committed_once(jobs)
        stack.assert_each_attempt_is_charged()
        reclaims = stack.reclaims()
        assert {"Host", "Your", "TerminationByKubelet:"} <= reclaims.keys(), "each way"
        assert sum(reclaims.values()) >= jobs // 4


async def kill(stack: CloudStack, starts: int, moment: Moment) -> None:
    """Kill -9 the worker once so many runs have begun, and start another."""
    await eventually(partial(have_begun, stack, starts))
    await eventually(partial(moment, stack))
    stack.kill_worker()
    await stack.start_worker()


async def outage(stack: CloudStack, regions: Collection[str], for_s: float) -> None:
    """Put that of these regions out of reach, for a while, in which a run begins first."""
    begun: list[str] = []

    async def has_begun() -> bool:
        begun[:] = [line["region"] for line in stack.told("began") if line["region"] in regions]
        return bool(begun)

    await eventually(has_begun)
    stack.go_down(begun[0])
    await asyncio.sleep(for_s)
    stack.go_down(begun[0], is_down=False)


async def have_begun(stack: CloudStack, starts: int) -> bool:
    return len(stack.told("began")) >= starts


async def at_rest(stack: CloudStack) -> bool:
    return await stack.is_at_rest()


async def any_moment(_: CloudStack) -> bool:
    return True
