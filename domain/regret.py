"""Regret: how much of a promised saving survives until the hours it was promised for.

A forecast issued at some moment promises, for each lead time, a change against its own first
value. Of that change only a share comes true on the mean: the slope of what came on what was
promised. ``expected`` shrinks a forecast by that share, so that a far, uncertain gain weighs less
than a near, sure one. Where the forecasts of the last weeks lost to going at once to the greenest
allowed region by annual mean, ``static_rule`` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import rfc8785
from numpy.typing import NDArray

from domain.forecast import Forecast, Signal

LEAD_EDGES_H = (1, 2, 3, 6, 9, 12, 18, 24, 36, 48, 72)
"""Lead times in hours that part the buckets: [0, 1), [1, 2), ... [72, infinity)."""

BUCKETS = len(LEAD_EDGES_H) + 1

_LAST_CENTRE_H = 84.0
_BOUNDS_H = (0, *LEAD_EDGES_H)
_CENTRES_H = np.array([*np.convolve(_BOUNDS_H, (0.5, 0.5), "valid"), _LAST_CENTRE_H])


def leads_h(forecast: Forecast, time_scale: float = 1.0) -> NDArray[np.float64]:
    """(values,): accounted hours from the forecast's start to the middle of each step."""
    step_h = forecast.step_s * time_scale / 3600
    return (np.arange(len(forecast.values), dtype=np.float64) + 0.5) * step_h


@dataclass(frozen=True, slots=True)
class Regret:
    """What decisions go by: learned shares, and where the static rule holds. An input by hash."""

    survival: Mapping[tuple[Signal, str], tuple[float, ...]] = field(default_factory=dict)
    """(signal, zone) -> share of a promised change that comes true, 0..1, one a lead bucket;
    a zone that is not named is taken at its word."""
    static_rule: frozenset[tuple[Signal, str]] = frozenset()
    """(signal, residency class) for which the forecast has lost lately."""

    def expected(self, forecast: Forecast, time_scale: float = 1.0) -> Forecast:
        """The forecast, each value drawn towards the first by what its lead time has lost.

        A bucket's share holds at its centre; between centres it is interpolated, so that no step
        of the forecast is an artefact of the buckets.

        Args:
            forecast: as it was issued.
            time_scale: accounted seconds for each second on the clock (``World.time_scale``).
        """
        shares = self.survival.get((forecast.signal, forecast.zone))
        if shares is None or not forecast.values:
            return forecast
        promised = np.asarray(forecast.values)
        lost = 1.0 - np.interp(leads_h(forecast, time_scale), _CENTRES_H, shares)
        left = promised + lost * (promised[0] - promised)
        return replace(forecast, values=tuple(left.tolist()))

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``from_json`` is its inverse."""
        survival: dict[str, dict[str, list[float]]] = {}
        for (signal, zone), shares in sorted(self.survival.items()):
            survival.setdefault(signal.value, {})[zone] = list(shares)
        rules = [[signal.value, residency] for signal, residency in sorted(self.static_rule)]
        return {"survival": survival, "static_rule": rules}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Regret:
        """What ``as_json`` wrote."""
        return cls(
            survival={
                (Signal(signal), zone): tuple(map(float, shares))
                for signal, zones in data["survival"].items()
                for zone, shares in zones.items()
            },
            static_rule=frozenset((Signal(signal), name) for signal, name in data["static_rule"]),
        )

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.as_json())

    @property
    def sha256(self) -> str:
        """The content hash by which decisions refer to it."""
        return hashlib.sha256(self.canonical()).hexdigest()
