"""The signal that steers, as it will have been: what a perfect forecast of all time would tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from domain.room import HOUR_S
from domain.trace import Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

EXACT_S = 5e-7
"""Half a microsecond: datetimes are exact to one, sums of their differences as floats nearly."""


@dataclass(frozen=True, slots=True, eq=False)
class Foresight:
    """The truth in each place: cumulative, (gCO2eq/kWh) x seconds at the grid's edges.

    A trace goes round at its end, as ``Trace.window`` does.
    """

    begin_s: float
    step_s: float
    cumulative: Floats
    """(places, edges)."""

    @classmethod
    def of(cls, trace: Trace, zones: Sequence[str], origin: datetime, last_s: float) -> Foresight:
        """The truth of each place's zone, as far as ``last_s``."""
        begin_s = (trace.start - origin).total_seconds()
        count = max(trace.steps, int((last_s - begin_s) / trace.step_s) + 2)
        cumulative = np.zeros((len(zones), count + 1))
        for row, zone in enumerate(zones):
            np.cumsum(trace.window(zone, 0, count) * trace.step_s, out=cumulative[row, 1:])
        return cls(begin_s, trace.step_s, cumulative)

    def g_per_kw(self, place: int | slice, begins_s: Floats, ends_s: Floats) -> Floats:
        """Grams for each kW that is drawn from begin to end in one place, or in some, (places,
        instants).
        """
        grams: Floats = (self._until(place, ends_s) - self._until(place, begins_s)) / HOUR_S
        return grams

    def _until(self, place: int | slice, instants_s: Floats) -> Floats:
        at, row = (instants_s - self.begin_s) / self.step_s, self.cumulative[place]
        left = at.astype(np.intp)
        below = row.take(left, axis=-1)
        until: Floats = below + (row.take(left + 1, axis=-1) - below) * (at - left)
        return until

    def edges_until(self, instants_s: Floats) -> Ints:
        """How many edges lie at or before each instant."""
        last = np.floor((instants_s - self.begin_s + EXACT_S) / self.step_s)
        return last.astype(np.intp) + 1

    def edge_s(self, numbers: Ints) -> Floats:
        """Where edges lie; the grid's begin is number 0."""
        return self.begin_s + self.step_s * numbers.astype(np.float64)
