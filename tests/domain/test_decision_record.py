from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.decision import ENGINE_VERSION, DecisionInputs
from domain.decision_record import Blobs, decision_data, inputs_of, placement_of
from domain.errors import MissingBlob
from domain.forecast import Forecast, Signal
from domain.job import Cell, Counterfactual, DecisionReason, Estimate
from domain.regret import BUCKETS, Regret
from domain.room import Reserved, RoomView
from tests.domain.recorded import HOME, make_inputs, make_world, recorded_manifest, stub_decide

REGIONS = st.sampled_from(["aws:eu-north-1", "gcp:europe-west9", HOME])
INSTANTS = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001 - the zone is drawn
    datetime(2040, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
FINITE = st.floats(0, 1e9)
CELLS = st.builds(Cell, region=REGIONS, capacity_type=st.sampled_from(CapacityType), start=INSTANTS)
COUNTERFACTUALS = st.builds(
    Counterfactual,
    cell=CELLS,
    estimate=st.builds(
        Estimate,
        energy_kwh=FINITE,
        average_carbon_g=st.none() | FINITE,
        marginal_carbon_g=st.none() | FINITE,
        cost_usd=FINITE,
    ),
)
FORECASTS = st.builds(
    Forecast,
    zone=st.sampled_from(["DE", "FR", "SE-SE3"]),
    signal=st.sampled_from(Signal),
    provider=st.text(st.characters(codec="utf-8"), max_size=8),
    methodology=st.just("persistence/1"),
    issued_at=INSTANTS,
    start=INSTANTS,
    step_s=st.sampled_from([2.0, 300.0, 3600.0, 1 / 3]),
    values=st.lists(FINITE, max_size=4).map(tuple),
)
ROOMS = st.dictionaries(
    st.tuples(REGIONS, st.sampled_from(CapacityType)),
    st.dictionaries(
        st.integers(400_000, 600_000),
        st.builds(Reserved, FINITE, st.integers(0, 9)),
        min_size=1,
        max_size=3,
    ),
    max_size=3,
).map(RoomView)
MANIFESTS = st.builds(
    recorded_manifest,
    st.sampled_from(["a", "nightly"]),
    deadline=INSTANTS,
    runtime=st.sampled_from(["1h", "90s", 0.5]),
    retries=st.integers(0, 3),
    environment=st.dictionaries(st.sampled_from("AB"), st.just("ü")),
)
REGRETS = st.builds(
    Regret,
    survival=st.dictionaries(
        st.tuples(st.sampled_from(Signal), st.sampled_from(["DE", "FR"])),
        st.lists(st.floats(0, 1), min_size=BUCKETS, max_size=BUCKETS).map(tuple),
    ),
    static_rule=st.frozensets(st.tuples(st.sampled_from(Signal), st.sampled_from(["eu", "ü"]))),
)
WORLDS = st.builds(
    make_world, FORECASTS, FORECASTS, time_scale=st.sampled_from([1.0, 1800.0, 1 / 3])
)
INPUTS = st.builds(
    DecisionInputs,
    manifest=MANIFESTS,
    world=st.builds(
        lambda world, regret: replace(world, regret=regret), WORLDS, st.none() | REGRETS
    ),
    room=ROOMS,
    now=INSTANTS,
    deadline=INSTANTS,
    start_now=st.booleans(),
    reclaims=st.integers(0, 5),
    incumbent=st.none() | CELLS,
    counterfactual=st.none() | COUNTERFACTUALS,
    excluded_regions=st.lists(REGIONS).map(tuple),
)


def stored(data: object) -> dict:
    """Event data as it comes back from a ledger."""
    return json.loads(rfc8785.dumps(data))


def among(contents: Mapping[str, bytes]) -> Blobs:
    """These contents, asked for as a ledger's are."""
    return lambda hashes: {sha256: contents[sha256] for sha256 in hashes if sha256 in contents}


@given(inputs=INPUTS, reason=st.sampled_from(DecisionReason))
def test_what_was_recorded_gives_back_what_the_decision_saw(
    inputs: DecisionInputs, reason: DecisionReason
) -> None:
    """From the event and its blobs alone come the same inputs and the same placement."""
    placement = stub_decide(inputs)
    data, blobs = decision_data(inputs, placement, reason)
    assert inputs == inputs_of(stored(data), among(blobs))
    assert placement == placement_of(stored(data))


def test_every_input_is_named_by_the_hash_of_its_content() -> None:
    """The event names what it used as the objects name themselves, and brings all of it."""
    inputs = make_inputs()
    data, blobs = decision_data(inputs, stub_decide(inputs), DecisionReason.PLAN)
    world = inputs.world
    assert {
        "manifest": inputs.manifest.sha256,
        "forecasts": [forecast.sha256 for forecast in world.forecasts],
        "prices": world.prices.sha256,
        "policy": world.policy.sha256,
        "catalogue": world.catalogue.sha256,
        "methodology": world.methodology.sha256,
        "room": inputs.room.sha256,
    } == data["inputs"]
    assert (data["engine"], data["reason"]) == (ENGINE_VERSION, "plan")
    assert {hashlib.sha256(content).hexdigest(): content for content in blobs.values()} == blobs
    assert 6 + len(world.forecasts) == len(blobs)


def test_learned_regret_is_an_input_by_content() -> None:
    """Named where something was learned, and not where nothing was, as in every older event."""
    learned = Regret({(Signal.AVERAGE, "DE"): (0.5,) * BUCKETS})
    inputs = make_inputs("a", replace(make_world(), regret=learned))
    data, blobs = decision_data(inputs, stub_decide(inputs), DecisionReason.PLAN)
    assert learned.sha256 == data["inputs"]["regret"]
    assert learned.canonical() == blobs[learned.sha256]
    plain = make_inputs("a")
    data, blobs = decision_data(plain, stub_decide(plain), DecisionReason.PLAN)
    assert "regret" not in data["inputs"]
    assert inputs_of(stored(data), among(blobs)).world.regret is None


def test_each_missing_blob_is_named() -> None:
    """Whichever input is gone, the error says which."""
    inputs = make_inputs("a", replace(make_world(), regret=Regret()))
    data, blobs = decision_data(inputs, stub_decide(inputs), DecisionReason.PLAN)
    for sha256 in blobs:
        left = {key: content for key, content in blobs.items() if key != sha256}
        with pytest.raises(MissingBlob, match=sha256):
            inputs_of(data, among(left))


def test_decisions_of_one_world_get_one_world_back() -> None:
    """What a decision derives from a world is derived once, also when a ledger is verified."""
    world = make_world()
    records = [
        decision_data(inputs, stub_decide(inputs), DecisionReason.PLAN)
        for inputs in (make_inputs("a", world), make_inputs("b", world))
    ]
    first, second = (inputs_of(stored(data), among(blobs)) for data, blobs in records)
    assert first.world is second.world
    scaled = make_inputs("a", replace(world, time_scale=2.0))
    data, blobs = decision_data(scaled, stub_decide(scaled), DecisionReason.PLAN)
    assert inputs_of(stored(data), among(blobs)).world.time_scale == 2.0


def test_a_new_world_is_recorded_as_itself() -> None:
    """What is kept for one world never stands in for another, even when that one is gone."""
    seen = set()
    for level in range(50):
        forecast = replace(make_world().forecasts[0], values=(float(level),))
        inputs = make_inputs("a", make_world(forecast))
        data, _ = decision_data(inputs, stub_decide(inputs), DecisionReason.PLAN)
        assert [forecast.sha256] == data["inputs"]["forecasts"]
        seen.add(forecast.sha256)
    assert len(seen) == 50
