"""A small recorded ledger, for tests of what is read from one: decided, run, ended, rooted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.decision_record import decision_data
from domain.energy import METHODOLOGY
from domain.forecast import Forecast, Signal
from domain.job import (
    Cell,
    Counterfactual,
    DecisionReason,
    Estimate,
    Outcome,
    Placement,
    Saving,
    Segment,
    SignalBasis,
)
from domain.ledger import Draft, EventKind
from domain.manifest import JobManifest, parse_manifest
from domain.policy import parse_policy
from domain.ports import Commit, Ledger
from domain.prices import parse_prices
from domain.regions import parse_catalogue
from domain.room import Reserved, RoomView, hour_of
from domain.roots import next_root

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOME = "aws:eu-central-1"
POLICIES = Path(__file__).parents[2] / "policies"


def make_forecast(zone: str = "DE", signal: Signal = Signal.AVERAGE, level: float = 400.0):
    return Forecast(
        zone, signal, "trace", "persistence/1", NOW, NOW, 3600.0, (level, level / 3, level / 7)
    )


@cache
def shipped() -> World:
    """The policy, tables and methodology that ship, without forecasts."""
    catalogue = parse_catalogue((POLICIES / "regions.csv").read_text())
    return World(
        forecasts=(),
        prices=parse_prices(
            (POLICIES / "prices.csv").read_text(), (POLICIES / "egress.csv").read_text()
        ),
        policy=parse_policy((POLICIES / "default.yaml").read_text(), catalogue),
        catalogue=catalogue,
        methodology=METHODOLOGY,
    )


def make_world(*forecasts: Forecast, time_scale: float = 1.0) -> World:
    base = shipped()
    return World(
        forecasts=forecasts or (make_forecast(), make_forecast("FR", level=50.0)),
        prices=base.prices,
        policy=base.policy,
        catalogue=base.catalogue,
        methodology=base.methodology,
        time_scale=time_scale,
    )


def recorded_manifest(name: str = "nightly", **fields: object) -> JobManifest:
    return parse_manifest(
        {
            "name": name,
            "image": "busybox",
            "resources": {"vcpus": 4, "memory_gib": 16},
            "deadline": NOW + timedelta(hours=20),
            "runtime": "1h",
            "p95_runtime": "2h",
            "max_runtime": "4h",
            "residency": "eu",
            "home_region": HOME,
            **fields,
        }
    )


def stub_decide(inputs: DecisionInputs) -> Placement:
    """A placement that depends on the inputs without being a good one."""
    manifest, world = inputs.manifest, inputs.world
    cell = Cell(region=manifest.home_region, capacity_type=CapacityType.ON_DEMAND, start=inputs.now)
    carbon_g = sum(sum(forecast.values) for forecast in world.forecasts)
    held = sum(item.vcpus for hours in inputs.room.reserved.values() for item in hours.values())
    estimate = Estimate(
        energy_kwh=manifest.resources.vcpus / 3,
        average_carbon_g=carbon_g,
        marginal_carbon_g=None,
        cost_usd=held / 7,
    )
    return Placement(
        segments=(Segment(cell=cell, duration_s=manifest.runtime.total_seconds()),),
        basis=SignalBasis.AVERAGE,
        estimate=estimate,
        counterfactual=Counterfactual(cell=cell, estimate=estimate),
        score=1 / 3,
        latest_safe_start=inputs.latest_on_demand_start,
        reason=f"at home in {cell.region}",
    )


def make_inputs(name: str = "nightly", world: World | None = None) -> DecisionInputs:
    manifest = recorded_manifest(name)
    key = (HOME, CapacityType.SPOT)
    return DecisionInputs(
        manifest=manifest,
        world=world or make_world(),
        room=RoomView({key: {hour_of(NOW): Reserved(2.5 + len(name), 0)}}),
        now=NOW,
        deadline=manifest.deadline,
    )


def record_decision(
    store: Ledger,
    inputs: DecisionInputs,
    seq: int,
    reason: DecisionReason,
    saving: Saving | None = None,
):
    placement = stub_decide(inputs).model_copy(update={"saving": saving})
    data, blobs = decision_data(inputs, placement, reason)
    draft = Draft(EventKind.DECISION, inputs.now, data)
    store.commit(Commit(inputs.manifest.workflow_id, seq, (draft,), blobs))


def record_job(store: Ledger, name: str) -> str:
    """Five events: two decisions, a dispatch, an attempt, a completion."""
    inputs = make_inputs(name)
    job = inputs.manifest.workflow_id
    store.admit(job, inputs.manifest.canonical(), "e1", rerun=False)
    record_decision(store, inputs, 1, DecisionReason.PLAN)
    record_decision(store, inputs, 2, DecisionReason.LOOK)
    for seq, kind in ((3, EventKind.DISPATCH), (4, EventKind.ATTEMPT)):
        store.commit(Commit(job, seq, (Draft(kind, NOW, {"attempt": 1}),)))
    completion = Draft(EventKind.COMPLETION, NOW, {"outcome": "Succeeded"})
    store.commit(Commit(job, 5, (completion,), outcome=Outcome.SUCCEEDED, last_attempt=1))
    return job


def append_root(store: Ledger) -> None:
    root = next_root(store.heads_since_last_root(), store.newest_root(), NOW)
    assert root is not None
    store.append_root(root)
