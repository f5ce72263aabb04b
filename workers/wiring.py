"""Which adapter stands behind which port: the only place that tells embedded from production.

It is also the one door through which operators' commands reach the worker's side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from activities.carbon.trace import Replay, Trace, TraceProvider, read_trace
from activities.compute.local import LocalCompute, Reclaims
from activities.prices.static import StaticPrices
from activities.stores.bundle import read_bundle
from activities.stores.sqlite import SqliteStore
from activities.world import WorldReader
from domain import settlement_record
from domain.audit import Auditable
from domain.decision import DecisionInputs, hours_in_play
from domain.energy import METHODOLOGY
from domain.forecast import Signal
from domain.ledger import EventKind
from domain.manifest import Flexibility, JobManifest
from domain.placement import decide
from domain.policy import parse_policy
from domain.prices import parse_prices
from domain.regions import parse_catalogue
from domain.room import RoomView
from domain.verify import VerifyReport, verify_ledger
from workers.devserver import DevServer, DevServerFailed, dev_server
from workers.logs import configure
from workers.parts import Parts
from workers.process import running, serve, set_up
from workers.settings import POLICIES, Settings, TraceSettings, load_settings

__all__ = [
    "POLICIES",
    "DevServer",
    "DevServerFailed",
    "Parts",
    "build",
    "dev_server",
    "inputs_for",
    "load_parts",
    "load_parts_here",
    "open_bundle",
    "running",
    "serve",
    "set_up",
    "verify",
]

HOUR_S = 3600.0


def load_parts(**settings: Any) -> Parts:
    """Read the settings (arguments outrank environment and file), set up logs, and wire.

    Raises:
        InvalidSettings: a setting is unknown or not allowed.
    """
    loaded = load_settings(**settings)
    configure(loaded)
    return build(loaded)


def load_parts_here() -> Parts | None:
    """The parts, if this machine's state folder holds a store; ``None`` where it does not."""
    loaded = load_settings()
    if not loaded.database.exists():
        return None
    configure(loaded)
    return build(loaded)


def build(settings: Settings) -> Parts:
    """Wire the embedded product.

    Raises:
        DomainError: the policy, the catalogue or a price table is not as it should be.
        ActivityFault: the trace cannot be read.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    catalogue = parse_catalogue(settings.regions.read_text())
    policy = parse_policy(settings.policy.read_text(), catalogue)
    prices = StaticPrices(parse_prices(settings.prices.read_text(), settings.egress.read_text()))
    store = SqliteStore(settings.database)
    traces = _traces(settings.trace)
    replay = _replay(settings, traces)
    provider = TraceProvider(traces, replay, settings.trace.forecast, settings.trace.horizon_hours)
    compute = LocalCompute(
        settings.state_dir / "runs",
        reclaims=tuple(
            Reclaims(item.pattern, item.attempts, item.after_s, item.grace_s)
            for item in settings.reclaims
        ),
    )
    world = WorldReader(store, prices, policy, catalogue, METHODOLOGY, replay.time_scale)
    return Parts(
        settings=settings,
        policy=policy,
        catalogue=catalogue,
        signals=store,
        ledger=store,
        room=store,
        provider=provider,
        prices=prices,
        compute=compute,
        world=world,
    )


def inputs_for(parts: Parts, manifest: JobManifest, now: datetime) -> DecisionInputs:
    """What a first decision would see at ``now``."""
    world = parts.world.read(now)
    inputs = DecisionInputs(
        manifest=manifest,
        world=world,
        room=RoomView(),
        now=now,
        deadline=manifest.deadline,
        start_now=manifest.flexibility is Flexibility.URGENT,
    )
    view = parts.room.view(hours_in_play(inputs), excluding_job=manifest.workflow_id)
    return replace(inputs, room=view)


def verify(ledger: Auditable) -> VerifyReport:
    """Recompute a ledger whole, with this build's decisions and accounting."""
    return verify_ledger(
        ledger,
        lambda inputs: decide(inputs).placement,
        {EventKind.SETTLEMENT: settlement_record.recompute},
    )


def open_bundle(path: Path) -> Auditable:
    """An exported ledger. Raises ``BundleUnreadable``."""
    return read_bundle(path)


def _traces(settings: TraceSettings) -> Mapping[Signal, Trace]:
    files = {Signal.AVERAGE: settings.average, Signal.MARGINAL: settings.marginal}
    return {signal: read_trace(path) for signal, path in files.items() if path is not None}


def _replay(settings: Settings, traces: Mapping[Signal, Trace]) -> Replay:
    """How the trace lies on the clock; decided once for a state folder and kept there, so that
    a restart goes on in the same trace hour, and every command there at the same pace.
    """
    kept = settings.state_dir / "replay.json"
    if kept.exists():
        data = json.loads(kept.read_text())
        if data["hour_s"] == settings.trace.hour_s or not settings.trace.paced:
            return Replay(
                datetime.fromisoformat(data["clock_at"]),
                datetime.fromisoformat(data["trace_at"]),
                data["hour_s"],
            )
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    if settings.trace.hour_s != HOUR_S:
        now = datetime.now(UTC).replace(microsecond=0)
    start = next(iter(traces.values())).start
    trace_at = settings.trace.trace_at or _same_day_of(start, now)
    _write(
        kept,
        {
            "clock_at": now.isoformat(),
            "trace_at": trace_at.isoformat(),
            "hour_s": settings.trace.hour_s,
        },
    )
    return Replay(now, trace_at, settings.trace.hour_s)


def _same_day_of(start: datetime, now: datetime) -> datetime:
    """The trace's hour at this time of this day of the year (29 February: the day before)."""
    day = 28 if (now.month, now.day) == (2, 29) else now.day
    return start.replace(month=now.month, day=day, hour=now.hour)


def _write(path: Path, data: Mapping[str, object]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(data, indent=1))
    partial.replace(path)
