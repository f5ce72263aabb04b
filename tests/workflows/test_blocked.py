"""Runs that stay queued, and whose backend says why: moved while that helps, else failed."""

from __future__ import annotations

from datetime import timedelta

from domain.capacity import CapacityType
from domain.job import Blocked, Outcome
from domain.ledger import EventKind
from tests.scripted_compute import Act
from tests.workflows.harness import Stage

DAY = timedelta(hours=24)
FULL = Act(queued=timedelta(days=30), blocked=Blocked.CAPACITY)
NEVER = Act(queued=timedelta(days=30), blocked=Blocked.MISCONFIGURED)


async def test_a_run_that_never_starts_there_is_moved_at_once(stage: Stage) -> None:
    """Terminated with the reason, confirmed, and planned anew elsewhere: hours are not waited."""
    stage.compute.acts = (NEVER, Act())
    result = await stage.ended(await stage.submit(stage.manifest(DAY)))
    stuck, moved = stage.compute.specs
    assert stuck.region != moved.region
    assert stage.compute.submitted_at[moved.run] < stage.at(minutes=10)
    assert stage.kinds() == [
        *("plan", "dispatch", "attempt", "fallback", "dispatch", "attempt", "completion")
    ]
    assert result.deadline_met


async def test_what_can_start_nowhere_fails_with_the_reason(stage: Stage) -> None:
    """Every legal region said so: going round would never end."""
    stage.compute.acts = (NEVER,)
    result = await stage.ended(await stage.submit(stage.manifest(DAY)))
    regions = [spec.region for spec in stage.compute.specs]
    assert set(regions) == set(stage.parts.policy.legal_regions("eu", stage.parts.catalogue))
    assert len(regions) == len(set(regions)) + 1
    assert result.outcome is Outcome.FAILED
    assert "it starts nowhere: scripted: misconfigured" in result.message


async def test_lost_capacity_is_looked_for_in_each_region_once(stage: Stage) -> None:
    """Then it waits where it is, and goes on-demand in time: the deadline is a wall."""
    regions = len(stage.parts.policy.legal_regions("eu", stage.parts.catalogue))
    stage.compute.acts = (FULL,) * (regions + 1) + (Act(),)
    result = await stage.ended(await stage.submit(stage.manifest(DAY)))
    *full, ran = stage.compute.specs
    assert len({spec.region for spec in full}) == regions
    assert ran.capacity_type is CapacityType.ON_DEMAND
    assert stage.compute.submitted_at[ran.run] > stage.at(hours=12)
    assert result.outcome is Outcome.SUCCEEDED
    assert result.deadline_met
    first, *_ = stage.events(EventKind.ATTEMPT)
    assert first.data["report"]["state"] == "terminated"


async def test_capacity_that_comes_back_is_used(stage: Stage) -> None:
    """A run that was blocked and starts after all is left alone."""
    stage.compute.acts = (FULL, Act(queued=timedelta(minutes=30)))
    result = await stage.ended(await stage.submit(stage.manifest(DAY)))
    assert len(stage.compute.specs) == 2
    assert result.deadline_met
