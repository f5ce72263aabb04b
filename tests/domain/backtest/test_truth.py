"""What runs emitted and cost: the same as settlement reckons, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backtest.case import Case
from domain.backtest.truth import RunLog, usage
from domain.capacity import CapacityType
from domain.forecast import Observation, Signal
from domain.policy import RegionPolicy, RoomLimit
from domain.prices import ComputePrice
from domain.room import Place
from domain.settlement import Accounting, Stretch
from tests.domain.backtest.small import START, ZONES, case, job, trace
from tests.domain.hand_made import BOTH, GERMANY, HOUR, SWEDEN

DAYS = 3
PLACES = [(region, kind) for region in ZONES.values() for kind in CapacityType]
PINNED = RegionPolicy(spot=RoomLimit(vcpus=100), cpu_families=("m6g", "m7i"))


def made_case() -> Case:
    """Three days, the marginal signal in steps of a quarter of an hour; no two places alike."""
    generator = np.random.default_rng(7)
    hours = {zone: generator.uniform(20, 900, DAYS * 24) for zone in ZONES}
    steps = {zone: generator.uniform(20, 900, DAYS * 96) for zone in ZONES}
    made = case(hours, offer=BOTH)
    policy = made.policy.model_copy(update={"regions": {**made.policy.regions, GERMANY: PINNED}})
    truth = {**made.truth, Signal.MARGINAL: trace(steps, timedelta(minutes=15))}
    compute = {place: ComputePrice(*generator.uniform(0.01, 0.1, 4)) for place in PLACES}
    return replace(made, truth=truth, policy=policy, prices=replace(made.prices, compute=compute))


CASE = made_case()

runs = st.tuples(
    st.sampled_from(PLACES),
    st.sampled_from([0.5, 2.0, 96.0]),
    st.sampled_from([0.5, 7.5, 512.0]),
    st.integers(0, 2 * 86_400_000_000),
    st.integers(1, 86_400_000_000),
)
"""Place, vCPUs, GiB, begin and length in microseconds."""


@given(st.lists(runs, max_size=4))
def test_usage_is_what_settlement_accounts(some) -> None:
    log, carbon_g, cost_usd = RunLog(START), dict.fromkeys(Signal, 0.0), 0.0
    accounting = Accounting(
        *(CASE.catalogue, CASE.prices, CASE.methodology, CASE.policy, 1.0),
        signals=frozenset((zone, signal) for zone in ZONES for signal in Signal),
    )
    for place, vcpus, memory_gib, begin_us, length_us in some:
        begin = START + timedelta(microseconds=begin_us)
        end = begin + timedelta(microseconds=length_us)
        log.add(place, vcpus, memory_gib, begin, end)
        manifest = job(0, 0, 1, 1, vcpus=vcpus, memory_gib=memory_gib).manifest()
        settled = accounting.usage(manifest, [Stretch(*place, begin, end)], observed)
        carbon_g[Signal.AVERAGE] += settled.average_carbon_g
        carbon_g[Signal.MARGINAL] += settled.marginal_carbon_g
        cost_usd += settled.cost_usd
    found = usage(CASE, log)
    assert found.carbon_g == pytest.approx(carbon_g, rel=1e-9, abs=1e-6)
    assert found.cost_usd == pytest.approx(cost_usd, rel=1e-9, abs=1e-12)


def observed(zone: str, signal: Signal, start: datetime, end: datetime) -> Sequence[Observation]:
    recorded = CASE.truth[signal]
    step = timedelta(seconds=recorded.step_s)
    first, last = recorded.step_at(start), recorded.step_at(end - timedelta(microseconds=1))
    return [
        Observation(
            *(zone, signal, START + at * step, recorded.step_s),
            *(float(recorded.zones[zone][at]), "trace"),
        )
        for at in range(first, last + 1)
    ]


@given(st.lists(runs, max_size=4))
def test_hours_of_the_day_add_up_to_the_hours_that_ran(some) -> None:
    log, expected = RunLog(START), dict.fromkeys(ZONES.values(), 0.0)
    for place, vcpus, memory_gib, begin_us, length_us in some:
        begin = START + timedelta(microseconds=begin_us)
        log.add(place, vcpus, memory_gib, begin, begin + timedelta(microseconds=length_us))
        expected[place[0]] += vcpus * length_us / 3.6e9
    found = usage(CASE, log).vcpu_hours
    for region, hours in expected.items():
        assert (found[region].sum() if region in found else 0.0) == pytest.approx(hours, abs=1e-9)


def test_hours_of_the_day_are_those_in_which_it_ran() -> None:
    """From 22:30 to 01:15 of the next day."""
    log, spot = RunLog(START), (SWEDEN, CapacityType.SPOT)
    log.add(spot, 8.0, 0.0, START + 22.5 * HOUR, START + 25.25 * HOUR)
    [hours] = usage(CASE, log).vcpu_hours.values()
    expected = np.zeros(24)
    expected[[22, 23, 0, 1]] = 4, 8, 8, 2
    assert hours == pytest.approx(expected)


def test_beyond_its_end_a_trace_goes_round() -> None:
    """The first hours stand for those after the last."""
    place: Place = (SWEDEN, CapacityType.ON_DEMAND)

    def grams(begin_h: float, end_h: float) -> float:
        log = RunLog(START)
        log.add(place, 1.0, 0.0, START + begin_h * HOUR, START + end_h * HOUR)
        return usage(CASE, log).carbon_g[Signal.AVERAGE]

    last_h = DAYS * 24
    assert grams(last_h - 1, last_h + 2.5) == pytest.approx(
        grams(last_h - 1, last_h) + grams(0, 2.5)
    )


def test_nothing_ran_takes_nothing() -> None:
    found = usage(CASE, RunLog(START))
    assert (found.carbon_g, found.cost_usd) == (dict.fromkeys(Signal, 0.0), 0.0)
    assert found.vcpu_hours == {}
