"""The real engine's decisions, recorded and decided again from the record alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from activities.stores.sqlite import SqliteStore
from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.decision_record import decision_data
from domain.forecast import Forecast, Signal
from domain.job import DecisionReason, Fallback, Placement
from domain.ledger import Draft, EventKind
from domain.placement import decide
from domain.ports import Commit
from domain.room import Reserved, RoomView, hour_of
from domain.verify import verify_ledger
from tests.domain.recorded import HOME, NOW, make_inputs, make_world, recorded_manifest, shipped

GPU_HOME = {(HOME, CapacityType.SPOT): {hour_of(NOW): Reserved(0.1, 1)}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened:
        yield opened


def place(inputs: DecisionInputs) -> Placement:
    return decide(inputs).placement


def grid(time_scale: float = 1.0, age: timedelta = timedelta(0)) -> World:
    """A forecast of 24 uneven hours for every zone of the policy, both signals."""
    base = shipped()
    zones = sorted({base.catalogue.get(region).grid_zone for region in base.policy.regions})
    forecasts = [
        Forecast(
            zone=zone,
            signal=signal,
            provider="trace",
            methodology="persistence/1",
            issued_at=NOW - age,
            start=NOW,
            step_s=3600.0,
            values=tuple(50 + (number * 37 + hour * 101) % 600 / 7 for hour in range(24)),
        )
        for number, zone in enumerate(zones)
        for signal in Signal
    ]
    return make_world(*forecasts, time_scale=time_scale)


def cases() -> dict[str, DecisionInputs]:
    first = make_inputs("first", grid())
    placed = place(first)
    fields = {
        "runtime": "6h",
        "p95_runtime": "7h",
        "max_runtime": "9h",
        "interruptible": {"min_chunk": "30m", "checkpoint": True, "resume_overhead": "3m"},
    }
    chunked = replace(first, manifest=recorded_manifest("chunked", **fields))
    return {
        "first": first,
        "look": replace(
            first,
            now=NOW + timedelta(minutes=7, microseconds=3),
            incumbent=placed.cell,
            counterfactual=placed.counterfactual,
        ),
        "urgent": replace(first, start_now=True),
        "reclaimed": replace(first, reclaims=2, excluded_regions=(placed.cell.region,)),
        "room": replace(first, room=RoomView(GPU_HOME)),
        "late": replace(first, deadline=NOW + timedelta(minutes=30)),
        "compressed": make_inputs("compressed", grid(time_scale=1800.0)),
        "chunks": chunked,
        "resumed": replace(
            chunked,
            now=NOW + timedelta(minutes=7, microseconds=3),
            work_done=timedelta(hours=2),
            checkpoint_region=HOME,
        ),
        "stale": make_inputs("stale", grid(age=timedelta(days=1))),
    }


def test_decisions_of_the_real_engine_are_taken_again(store: SqliteStore) -> None:
    """Plans, looks, fallbacks, cost-only: each placement comes out to the last digit."""
    placements = {}
    for seq, (name, inputs) in enumerate(cases().items()):
        placements[name] = place(inputs)
        data, blobs = decision_data(inputs, placements[name], DecisionReason.PLAN)
        job = f"job-{seq}"
        store.admit(job, inputs.manifest.canonical(), "e1", rerun=False)
        store.commit(Commit(job, 1, (Draft(EventKind.DECISION, inputs.now, data),), blobs))
    assert all(len(placements[name].segments) > 1 for name in ("chunks", "resumed"))
    assert placements["late"].fallbacks[:1] == (Fallback.RUN_NOW,)
    report = verify_ledger(store, place)
    assert report.faults == ()
    assert {EventKind.DECISION: len(placements)} == report.recomputed
