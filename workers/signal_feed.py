"""Where carbon signals come from, as the settings say: a replayed trace, or providers in order."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from activities.carbon.api import RateLimit, open_client
from activities.carbon.electricity_maps import ElectricityMaps
from activities.carbon.failover import Failover
from activities.carbon.persistence import Persistence
from activities.carbon.published import Published
from activities.carbon.questions import BUDGET_S, Pace
from activities.carbon.trace import Replay, TraceProvider, read_trace
from activities.carbon.watttime import WattTime
from activities.carbon.watttime_api import WattTimeApi
from domain.errors import TraceUnreadable
from domain.forecast import Signal
from domain.policy import Policy
from domain.ports import SecretSource, SignalProvider, SignalStore
from domain.regions import RegionCatalogue
from domain.trace import Trace
from workers.secret_sources import secret_source
from workers.sections import TraceSettings
from workers.settings import Settings

SHARE_OF_INTERVAL = 0.75
"""Of the time between two refreshes, what a provider may take at most."""

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class SignalFeed:
    """Who is asked for signals, and what comes with it."""

    provider: SignalProvider
    time_scale: float
    """As ``World.time_scale``: above 1 where a trace is replayed compressed."""
    close: Callable[[], Awaitable[None]]
    """Close the connections, in the event loop that used them."""


# ── live ─────────────────────────────────────────────────────────────────────────────────────


def live_feed(
    settings: Settings, catalogue: RegionCatalogue, policy: Policy, store: SignalStore
) -> SignalFeed:
    """Electricity Maps and WattTime, then what needs nobody, in one order for each signal.

    Raises:
        ProviderMisconfigured: an address in the clear.
    """
    zones = {signal: catalogue.zones(signal, policy.regions) for signal in Signal}
    client, secrets = open_client(), secret_source(settings.secrets)
    every_s = settings.refresh_every.total_seconds()
    budget_s = min(BUDGET_S, SHARE_OF_INTERVAL * every_s)
    pace = Pace(settings.refresh_every, settings.signals.past_every, budget_s)
    order: dict[Signal, list[SignalProvider]] = {signal: [] for signal in Signal}
    if settings.signals.electricity_maps.enabled:
        order[Signal.AVERAGE].append(_electricity_maps(settings, client, secrets, pace))
    if settings.signals.watttime.enabled:
        for signal, provider in _watttime(settings, client, secrets, pace, catalogue).items():
            order[signal].append(provider)
    horizon_hours = settings.signals.horizon_hours
    for signal, providers in order.items():
        providers.append(Persistence(store, signal, horizon_hours=horizon_hours))
    order[Signal.AVERAGE].append(Published(catalogue, Signal.AVERAGE, horizon_hours=horizon_hours))
    whole_s = budget_s * (1 + (1 - SHARE_OF_INTERVAL) / 4)
    return SignalFeed(Failover(order, zones=zones, whole_s=whole_s), 1.0, client.aclose)


def _electricity_maps(
    settings: Settings, client: httpx.AsyncClient, secrets: SecretSource, pace: Pace
) -> ElectricityMaps:
    own = settings.signals.electricity_maps
    return ElectricityMaps(
        client,
        secrets,
        base_url=str(own.base_url).rstrip("/"),
        limit=RateLimit(own.requests_per_s),
        emission_factors=own.emission_factors,
        granularity=own.granularity,
        horizon_hours=settings.signals.horizon_hours,
        pace=pace,
    )


def _watttime(
    settings: Settings,
    client: httpx.AsyncClient,
    secrets: SecretSource,
    pace: Pace,
    catalogue: RegionCatalogue,
) -> Mapping[Signal, WattTime]:
    """One account for both signals. The average only stands in, so it brings no observations."""
    own = settings.signals.watttime
    limit = RateLimit.within(own.requests_per_5_minutes, timedelta(minutes=5).total_seconds())
    account = WattTimeApi(client, secrets, base_url=str(own.base_url).rstrip("/"), limit=limit)
    horizon_hours = settings.signals.horizon_hours
    return {
        Signal.MARGINAL: WattTime(
            account,
            Signal.MARGINAL,
            catalogue.watttime_regions(Signal.MARGINAL),
            model=own.model,
            horizon_hours=horizon_hours,
            pace=pace,
        ),
        Signal.AVERAGE: WattTime(
            account,
            Signal.AVERAGE,
            catalogue.watttime_regions(Signal.AVERAGE),
            horizon_hours=horizon_hours,
            pace=Pace(pace.refresh_every, None, pace.budget_s),
        ),
    }


# ── a trace ──────────────────────────────────────────────────────────────────────────────────


def trace_feed(settings: Settings) -> SignalFeed:
    """A trace replayed. Raises ``TraceUnreadable``."""
    traces = _traces(settings.trace)
    replay = _replay(settings, traces)
    own = settings.trace
    provider = TraceProvider(traces, replay, own.forecast, own.horizon_hours)
    return SignalFeed(provider, replay.time_scale, _nothing_to_close)


async def _nothing_to_close() -> None:
    """A trace is read whole."""


def _traces(settings: TraceSettings) -> Mapping[Signal, Trace]:
    files = {Signal.AVERAGE: settings.average, Signal.MARGINAL: settings.marginal}
    traces = {signal: read_trace(path) for signal, path in files.items() if path is not None}
    for signal, trace in traces.items():
        if trace.step_s != HOUR_S:
            name = f"{files[signal]}"
            raise TraceUnreadable(name, 3, "a replay goes by the hour: give it an hourly trace")
    return traces


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
