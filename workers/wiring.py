"""Which adapter stands behind which port: the only place that tells embedded from production.

It is also the one door through which operators' commands reach the worker's side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from activities.carbon.trace import SHIPPED_FILES
from activities.history.best_effort import BestEffortHistory
from activities.refresh import Signals
from activities.regret import StoredRegret, stored_lessons
from activities.stores.bundle import read_bundle
from activities.world import WorldReader
from domain import settlement_record
from domain.audit import Auditable
from domain.decision import DecisionInputs, hours_in_play
from domain.energy import METHODOLOGY
from domain.forecast import Signal
from domain.ledger import EventKind
from domain.manifest import Flexibility, JobManifest
from domain.messages import RefreshReport
from domain.placement import decide
from domain.policy import Policy, parse_policy
from domain.ports import SignalHistory, SignalStore
from domain.prices import parse_prices
from domain.regions import RegionCatalogue, parse_catalogue, with_overrides
from domain.regret_lessons import RegretLessons
from domain.room import RoomView
from domain.verify import VerifyReport, verify_ledger
from workers.compute_sites import compute_site
from workers.devserver import DevServer, DevServerFailed, dev_server
from workers.logs import configure
from workers.parts import Parts
from workers.price_feed import prices_of
from workers.process import running, serve, set_up
from workers.settings import POLICIES, Settings, load_settings
from workers.signal_feed import SignalFeed, live_feed, trace_feed
from workers.stores import store_of

__all__ = [
    "POLICIES",
    "SHIPPED_FILES",
    "DevServer",
    "DevServerFailed",
    "Parts",
    "build",
    "dev_server",
    "inputs_for",
    "load_parts",
    "load_parts_here",
    "open_bundle",
    "refresh_once",
    "regret_lessons",
    "running",
    "serve",
    "set_up",
    "verify",
]


def load_parts(**settings: Any) -> Parts:
    """Read the settings (arguments outrank environment and file), set up logs, and wire.

    Raises:
        InvalidSettings: a setting is unknown or not allowed.
    """
    loaded = load_settings(**settings)
    configure(loaded)
    return build(loaded)


def load_parts_here() -> Parts | None:
    """The parts, if this machine has a store at hand; ``None`` where it has none."""
    loaded = load_settings()
    if loaded.store.kind == "sqlite" and not loaded.database.exists():
        return None
    configure(loaded)
    return build(loaded)


def build(settings: Settings) -> Parts:
    """Wire the product as the settings say.

    Raises:
        DomainError: the policy, the catalogue or a price table is not as it should be.
        ActivityFault: the trace cannot be read, or a provider cannot be used so.
    """
    catalogue = parse_catalogue(_catalogue_text(settings))
    policy = parse_policy(settings.policy.read_text(), catalogue)
    table = parse_prices(settings.prices.read_text(), settings.egress.read_text())
    store = store_of(settings)
    prices = prices_of(settings.price_feed, table, store, policy.regions)
    feed = _feed(settings, catalogue, policy, store)
    history = _history(settings)
    zones = {zone for signal in Signal for zone in catalogue.zones(signal, policy.regions)}
    site = compute_site(settings, policy.regions)
    return Parts(
        settings=settings,
        policy=policy,
        catalogue=catalogue,
        signals=store,
        ledger=store,
        room=store,
        refresher=Signals(
            feed.provider,
            store,
            sorted(zones),
            BestEffortHistory(history) if history else None,
        ),
        history=history or store,
        prices=prices.feed,
        price_refresh=prices.refresh,
        documents=store,
        compute=site.backend,
        world=WorldReader(
            store,
            prices.feed,
            StoredRegret(store),
            policy,
            catalogue,
            METHODOLOGY,
            feed.time_scale,
        ),
        close=partial(_close, feed.close, prices.close, site.close),
    )


async def _close(*closes: Callable[[], Awaitable[None]]) -> None:
    for close in closes:
        await close()


def _catalogue_text(settings: Settings) -> str:
    text = settings.regions.read_text()
    if settings.region_overrides is None:
        return text
    return with_overrides(text, settings.region_overrides.read_text())


def _history(settings: Settings) -> SignalHistory | None:
    if settings.history.kind == "none":
        return None
    # Parquet's library takes long to load: whoever keeps no history does not wait for it.
    from workers.histories import history_of  # noqa: PLC0415

    return history_of(settings.history, settings.secrets)


def _feed(
    settings: Settings, catalogue: RegionCatalogue, policy: Policy, store: SignalStore
) -> SignalFeed:
    if settings.signals.source == "live":
        return live_feed(settings, catalogue, policy, store)
    return trace_feed(settings)


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


def regret_lessons(parts: Parts) -> RegretLessons | None:
    """What settlement passes have learned of regret; ``None`` before the first."""
    return stored_lessons(parts.documents)


async def refresh_once(parts: Parts) -> RefreshReport:
    """One refresh by a clock outside Temporal, and close what it opened."""
    try:
        return await parts.refresher.refresh(datetime.now(UTC))
    finally:
        await parts.close()


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
