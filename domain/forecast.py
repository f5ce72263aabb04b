"""Carbon intensity of a grid zone: what was forecast, and what was observed.

Unit throughout: gCO2eq/kWh. A series is piecewise constant: ``values[i]`` holds from
``start + i * step_s`` for ``step_s`` seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import rfc8785


class Signal(StrEnum):
    """Which question the figure answers; the two can reverse a choice and are never mixed."""

    AVERAGE = "average"
    """Flow-traced mean of the grid's generation: for inventories."""
    MARGINAL = "marginal"
    """The next kWh: for the impact of a decision."""

    @property
    def other(self) -> Signal:
        """The signal that a decision moves to when this one is lost."""
        return Signal.MARGINAL if self is Signal.AVERAGE else Signal.AVERAGE


@dataclass(frozen=True, slots=True)
class Forecast:
    """One zone's series issued at one time."""

    zone: str
    signal: Signal
    provider: str
    methodology: str
    issued_at: datetime
    start: datetime
    step_s: float
    values: tuple[float, ...]

    @property
    def end(self) -> datetime:
        """The horizon: beyond it there are no cells."""
        return self.start + timedelta(seconds=self.step_s * len(self.values))

    def at(self, instant: datetime) -> float | None:
        """Intensity at an instant; ``None`` outside the series."""
        if not self.start <= instant < self.end:
            return None
        return self.values[int((instant - self.start).total_seconds() // self.step_s)]

    def replaces(self, held: Forecast) -> bool:
        """Whether it is kept in place of ``held``, of the same zone and signal.

        Not where the same provider issued that one later. Another provider's always gives way:
        every refresh brings the best that could be had, and a stand-in's, issued at the moment
        that it was made, must not outlast its need.
        """
        return self.provider != held.provider or self.issued_at >= held.issued_at

    def as_json(self) -> dict[str, Any]:
        """Plain data for canonical JSON; ``from_json`` is its inverse."""
        return {
            "zone": self.zone,
            "signal": self.signal.value,
            "provider": self.provider,
            "methodology": self.methodology,
            "issued_at": self.issued_at.isoformat(),
            "start": self.start.isoformat(),
            "step_s": self.step_s,
            "values": list(self.values),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Forecast:
        """The forecast that ``as_json`` wrote."""
        return cls(
            zone=data["zone"],
            signal=Signal(data["signal"]),
            provider=data["provider"],
            methodology=data["methodology"],
            issued_at=datetime.fromisoformat(data["issued_at"]),
            start=datetime.fromisoformat(data["start"]),
            step_s=float(data["step_s"]),
            values=tuple(float(value) for value in data["values"]),
        )

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.as_json())

    @property
    def sha256(self) -> str:
        """The content hash by which decisions refer to this forecast."""
        return hashlib.sha256(self.canonical()).hexdigest()


def one_of_each(forecasts: Iterable[Forecast]) -> tuple[Forecast, ...]:
    """One for each zone and signal: what is kept where they come one after the other."""
    kept: dict[tuple[str, Signal], Forecast] = {}
    for item in forecasts:
        held = kept.get((item.zone, item.signal))
        if held is None or item.replaces(held):
            kept[item.zone, item.signal] = item
    return tuple(kept.values())


@dataclass(frozen=True, slots=True)
class Observation:
    """What a zone's intensity was over one step, once published."""

    zone: str
    signal: Signal
    start: datetime
    step_s: float
    g_per_kwh: float
    provider: str
