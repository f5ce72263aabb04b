"""A grid whose intensity is a pure function of the hour, issued anew every five minutes.

The time-skipping server has no schedules, so nothing refreshes the signal store while a job
sleeps. ``RefreshedWorld`` makes up for it: whoever reads the world at some instant finds the
store as ``RefreshSignals`` would have left it by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.world import WorldReader
from domain.decision import World
from domain.forecast import Forecast, Signal
from domain.ports import ProviderAnswer, SignalStore

HOUR = timedelta(hours=1)
REFRESHED_EVERY = timedelta(minutes=5)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Curve = Callable[[datetime], float]
"""gCO2eq/kWh of the hour that begins at an instant."""


def flat(g_per_kwh: float) -> Curve:
    """The same all day."""
    return lambda _: g_per_kwh


def dip(at: datetime, low: float, rest: float = 500.0) -> Curve:
    """``rest``, but for the one hour around ``at``."""
    return lambda hour: low if hour <= at < hour + HOUR else rest


@dataclass
class ScriptedGrid:
    """A ``SignalProvider`` of curves; a test may change them while jobs sleep."""

    curves: dict[tuple[str, Signal], Curve] = field(default_factory=dict)
    lost: dict[Signal, datetime] = field(default_factory=dict)
    """Signals of which nothing is issued from an instant on."""
    broken: bool = False
    """Whether whoever would decide cannot read the world."""
    horizon_hours: int = 48
    name: str = "scripted"

    def set(self, zone: str, average: Curve, marginal: Curve | None = None) -> None:
        """Give a zone its curves; the marginal one is the average's unless told otherwise."""
        self.curves[zone, Signal.AVERAGE] = average
        self.curves[zone, Signal.MARGINAL] = marginal or average

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """The ``SignalProvider`` port."""
        return ProviderAnswer(tuple(f for f in self.issued(now) if f.zone in zones), ())

    def issued(self, now: datetime) -> tuple[Forecast, ...]:
        """The newest forecasts by ``now``."""
        issued_at = now - (now - _EPOCH) % REFRESHED_EVERY
        start = now - (now - _EPOCH) % HOUR
        hours = [start + number * HOUR for number in range(self.horizon_hours)]
        return tuple(
            Forecast(
                zone=zone,
                signal=signal,
                provider=self.name,
                methodology="scripted/1",
                issued_at=issued_at,
                start=start,
                step_s=HOUR.total_seconds(),
                values=tuple(curve(hour) for hour in hours),
            )
            for (zone, signal), curve in self.curves.items()
            if signal not in self.lost or issued_at < self.lost[signal]
        )


class RefreshedWorld(WorldReader):
    """The real reader, over a store that is always as fresh as the grid can make it."""

    def __init__(self, grid: ScriptedGrid, signals: SignalStore, *sources: Any) -> None:
        super().__init__(signals, *sources)
        self._grid = grid

    def read(self, now: datetime) -> World:
        if self._grid.broken:
            raise ConnectionError("the world cannot be read")
        self._signals.put_forecasts(self._grid.issued(now))
        return super().read(now)
