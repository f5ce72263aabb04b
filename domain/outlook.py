"""What one signal foretells at one moment: which rows it covers, and what a run there emits.

A run's grams are its energy times the mean intensity of its hours; moving an input adds the energy
of moving it times the mean intensity of both ends in the same hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from domain.curves import EXACT_S, Curves, Floats, Mask
from domain.energy import transfer_kwh
from domain.forecast import Signal
from domain.manifest import JobManifest
from domain.rows import Rows

Places = NDArray[np.intp]

_MICROSECOND_DIGITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """One signal's forecasts as some rows see them."""

    signal: Signal
    rows: Rows
    curves: Curves
    zones: Places
    """(rows,): where the curves have each row's zone."""
    now_s: float
    """Now, on the curves' grid."""
    ready_s: float
    """When a run that is submitted now begins its work."""
    fresh_zones: Mask
    """(zones,): young enough, and covering now."""
    is_static: bool = False
    """By annual means: it tells no start from another."""

    @classmethod
    def of(cls, rows: Rows, signal: Signal, now: datetime) -> Outlook:
        """By the forecasts as issued. Raises ``KeyError`` where no zone has one of the signal."""
        return cls._by(rows, signal, now, rows.ground.curves[signal])

    @classmethod
    def expected(cls, rows: Rows, signal: Signal, now: datetime) -> Outlook:
        """By what learned regret leaves of them. Raises ``KeyError`` as ``of`` does."""
        return cls._by(rows, signal, now, rows.ground.expected[signal])

    @classmethod
    def _by(cls, rows: Rows, signal: Signal, now: datetime, curves: Curves) -> Outlook:
        return cls(
            signal=signal,
            rows=rows,
            curves=curves,
            zones=rows.zones[signal],
            now_s=curves.seconds(now),
            ready_s=curves.seconds(now + rows.ground.world.policy.start_up),
            fresh_zones=curves.fresh(now, rows.ground.max_ages_s[signal]),
        )

    @classmethod
    def static(cls, rows: Rows, signal: Signal, now: datetime) -> Outlook:
        """By annual means of the regions, which are always fresh."""
        curves = rows.ground.annual[signal]
        return cls(
            signal=signal,
            rows=rows,
            curves=curves,
            zones=cls._regions(rows, curves),
            now_s=curves.seconds(now),
            ready_s=curves.seconds(now + rows.ground.world.policy.start_up),
            fresh_zones=np.isfinite(curves.issued_s),
            is_static=True,
        )

    def on(self, rows: Rows) -> Outlook:
        """The same for other rows of the same world."""
        zones = self._regions(rows, self.curves) if self.is_static else rows.zones[self.signal]
        return replace(self, rows=rows, zones=zones)

    @staticmethod
    def _regions(rows: Rows, curves: Curves) -> Places:
        return np.array([curves.row(place.region) for place in rows.places], dtype=np.intp)

    @property
    def fresh(self) -> Mask:
        """(rows,): whether the forecast of each row's zone may be trusted."""
        return self.fresh_zones[self.zones]

    @property
    def fresh_regions(self) -> int:
        """How many of the rows' regions have a fresh forecast."""
        return int(np.count_nonzero(self.fresh[self.rows.first_of_region]))

    def provider(self, row: int) -> str:
        """Who made the forecast of a row's zone."""
        return self.curves.providers[int(self.zones[row])]

    @property
    def regions_without(self) -> tuple[str, ...]:
        """The rows' regions without a fresh forecast."""
        first = self.rows.first_of_region
        return tuple(self.rows.places[row].region for row in first[~self.fresh[first]])

    def edges_after_now_s(self, latest_s: float) -> Floats:
        """Edges of the grid in (now, latest], clock seconds after now."""
        edges_s = self.curves.edges_between(self.now_s, self.now_s + latest_s)
        after_now_s: Floats = (edges_s - self.now_s).round(_MICROSECOND_DIGITS)
        return after_now_s

    def last_covered_s(self, manifests: Sequence[JobManifest]) -> Floats:
        """(rows, jobs): the last start, clock seconds after now, whose run ends within the
        horizon of every zone that it meets.
        """
        runtimes_s = [item.runtime.total_seconds() for item in manifests]
        last_s: Floats = self.curves.ends_s[self.zones][:, None] - self.ready_s - runtimes_s
        for job, manifest in enumerate(manifests):
            for sources, _ in self._moves(manifest):
                ends_s = self.curves.ends_s[sources] - self.ready_s - runtimes_s[job]
                last_s[:, job] = np.minimum(last_s[:, job], ends_s)
        return last_s

    def grams(
        self, manifests: Sequence[JobManifest], starts_s: Floats, energy_kwh: Floats
    ) -> Floats:
        """(rows, jobs, starts): expected grams of runs that take ``energy_kwh`` (rows, jobs)."""
        runtimes_s = np.array([[item.runtime.total_seconds()] for item in manifests])
        means = self.curves.means(starts_s + self.ready_s, runtimes_s)
        here = means.take(self.zones, axis=0)
        grams: Floats = here * energy_kwh[..., None]
        for job, manifest in enumerate(manifests):
            for sources, kwh in self._moves(manifest):
                grams[:, job] += kwh[:, None] * (here[:, job] + means[sources, job]) / 2
        return grams

    def grams_at(
        self, manifest: JobManifest, row: int, start_s: float, energy_kwh: float
    ) -> float | None:
        """The same in one cell; ``None`` where no fresh forecast covers the run."""
        own, begin_s = self.zones[row], self.ready_s + start_s
        run_s = manifest.runtime.total_seconds()
        here = self._mean(own, begin_s, run_s)
        if here is None or not self.fresh_zones[own]:
            return None
        grams = energy_kwh * here
        for sources, kwh in self._moves(manifest):
            there = self._mean(sources[row], begin_s, run_s)
            if there is None:
                return None
            grams += float(kwh[row]) * (here + there) / 2
        return grams

    def _mean(self, zone: np.intp, begin_s: float, run_s: float) -> float | None:
        """One zone's mean; ``None`` beyond its horizon."""
        if begin_s + run_s > self.curves.ends_s[zone] + EXACT_S:
            return None
        return self.curves.mean(int(zone), begin_s, run_s)

    def _moves(self, manifest: JobManifest) -> list[tuple[Places, Floats]]:
        """For each input: (rows,) the zone that it comes from and the energy to move it there.

        The zone is the row's own where nothing is moved, or where no fresh forecast tells of the
        source.
        """
        world, moves = self.rows.ground.world, []
        for item in manifest.inputs:
            away = np.array([row.region != item.region for row in self.rows.places])
            source = self.curves.row(world.catalogue.get(item.region).zone(self.signal))
            zones = np.where(away & self.fresh_zones[source], source, self.zones)
            moves.append((zones, away * transfer_kwh(world.methodology, item.gib)))
        return moves
