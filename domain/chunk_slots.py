"""The slots in which the chunks of one job may run: what they cost, and which walls cut them.

Carbon and cost of doing all the work in one slot are scaled 0..1 over the feasible slots and
weighed as for any other job; both are linear in running time, so that a plan's score is the sum
over its chunks. Resuming is work on top, and each chunk moves the job's inputs anew.

The walls are those of a run in one piece, which is one chunk. The last chunk ends early enough for
a p95 run; on Spot, every chunk ends early enough for all that is left to be done once more
on-demand. A reclaim costs a chunk no work, since its program writes a checkpoint when it is told to
end, but one more resume: there is no rework of whole runs, and running time is longer by the
resumes to be expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np

from domain.cells import next_full_hours, scale
from domain.chunks import Chunk, Held, Places, Slots, Work
from domain.curves import EXACT_S, Floats, Mask
from domain.decision import DecisionInputs
from domain.manifest import Interruptible
from domain.outlook import Outlook
from domain.room import HOUR_S, hour_of, hour_start
from domain.rows import Rows


@dataclass(frozen=True, eq=False)
class SlottedJob:
    """One job's slots under the signal that steers. Arrays are (rows, slots) or (rows, 1)."""

    inputs: DecisionInputs
    """As short as what is left."""
    interruptible: Interruptible
    outlook: Outlook

    @property
    def rows(self) -> Rows:
        """Where it may run."""
        return self.outlook.rows

    @property
    def work(self) -> Work:
        """What is left of it. Taking up the newest checkpoint is counted as work already."""
        return Work(
            work_s=self._work_s,
            min_chunk_s=self.interruptible.min_chunk.total_seconds(),
            start_up_s=self._start_up_s,
            resume_s=self.interruptible.resume_overhead.total_seconds(),
        )

    @cached_property
    def slots(self) -> Slots:
        """With costs as scores."""
        (_, per_g), (_, per_usd) = self._scales
        return Slots(
            edges_s=self._edges_s,
            rates=self._g_per_s * per_g + self._usd_per_s * per_usd,
            begins=self._begin_g * per_g + self._begin_usd * per_usd,
            open_until_s=self._open_until_s,
            done_by_s=np.minimum(self._ends_by_s, self._room_until_s),
            groups=self._groups,
        )

    @property
    def least_score(self) -> float:
        """Of all the work in the cleanest slot at the lowest price: where the scale begins."""
        (low_g, per_g), (low_usd, per_usd) = self._scales
        return low_g * per_g + low_usd * per_usd

    @property
    def held(self) -> Held | None:
        """The cell planned before, now if its start has passed."""
        cell = self.inputs.incumbent
        if cell is None or (cell.region, cell.capacity_type) not in self.rows.index:
            return None
        return Held(
            row=self.rows.index[cell.region, cell.capacity_type],
            start_s=max(0.0, (cell.start - self.inputs.now).total_seconds()),
            min_gain=self.inputs.world.policy.look_again.min_gain,
        )

    # ── what a chunk takes ───────────────────────────────────────────────────────────────────

    def cost_usd(self, chunk: Chunk) -> float:
        """Expected dollars."""
        running_s = chunk.duration_s - self._start_up_s
        return float(self._usd_per_s[chunk.row, 0] * running_s + self._begin_usd[chunk.row, 0])

    def energy_kwh(self, chunk: Chunk) -> float:
        """Expected, PUE included."""
        return float(self._kw[chunk.row, 0]) * (chunk.duration_s - self._start_up_s) / HOUR_S

    def grams(self, chunk: Chunk, outlook: Outlook) -> float | None:
        """Expected grams: the integral over the chunk's hours."""
        running = timedelta(seconds=chunk.duration_s - self._start_up_s)
        manifest = self.inputs.manifest.model_copy(update={"runtime": running})
        return outlook.grams_at(manifest, chunk.row, chunk.start_s, self.energy_kwh(chunk))

    @cached_property
    def _kw(self) -> Floats:
        """(rows, 1): for each clock hour of running, PUE included."""
        return self.rows.power_kw * self.rows.pue * self._accounted

    @cached_property
    def _usd_per_s(self) -> Floats:
        """(rows, 1)."""
        return self.rows.usd_per_hour / HOUR_S * self._accounted

    @cached_property
    def _accounted(self) -> Floats:
        """(rows, 1): accounted time for each second of running, with resumes after reclaims."""
        resume_h = self.interruptible.resume_overhead.total_seconds() / HOUR_S
        scale_ = self.inputs.world.time_scale
        reclaims = np.array([[row.reclaims_per_hour] for row in self.rows.places])
        return scale_ * (1 + reclaims * scale_ * resume_h)

    @cached_property
    def _g_per_s(self) -> Floats:
        """(rows, slots): between two edges the forecast stands still."""
        curves = self.outlook.curves
        at = ((self.outlook.now_s + self._edges_s[:-1] + EXACT_S) / curves.step_s).astype(np.intp)
        intensity = curves.rises[self.outlook.zones][:, at] / curves.step_s
        return intensity * self._kw / HOUR_S

    @cached_property
    def _begin_usd(self) -> Floats:
        """(rows, 1): moving the inputs."""
        egress = np.zeros((len(self.rows.places), 1))
        for item in self.inputs.manifest.inputs:
            egress[:, 0] += item.gib * self.rows.egress_usd_per_gib(item.region)
        return egress

    @cached_property
    def _begin_g(self) -> Floats:
        """(rows, slots): moving the inputs in the course of a shortest chunk."""
        shortest = min(self.interruptible.min_chunk, self.inputs.manifest.runtime)
        manifest = self.inputs.manifest.model_copy(update={"runtime": shortest})
        no_kwh = np.zeros((len(self.rows.places), 1))
        return self.outlook.grams([manifest], self._edges_s[:-1], no_kwh)[:, 0]

    @cached_property
    def _scales(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Of grams and of dollars, over the feasible slots."""
        weights = self.inputs.world.policy.weights
        share = weights.carbon / (weights.carbon + weights.cost)
        grams = (self._g_per_s * self._work_s + self._begin_g)[self.is_feasible]
        usd = (self._usd_per_s * self._work_s + self._begin_usd)[self.is_feasible.any(axis=1)]
        return (
            scale(float(grams.min()), float(grams.max()), share),
            scale(float(usd.min()), float(usd.max()), 1 - share),
        )

    # ── walls ────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def is_feasible(self) -> Mask:
        """(rows, slots): where a chunk may stay at all."""
        feasible: Mask = self._open_until_s > self._edges_s[:-1] + EXACT_S
        return feasible

    @cached_property
    def _edges_s(self) -> Floats:
        """(edges,): now, and those of the grid until one is past the deadline wall."""
        latest_s = float(self._in_time_s.max()) + self.outlook.curves.step_s
        return np.concatenate((np.zeros(1), self.outlook.edges_after_now_s(latest_s)))

    @cached_property
    def _in_time_s(self) -> Floats:
        """(rows, 1): when the work must be done for a p95 run to be done in time; on Spot, with
        all of it still to come again.
        """
        run = self.inputs.world.policy.start_up + self.inputs.manifest.runtime
        spot, other = self.inputs.latest_spot_start, self.inputs.latest_on_demand_start
        spot_s, other_s = (
            (start + run - self.inputs.now).total_seconds() for start in (spot, other)
        )
        return np.where(self.rows.is_spot, spot_s, other_s)

    @cached_property
    def _ends_by_s(self) -> Floats:
        """(rows, 1): deadline and horizon; never where the signal is stale or the price high."""
        last_s = self.outlook.last_covered_s([self.inputs.manifest])
        covered_s = last_s + (self._start_up_s + self._work_s)
        most_usd = self.inputs.manifest.max_cost_usd or np.inf
        usd = self._usd_per_s * self._work_s + self._begin_usd
        allowed = self.outlook.fresh[:, None] & self.rows.within_ceiling & (usd <= most_usd)
        return np.where(allowed, np.minimum(covered_s, self._in_time_s), -np.inf)

    @cached_property
    def _open_until_s(self) -> Floats:
        return np.minimum(self._ends_by_s, self._room_until_s)

    @cached_property
    def _room_until_s(self) -> Floats:
        """(rows, slots): when the next hour without room begins, the one under way included."""
        first = hour_of(self.inputs.now)
        full = next_full_hours(self.rows, self.inputs.room, first)
        if full is None:
            return np.full((len(self.rows.places), len(self._edges_s) - 1), np.inf)
        into_hour_s = (self.inputs.now - hour_start(first)).total_seconds()
        hours = ((self._edges_s[:-1] + (into_hour_s + EXACT_S)) / HOUR_S).astype(np.intp)
        next_full = full[:, np.minimum(hours, full.shape[1] - 1)].astype(np.float64)
        return next_full * HOUR_S - into_hour_s

    # ── plain figures ────────────────────────────────────────────────────────────────────────

    @property
    def _groups(self) -> Places:
        """Rows among which chunks may change: all, or those of a region."""
        return (
            np.zeros(1, np.intp)
            if self.interruptible.portable_checkpoint
            else self.rows.first_of_region
        )

    @property
    def _work_s(self) -> float:
        return self.inputs.manifest.runtime.total_seconds()

    @property
    def _start_up_s(self) -> float:
        return self.inputs.world.policy.start_up.total_seconds()
