"""The plan of an interruptible job against every set of hours, and what holds for every plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import groupby, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.chunk_placement import decide_chunks, plan_chunks
from domain.decision import DecisionInputs
from domain.errors import NoLegalRegion
from domain.forecast import Signal
from domain.job import Placement
from domain.policy import Weights
from domain.prices import ComputePrice
from tests.domain import brute_force, generated
from tests.domain.hand_made import FRANCE, GERMANY, HOUR, in_chunks, interruptible, series, world
from tests.domain.recorded import NOW

MINUTE, ZERO = timedelta(minutes=1), timedelta(0)

# ── the best of all plans ────────────────────────────────────────────────────────────────────

LEVELS = st.integers(1, 9).map(lambda level: level * 50.0)


@settings(max_examples=60)
@given(
    levels=st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=7),
    minutes=st.integers(1, 240),
    start_up=st.sampled_from([0, 0, 10]),
    resume=st.sampled_from([0, 0, 5, 20]),
    least=st.sampled_from([1, 60, 90, 120]),
    portable=st.booleans(),
    carbon=st.sampled_from([1.0, 0.7, 0.0]),
)
def test_no_set_of_hours_is_better(levels, minutes, start_up, resume, least, portable, carbon):
    """Two regions, one of them dearer; every assignment of hours to regions or to none."""
    seen = world(
        series("DE", *(pair[0] for pair in levels)),
        series("FR", *(pair[1] for pair in levels)),
        regions=(GERMANY, FRANCE),
        start_up=start_up * MINUTE,
        weights=Weights(carbon=carbon, cost=1 - carbon),
    )
    dear = ComputePrice(0.07, 0.0, 0.0, 0.0)
    prices = seen.prices.compute | {(FRANCE, CapacityType.ON_DEMAND): dear}
    seen = replace(seen, prices=replace(seen.prices, compute=prices))
    cut = in_chunks(least=least * MINUTE, resume=resume * MINUTE, portable=portable)
    inputs = interruptible(seen, minutes * MINUTE, NOW + len(levels) * HOUR, cut)
    brute = [
        weighed
        for hours in product((None, 0, 1), repeat=len(levels))
        if (weighed := weigh(hours, levels, minutes, start_up, cut)) is not None
    ]
    placement = decide_chunks(inputs)
    if not brute:
        assert placement is None
        return
    rates = [level for pair in levels for level in pair]
    spread = max(rates) - min(rates)
    per_level = carbon / (minutes * spread) if spread else 0.0
    per_price = (1 - carbon) / (minutes * (0.07 - 0.04))
    lowest = minutes * (min(rates) * per_level + 0.04 * per_price)
    best = min(level * per_level + price * per_price for level, price in brute)
    assert best - lowest == pytest.approx(placement.score, abs=2e-9)


def weigh(hours, levels, minutes, start_up, cut) -> tuple[float, float] | None:
    """(level x minutes, price x minutes) of running in these hours; ``None``: it is no plan."""
    runs = [(row, len(list(run))) for row, run in groupby(hours)]
    last = max((place for place, (row, _) in enumerate(runs) if row is not None), default=None)
    if not cut.portable_checkpoint and {0, 1} <= set(hours):
        return None
    left, hour, level_minutes, price_minutes = minutes, 0, 0.0, 0.0
    resume = 0.0
    for place, (row, count) in enumerate(runs):
        if row is not None:
            begin, useful_from = hour * 60 + start_up, hour * 60 + start_up + resume
            end, whole = (hour + count) * 60, count * 60
            if place == last:
                if not end - 60 < useful_from + left <= end:
                    return None
                end = useful_from + left
            elif whole < cut.min_chunk / MINUTE or not 0 < end - useful_from < left:
                return None
            left -= end - useful_from
            for at, pair in enumerate(levels):
                inside = max(0.0, min(end, at * 60 + 60) - max(begin, at * 60))
                level_minutes += inside * pair[row]
            price_minutes += (end - begin) * (0.04, 0.07)[row]
            resume = cut.resume_overhead / MINUTE
        hour += count
    return (level_minutes, price_minutes) if left == 0 else None


# ── what holds for every plan ────────────────────────────────────────────────────────────────

CUTS = st.builds(
    in_chunks,
    least=st.sampled_from([1, 5, 30, 90]).map(lambda count: count * MINUTE),
    resume=st.sampled_from([ZERO, 2 * MINUTE, 11 * MINUTE]),
    portable=st.booleans(),
)


@st.composite
def interruptible_decisions(draw: st.DrawFn) -> DecisionInputs:
    """Any decision, of a job that may be interrupted and may have been before."""
    inputs, cut = draw(generated.decisions()), draw(CUTS)
    longer = {"runtime": inputs.manifest.runtime * draw(st.sampled_from([1, 1, 3]))}
    longer["p95_runtime"] = max(longer["runtime"], inputs.manifest.p95_runtime)
    done = longer["runtime"] * draw(st.sampled_from([0, 0, 0.3, 0.9]))
    return replace(
        inputs,
        manifest=inputs.manifest.model_copy(update={"interruptible": cut, **longer}),
        deadline=inputs.now + (inputs.deadline - inputs.now) * draw(st.sampled_from([1, 3])),
        work_done=done,
        checkpoint_region=draw(st.sampled_from(list(generated.REGIONS))) if done else None,
    )


def chunked(inputs: DecisionInputs) -> Placement | None:
    try:
        return decide_chunks(inputs)
    except NoLegalRegion:
        return None


@settings(max_examples=50)
@given(inputs=interruptible_decisions())
def test_plans_stay_within_every_wall(inputs: DecisionInputs) -> None:
    """Legal, foreseen, in time, with room and within the ceiling; in order, and all the work."""
    placement = chunked(inputs)
    assume(placement is not None)
    left, policy = inputs.remaining(), inputs.world.policy
    manifest, cut = left.manifest, inputs.manifest.interruptible
    signal = Signal(placement.basis.value)
    on_top = manifest.p95_runtime - manifest.runtime
    last_end = left.deadline - policy.safety_margin - on_top
    done, before, regions = ZERO, left.now, set()
    for number, item in enumerate(placement.segments):
        place, end = (
            (item.cell.region, item.cell.capacity_type),
            item.cell.start + timedelta(seconds=item.duration_s),
        )
        is_last = item is placement.segments[-1]
        assert place in brute_force.legal_and_able(left)
        assert brute_force.trusted(left, signal, brute_force.zone_of(left, place[0], signal))
        assert before <= item.cell.start
        assert is_last or end - item.cell.start >= cut.min_chunk
        assert end <= last_end - (policy.start_up + manifest.p95_runtime) * (
            place[1] is CapacityType.SPOT
        )
        held = timedelta(seconds=item.duration_s) + on_top * is_last - policy.start_up
        stretch = manifest.model_copy(update={"runtime": held - on_top * is_last})
        alone = replace(left, manifest=stretch.model_copy(update={"p95_runtime": held}))
        assert brute_force.foreseen(alone, signal, place, item.cell.start)
        assert brute_force.room_left(alone, place, item.cell.start)
        hourly = policy.max_usd_per_vcpu_hour
        usd = brute_force.machine_usd_per_hour(left, place) / manifest.resources.vcpus
        assert hourly is None or usd <= hourly
        done += held - on_top * is_last - (cut.resume_overhead if number else ZERO)
        before, regions = end, regions | {place[0]}
    assert abs(done - manifest.runtime) <= timedelta(microseconds=len(placement.segments))
    assert manifest.max_cost_usd is None or placement.estimate.cost_usd <= manifest.max_cost_usd
    if not cut.portable_checkpoint:
        assert len(regions) == 1
        if left.manifest != inputs.manifest:
            assert {inputs.checkpoint_region} == regions


@settings(max_examples=20)
@given(inputs=interruptible_decisions())
def test_the_same_inputs_give_the_same_plan(inputs: DecisionInputs) -> None:
    """Another world object of the same content leads to the same placement, as do plain chunks."""
    placement = chunked(inputs)
    assume(placement is not None)
    assert placement == decide_chunks(replace(inputs, world=replace(inputs.world)))
    assert [
        (item.cell.region, item.cell.capacity_type, item.cell.start, item.duration_s)
        for item in placement.segments
    ] == [
        (item.region, item.capacity_type, item.start, item.duration_s)
        for item in plan_chunks(inputs)
    ]


@settings(max_examples=30)
@given(inputs=interruptible_decisions())
def test_a_plan_emits_no_more_than_any_run_in_one_piece(
    inputs: DecisionInputs,
) -> None:
    """By carbon alone, with neither inputs nor reclaims: no single run in the walls is cleaner."""
    policy = inputs.world.policy.model_copy(update={"weights": Weights(carbon=1, cost=0)})
    prices = inputs.world.prices
    calm = {place: replace(price, reclaims_per_hour=0) for place, price in prices.compute.items()}
    seen = replace(inputs.world, policy=policy, prices=replace(prices, compute=calm))
    manifest = inputs.manifest.model_copy(update={"inputs": (), "max_cost_usd": None})
    plain = replace(inputs, manifest=manifest, world=seen, incumbent=None)
    placement = chunked(plain)
    assume(placement is not None)
    left, signal = plain.remaining(), Signal(placement.basis.value)
    least = min(
        (
            brute_force.grams(left, signal, place, start)
            for place in brute_force.legal_and_able(left)
            for start in brute_force.starts_of(left, signal)
            if brute_force.crosses_no_wall(left, signal, place, start)
        ),
        default=float("inf"),
    )
    assert placement.estimate.carbon_g(placement.basis) <= least * (1 + 1e-6) + 1e-6
