"""Many decisions at once come out as each would alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from domain import batch
from domain.batch import Chosen, decide_many
from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.errors import NoLegalRegion
from domain.forecast import Forecast, Signal
from domain.placement import decide
from domain.room import Reserved, RoomView, hour_of
from tests.domain import brute_force as brute
from tests.domain.generated import batches
from tests.domain.recorded import NOW, make_inputs, make_world, shipped

decidable = batches(most=8).map(lambda jobs: [job for job in jobs if brute.legal_and_able(job)])


def alone(inputs: DecisionInputs) -> Chosen:
    """What ``decide`` says, as a batch tells it."""
    placement = decide(inputs).placement
    return Chosen(
        region=placement.cell.region,
        capacity_type=placement.cell.capacity_type,
        start=placement.cell.start,
        basis=placement.basis,
        carbon_g=placement.estimate.carbon_g(placement.basis),
        cost_usd=placement.estimate.cost_usd,
        score=placement.score,
        fallbacks=placement.fallbacks,
    )


@settings(max_examples=100)
@given(decidable, st.sampled_from([1, 100, 1 << 17]), st.sampled_from([1, 2]))
def test_each_job_gets_what_it_would_get_alone(
    jobs: list[DecisionInputs], cells_at_once: int, threads: int
) -> None:
    """Cell, basis, score, fallbacks and figures to the last digit, however the jobs are cut."""
    with mock.patch.object(batch, "CELLS_AT_ONCE", cells_at_once):
        together = decide_many(jobs, threads=threads)
    for chosen in together:
        event("fallback" if chosen.fallbacks else chosen.basis.value)
    assert together == [alone(job) for job in jobs]


@settings(max_examples=25)
@given(st.lists(decidable, min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_jobs_of_several_worlds_may_come_in_any_order(worlds, order) -> None:
    """Answers stand in the order of the jobs."""
    jobs = [job for jobs in worlds for job in jobs]
    order.shuffle(jobs)
    assert decide_many(jobs) == [alone(job) for job in jobs]


def five_minute_world() -> World:
    """Uneven average intensities of every zone, for 26 hours."""
    base = shipped()
    zones = sorted({base.catalogue.get(region).grid_zone for region in base.policy.regions})
    return make_world(
        *(
            Forecast(
                zone=zone,
                signal=Signal.AVERAGE,
                provider="test",
                methodology="test",
                issued_at=NOW,
                start=NOW,
                step_s=300.0,
                values=tuple(200 + (number * 7919 + step * step) % 331 for step in range(12 * 26)),
            )
            for number, zone in enumerate(zones)
        )
    )


def test_a_large_batch_is_its_decisions() -> None:
    """Hundreds of jobs with their own run times and deadlines fill several arrays at once."""
    first, jobs = make_inputs("first", five_minute_world()), []
    for number in range(400):
        run = timedelta(minutes=7 + number * 37 % 281)
        residency = ("eu", "europe")[number % 2]
        fields = {"runtime": run, "p95_runtime": run * 1.25, "residency": residency}
        manifest = first.manifest.model_copy(update=fields)
        deadline = NOW + timedelta(hours=1 + number * 17 % 25)
        jobs.append(replace(first, manifest=manifest, deadline=deadline))
    chosen = decide_many(jobs, threads=2)
    assert chosen == [alone(job) for job in jobs]
    assert len({item.start for item in chosen}) > 20
    assert 0 < sum(bool(item.fallbacks) for item in chosen) < len(jobs) / 2


def test_jobs_do_not_see_each_other() -> None:
    """All of them may choose the last machine: room is claimed elsewhere."""
    inputs = make_inputs("first", five_minute_world())
    offered = inputs.world.policy.regions
    almost_full = RoomView(
        {
            (region, kind): {
                hour_of(NOW) + hour: Reserved(offered[region].limit(kind).vcpus - 4, 0)
                for hour in range(48)
            }
            for region in offered
            for kind in CapacityType
        }
    )
    inputs = replace(inputs, room=almost_full)
    chosen = decide_many([inputs] * 3)
    assert chosen == [alone(inputs)] * 3
    assert chosen[0].fallbacks == ()


def test_a_job_without_a_legal_region_is_told() -> None:
    """One such job is no decision: the caller admits jobs first."""
    inputs = make_inputs("first", five_minute_world())
    huge = inputs.manifest.resources.model_copy(update={"vcpus": 1e6})
    unable = replace(inputs, manifest=inputs.manifest.model_copy(update={"resources": huge}))
    with pytest.raises(NoLegalRegion):
        decide_many([inputs, unable])


def test_no_jobs_are_no_decisions() -> None:
    """An empty batch is a batch."""
    assert decide_many([]) == []
