"""Series as cumulative curves: the integral over any stretch of time is two look-ups.

A forecast is piecewise constant, so its cumulative is piecewise linear. All zones of a signal
share one grid with the smallest step among them; a look-up between edges interpolates linearly,
which is exact where each zone's own edges lie on the common grid, as those of clock hours and
their parts do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from domain.forecast import Forecast

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

EXACT_S = 5e-7
"""Half a microsecond: datetimes are exact to one, sums of their differences as floats nearly."""

NO_FORECAST = -1
"""The row of a zone that has no forecast: never fresh, its horizon never reached."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Cumulative intensities of several zones, from ``origin``, in (gCO2eq/kWh) x clock seconds.

    Arrays have one row a zone and, last, one for every zone without a forecast.
    """

    origin: datetime
    step_s: float
    zones: Mapping[str, int]
    """Zone -> row."""
    providers: tuple[str, ...]
    """(zones,): who made each forecast."""
    cumulative: Floats
    """(zones, edges); flat beyond a zone's horizon, which ``ends_s`` tells."""
    rises: Floats
    """(zones, edges): from each edge to the next."""
    issued_s: Floats
    """(zones,): when each forecast was issued, clock seconds after ``origin``."""
    starts_s: Floats
    """(zones,): where each series begins."""
    ends_s: Floats
    """(zones,): each zone's horizon."""

    @classmethod
    def of(cls, forecasts: Sequence[Forecast]) -> Curves:
        """Curves of one signal's forecasts; at least one."""
        origin = min(item.start for item in forecasts)
        step_s = min(item.step_s for item in forecasts)
        last_s = max((item.end - origin).total_seconds() for item in forecasts)
        edges = np.arange(0.0, last_s + step_s * 1.5, step_s)
        cumulative = np.zeros((len(forecasts) + 1, len(edges)))
        times = np.full((3, len(forecasts) + 1), -np.inf)
        for row, item in enumerate(forecasts):
            begin_s = (item.start - origin).total_seconds()
            total = np.cumsum(np.asarray(item.values) * item.step_s)
            if begin_s == 0.0 and item.step_s == step_s:
                # The common case: its edges are the grid's.
                cumulative[row, 1 : len(total) + 1] = total
                cumulative[row, len(total) + 1 :] = total[-1]
            else:
                own = begin_s + item.step_s * np.arange(len(total) + 1)
                cumulative[row] = np.interp(edges, own, np.concatenate(([0.0], total)))
            times[:, row] = [
                (instant - origin).total_seconds()
                for instant in (item.issued_at, item.start, item.end)
            ]
        issued_s, starts_s, ends_s = times
        return cls(
            origin=origin,
            step_s=step_s,
            zones={item.zone: row for row, item in enumerate(forecasts)},
            providers=(*(item.provider for item in forecasts), ""),
            cumulative=cumulative,
            rises=np.diff(cumulative, axis=1, append=cumulative[:, -1:]),
            issued_s=issued_s,
            starts_s=starts_s,
            ends_s=ends_s,
        )

    def row(self, zone: str | None) -> int:
        """The row of a zone, ``NO_FORECAST`` where there is none."""
        return NO_FORECAST if zone is None else self.zones.get(zone, NO_FORECAST)

    def seconds(self, instant: datetime) -> float:
        """An instant on this grid: clock seconds after ``origin``."""
        return (instant - self.origin).total_seconds()

    def fresh(self, now: datetime, max_ages_s: Floats) -> Mask:
        """(zones,): forecasts that are no older than their own limit and cover ``now``."""
        now_s = self.seconds(now)
        young = self.issued_s + max_ages_s >= now_s - EXACT_S
        return young & (self.starts_s <= now_s) & (now_s < self.ends_s)

    def edges_between(self, after_s: float, until_s: float) -> Floats:
        """Grid edges in (after, until], as far as the forecasts reach."""
        first = math.floor((after_s + EXACT_S) / self.step_s) + 1
        last = math.floor((until_s + EXACT_S) / self.step_s)
        last = min(last, self.cumulative.shape[1] - 1)
        return self.step_s * np.arange(max(first, 0), last + 1)

    def means(self, begins_s: Floats, durations_s: Floats) -> Floats:
        """(zones, durations, begins): each zone's mean intensity, gCO2eq/kWh.

        No begin lies before ``origin``. Beyond its horizon a zone adds nothing.

        Args:
            begins_s: (begins,) on this grid.
            durations_s: (durations, 1) of runs that begin there, clock seconds.
        """
        place = np.concatenate((begins_s[None, :], begins_s + durations_s)) / self.step_s
        left = place.astype(np.intp)
        # Clipped: from the last edge on nothing rises.
        values = self.rises.take(left, axis=1, mode="clip")
        values *= place - left
        values += self.cumulative.take(left, axis=1, mode="clip")
        means: Floats = (values[:, 1:] - values[:, :1]) / durations_s
        return means

    def mean(self, row: int, begin_s: float, duration_s: float) -> float:
        """The same for one zone and one run."""
        return (self._at(row, begin_s + duration_s) - self._at(row, begin_s)) / duration_s

    def _at(self, row: int, at_s: float) -> float:
        place = min(at_s / self.step_s, self.cumulative.shape[1] - 1)
        left = int(place)
        value = self.cumulative[row, left] + self.rises[row, left] * (place - left)
        return float(value)
