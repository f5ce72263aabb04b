"""What holds for every case, whatever its jobs, its grid and its luck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.backtest.case import Case, RuleName
from domain.backtest.forecasts import Noisy, Perfect
from domain.backtest.result import RuleResult
from domain.backtest.rules import rule_of
from domain.backtest.simulation import Simulation
from domain.backtest.truth import Runs
from domain.decision import DecisionInputs, World
from domain.forecast import Signal
from domain.manifest import Interruptible
from domain.placement import decide
from domain.policy import RegionPolicy, RoomLimit, Weights
from domain.prices import ComputePrice
from domain.room import Place, Reserved, RoomView, hours_touched
from tests.domain.backtest.small import (
    HORIZON,
    START,
    ZONES,
    case,
    job,
    trace,
)
from tests.domain.hand_made import BOTH, FRANCE, HOUR, SWEDEN

RULES = sorted(set(RuleName) - {RuleName.OPTIMUM})
SPOT_ONE_JOB = RegionPolicy(spot=RoomLimit(vcpus=4), on_demand=RoomLimit(vcpus=4))
IN_CHUNKS = Interruptible(min_chunk=HOUR, checkpoint=True)
COSTLY = Interruptible(min_chunk=HOUR, checkpoint=True, resume_overhead=timedelta(minutes=15))


@dataclass(frozen=True)
class Setting:
    """What a dozen jobs on a wild grid may differ in."""

    seed: int
    carbon: float
    noise: float
    reclaims_per_hour: float


settings_drawn = st.builds(
    Setting,
    seed=st.integers(0, 2**32),
    carbon=st.sampled_from([1.0, 0.5, 0.0]),
    noise=st.sampled_from([0.0, 0.5]),
    reclaims_per_hour=st.sampled_from([0.0, 0.05, 0.3]),
)


def wild(setting: Setting, offer: RegionPolicy = SPOT_ONE_JOB) -> Case:
    """Its case; room is tight unless ``offer`` is enough."""
    generator = np.random.default_rng(setting.seed)
    grid = {zone: generator.uniform(10, 900, 120) for zone in ZONES}
    jobs = [
        job(
            number,
            float(hour),
            float(generator.choice([0.25, 1.0, 2.4, 7.0])),
            30.0,
            p95_h=float(generator.choice([7.0, 8.5])),
            vcpus=float(generator.choice([1.0, 4.0])),
            residency=str(generator.choice(["eu", "abroad"])),
            home_region=str(generator.choice([FRANCE, SWEDEN])),
            interruptible=[None, IN_CHUNKS, COSTLY][generator.integers(3)],
        )
        for number, hour in enumerate(np.sort(generator.uniform(0, 30, 12)))
    ]
    average = {Signal.AVERAGE: trace(grid)}
    noisy = Noisy(average, HORIZON, setting.noise, 1)
    return case(
        grid,
        *jobs,
        forecasts=noisy if setting.noise else Perfect(average, HORIZON),
        seed=setting.seed,
        offer=offer,
        spot_price=ComputePrice(0.01, 0.001, 0.0, setting.reclaims_per_hour),
        weights=Weights(carbon=setting.carbon, cost=1 - setting.carbon),
        start_up=timedelta(minutes=5),
        safety_margin=timedelta(minutes=30),
    )


def simulated(made: Case, rule: RuleName) -> tuple[RuleResult, dict[Place, Runs]]:
    simulation = Simulation(made, rule_of(made, rule))
    simulation.run()
    return simulation.result(rule), simulation.runs.by_place()


@settings(max_examples=25)
@given(settings_drawn, st.sampled_from(RULES))
def test_hours_that_ran_are_those_of_the_jobs_and_those_wasted(
    setting: Setting, rule: RuleName
) -> None:
    made = wild(setting)
    result, _ = simulated(made, rule)
    useful = sum(item.vcpus * item.runtime_s / 3600 for item in made.jobs)
    ran = sum(hours.sum() for hours in result.vcpu_hours.values())
    assert ran == pytest.approx(useful + result.wasted_vcpu_hours)
    assert (result.delays_s > -1e-6).all()


@settings(max_examples=25)
@given(settings_drawn, st.sampled_from(RULES))
def test_no_deadline_is_missed_where_there_is_room(setting: Setting, rule: RuleName) -> None:
    result, _ = simulated(wild(setting, offer=BOTH), rule)
    assert (result.deadlines_missed, result.over_room) == (0, 0)


@settings(max_examples=25)
@given(settings_drawn, st.sampled_from(RULES))
def test_room_is_never_exceeded_but_by_what_is_counted(setting: Setting, rule: RuleName) -> None:
    result, by_place = simulated(wild(setting), rule)
    if rule is RuleName.RUN_AT_ONCE or result.over_room:
        return
    for runs in by_place.values():
        for begin_s in runs.begins_s:
            there = (runs.begins_s <= begin_s) & (begin_s < runs.ends_s)
            assert runs.vcpus[there].sum() <= 4.0


@settings(max_examples=25)
@given(settings_drawn, st.sampled_from(sorted({RuleName.LOWTIDE, RuleName.LOWTIDE_ONCE})))
def test_decisions_are_those_of_production(setting: Setting, rule: RuleName) -> None:
    """The first two jobs, in one piece, with nothing between them: the second sees the first."""
    made = wild(replace(setting, reclaims_per_hour=0.0))
    first, second = (replace(item, interruptible=None) for item in made.jobs[:2])
    second = replace(second, submitted=first.submitted)
    policy = made.policy.model_copy(update={"forecast_max_age": HORIZON})
    made = replace(made, jobs=(first, second), policy=policy, forecasts=_Once(made))
    assert sorted(_begins(simulated(made, rule)[1])) == sorted(_decided(made))


class _Once:
    """What stood at the first submission, for ever: looks find nothing new."""

    name, max_age = "once", HORIZON

    def __init__(self, made: Case) -> None:
        self._issue = made.forecasts.issue(made.jobs[0].submitted)

    def issue(self, now: datetime):
        del now
        return self._issue


def _decided(made: Case) -> Iterator[tuple[str, str, float]]:
    world = World(
        forecasts=made.forecasts.issue(made.jobs[0].submitted),
        prices=made.prices,
        policy=made.policy,
        catalogue=made.catalogue,
        methodology=made.methodology,
    )
    reserved: dict[Place, dict[int, Reserved]] = {}
    for item in made.jobs:
        inputs = DecisionInputs(
            item.manifest(), world, RoomView(reserved), item.submitted, item.deadline
        )
        cell = decide(inputs).placement.cell
        place = cell.region, cell.capacity_type
        for hour in hours_touched(cell.start, inputs.planned_run):
            held = reserved.setdefault(place, {}).get(hour, Reserved(0, 0)).vcpus
            reserved[place][hour] = Reserved(held + item.vcpus, 0)
        begin = cell.start + made.policy.start_up
        yield (*place, (begin - START).total_seconds())


def _begins(by_place: dict[Place, Runs]) -> Iterator[tuple[str, str, float]]:
    for place, runs in by_place.items():
        for begin_s in runs.begins_s:
            yield (*place, float(begin_s))
