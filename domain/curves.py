"""Series as cumulative curves: the integral over any stretch of time is two look-ups.

A forecast is piecewise constant, so its cumulative is piecewise linear. All zones share one grid
with the smallest step among them; a look-up between edges interpolates linearly, which is exact
wherever a zone's own steps lie on the common grid (providers issue on multiples of five minutes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from domain.forecast import Forecast

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Cumulative intensities of several zones, from ``origin``, in (gCO2eq/kWh) x clock seconds."""

    origin: datetime
    step_s: float
    zones: Mapping[str, int]
    """Zone -> row."""
    cumulative: Floats
    """(zones, edges); flat beyond a zone's horizon, which ``ends_s`` tells."""
    ends_s: Floats
    """(zones,): each zone's horizon, clock seconds after ``origin``."""
    starts_s: Floats
    """(zones,): where each zone's series begins."""

    @classmethod
    def of(cls, forecasts: Sequence[Forecast]) -> Curves:
        """Curves of one signal's forecasts; at least one."""
        origin = min(item.start for item in forecasts)
        step_s = min(item.step_s for item in forecasts)
        last = max((item.end - origin).total_seconds() for item in forecasts)
        edges = np.arange(0.0, last + step_s * 1.5, step_s)
        rows, starts, ends = [], [], []
        for item in forecasts:
            begin = (item.start - origin).total_seconds()
            own = begin + item.step_s * np.arange(len(item.values) + 1)
            total = np.concatenate(([0.0], np.cumsum(np.asarray(item.values) * item.step_s)))
            rows.append(np.interp(edges, own, total))
            starts.append(begin)
            ends.append(float(own[-1]))
        return cls(
            origin=origin,
            step_s=step_s,
            zones={item.zone: row for row, item in enumerate(forecasts)},
            cumulative=np.array(rows),
            ends_s=np.array(ends),
            starts_s=np.array(starts),
        )

    def seconds(self, instant: datetime) -> float:
        """An instant on this grid."""
        return (instant - self.origin).total_seconds()

    def edges_after(self, instant: datetime, until: datetime) -> Floats:
        """Grid edges in (instant, until], clock seconds after ``origin``."""
        first = int(np.floor(self.seconds(instant) / self.step_s)) + 1
        last = int(np.floor(self.seconds(until) / self.step_s))
        last = min(last, self.cumulative.shape[1] - 1)
        return self.step_s * np.arange(max(first, 0), last + 1)

    def at(self, instant_s: float) -> datetime:
        """The instant of a place on this grid."""
        return self.origin + timedelta(seconds=instant_s)

    def integral(self, rows: NDArray[np.intp], begin_s: Floats, duration_s: float) -> Floats:
        """(rows, starts): integral over ``duration_s`` from each start."""
        table = self.cumulative[rows]
        return look_up(table, begin_s + duration_s, self.step_s) - look_up(
            table, begin_s, self.step_s
        )


def look_up(cumulative: Floats, at_s: Floats, step_s: float) -> Floats:
    """Values of cumulative curves (rows, edges) at places on the grid, linear between edges."""
    place = np.clip(at_s / step_s, 0.0, cumulative.shape[1] - 1.0)
    left = np.minimum(place.astype(np.intp), cumulative.shape[1] - 2)
    share = place - left
    low = cumulative[:, left]
    values: Floats = low + (cumulative[:, left + 1] - low) * share
    return values
