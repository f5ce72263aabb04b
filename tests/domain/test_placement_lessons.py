"""What schedulers of this kind got wrong in the field, each as an example."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.forecast import Forecast, Signal
from domain.job import Placement
from domain.placement import decide
from domain.room import RoomView
from tests.domain.recorded import HOME, NOW, make_world, recorded_manifest

ON_DEMAND = CapacityType.ON_DEMAND


def at_home(values: tuple[float, ...], step_s: float = 3600.0) -> World:
    """One region, on-demand, carbon alone; its forecast is ``values``."""
    forecast = Forecast(
        zone="DE",
        signal=Signal.AVERAGE,
        provider="trace",
        methodology="example",
        issued_at=NOW,
        start=NOW,
        step_s=step_s,
        values=values,
    )
    world = make_world(forecast)
    offered = world.policy.regions[HOME].model_copy(update={"spot": None})
    policy = world.policy.model_copy(
        update={
            "regions": {HOME: offered},
            "weights": world.policy.weights.model_copy(update={"carbon": 1.0, "cost": 0.0}),
            "start_up": timedelta(0),
            "safety_margin": timedelta(0),
        }
    )
    return replace(world, policy=policy)


def place(world: World, runtime: str = "2h", deadline_h: float = 30, **more: object) -> Placement:
    manifest = recorded_manifest(
        runtime=runtime, p95_runtime=runtime, max_runtime="20h", residency="germany"
    )
    inputs = DecisionInputs(
        manifest=manifest,
        world=world,
        room=RoomView(),
        now=NOW,
        deadline=NOW + timedelta(hours=deadline_h),
    )
    return decide(replace(inputs, **more)).placement


def hours_after_now(placement: Placement) -> float:
    return (placement.cell.start - NOW) / timedelta(hours=1)


def test_a_window_is_not_rounded_up_to_the_hour() -> None:
    """Done in 3.5 h means started within 1.5 h, though the cleanest hour is the next."""
    world = at_home((400.0, 300.0, 10.0, 10.0, 10.0, 10.0))
    assert hours_after_now(place(world, deadline_h=3.5)) == 1.0
    assert hours_after_now(place(world, deadline_h=4)) == 2.0


def test_a_glitch_of_one_slot_is_not_chased() -> None:
    """Five minutes at 0 between hours of 180 lose against two hours of 150: a run is integrated."""
    values = [180.0] * 12 * 12
    values[24] = 0.0
    values[96:120] = [150.0] * 24
    assert hours_after_now(place(at_home(tuple(values), 300.0), deadline_h=12)) == 8.0


def test_the_end_of_a_curve_is_not_its_minimum() -> None:
    """A run that would reach past the horizon is no cell, however low the last slot is."""
    world = at_home((300.0, 200.0, 250.0, 250.0, 10.0))
    assert hours_after_now(place(world)) == 3.0
    assert hours_after_now(place(at_home((300.0, 200.0, 250.0, 250.0, 249.0)))) == 1.0


def test_the_counterfactual_stands_where_the_job_was_submitted() -> None:
    """It is fixed by the first decision and passed on, so that no saving comes of moving it."""
    world = at_home((400.0, 300.0, 100.0, 100.0, 100.0))
    submitted_at = NOW - timedelta(hours=3)
    first = place(world, submitted_at=submitted_at)
    assert first.counterfactual.cell.start == submitted_at
    later = place(world, now=NOW + timedelta(minutes=9), counterfactual=first.counterfactual)
    assert later.counterfactual == first.counterfactual
    assert later.counterfactual.estimate.average_carbon_g > later.estimate.average_carbon_g


def test_no_signal_blocks_no_job() -> None:
    """Without any forecast the job runs by cost alone, now."""
    placement = place(replace(at_home((1.0,)), forecasts=()))
    assert (hours_after_now(placement), placement.basis.value) == (0.0, "cost_only")
    assert placement.cell.capacity_type is ON_DEMAND
