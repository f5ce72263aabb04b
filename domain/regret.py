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
from dataclasses import dataclass, field
from typing import Any

import rfc8785

from domain.forecast import Forecast, Signal

LEAD_EDGES_H = (1, 2, 3, 6, 9, 12, 18, 24, 36, 48, 72)
"""Lead times in hours that part the buckets: [0, 1), [1, 2), ... [72, infinity)."""


@dataclass(frozen=True, slots=True)
class Regret:
    """What decisions go by: learned shares, and where the static rule holds. An input by hash."""

    survival: Mapping[tuple[Signal, str], tuple[float, ...]] = field(default_factory=dict)
    """(signal, zone) -> share of a promised change that comes true, 0..1, one a lead bucket;
    a zone that is not named is taken at its word."""
    static_rule: frozenset[tuple[Signal, str]] = frozenset()
    """(signal, residency class) for which the forecast has lost lately."""

    def expected(self, forecast: Forecast) -> Forecast:
        """The forecast, each value drawn towards the first by what its lead time has lost."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``from_json`` is its inverse."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Regret:
        """What ``as_json`` wrote."""
        raise NotImplementedError

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.as_json())

    @property
    def sha256(self) -> str:
        """The content hash by which decisions refer to it."""
        return hashlib.sha256(self.canonical()).hexdigest()
