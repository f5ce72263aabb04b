"""The cells of decisions as arrays with three axes: rows, jobs, starts.

Jobs in one array decide at one moment, on one world and room, and share their rows and starts; a
single decision is a batch of one. All walls but room are a last start for each row and job. Each
is kept apart, so that "why not Stockholm?" has an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from domain.curves import EXACT_S, Floats, Mask
from domain.decision import DecisionInputs, World
from domain.forecast import Signal
from domain.job import Estimate, Fallback
from domain.outlook import Outlook
from domain.room import HOUR_S, Reserved, SeenRoom, hour_of, hour_start
from domain.rows import Rows
from domain.waiting import harmless

Hours = NDArray[np.int64]

GRAM_DIGITS, USD_DIGITS, KWH_DIGITS = 6, 9, 9
"""How exactly what a cell takes is told."""

SCORE_DIGITS = 9
"""How exactly scores are compared."""

_ZERO_RANGE = 1e-9
"""A range below this share of its values is the rounding of sums, not a difference."""

_NEVER = np.iinfo(np.int64).max
"""Later than every hour."""


class Wall(StrEnum):
    """What a cell may not cross."""

    STALE = "stale signal"
    HORIZON = "forecast horizon"
    DEADLINE = "deadline"
    COST = "cost ceiling"
    ROOM = "room"
    HARM = "harm on the other signal"
    """No wall where it leaves nothing."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The cell chosen for one job, by its place in the arrays."""

    row: int
    start: int
    score: float | None
    """``None`` for a fallback."""
    fallbacks: tuple[Fallback, ...] = ()


def scale(low: float, high: float, weight: float) -> tuple[float, float]:
    """``(value - first) * second`` scales low..high to 0..weight; a zero range scales to 0."""
    spread = high - low
    return low, (weight / spread if spread > _ZERO_RANGE * abs(high) else 0.0)


def next_full_hours(rows: Rows, room: SeenRoom, first: int) -> Hours | None:
    """(rows, hours from ``first``): the next hour, this one included, in which one more machine
    would go over the policy's limit. Hours count from ``first``; ``None`` where all have room.
    """
    full = room.full(rows.keys, rows.limits, Reserved(rows.needs.vcpus, rows.needs.gpus), first)
    if full is None:
        return None
    marked = np.full((full.shape[0], full.shape[1] + 1), _NEVER)
    np.copyto(marked[:, :-1], np.arange(full.shape[1]), where=full)
    next_full: Hours = np.minimum.accumulate(marked[:, ::-1], axis=1)[:, ::-1]
    return next_full


@dataclass(frozen=True, eq=False)
class Cells:
    """All cells of some jobs under one signal, or under none."""

    jobs: Sequence[DecisionInputs]
    rows: Rows
    outlook: Outlook | None
    """``None``: by cost alone."""
    starts_s: Floats
    """(starts,): clock seconds after now, which is the first."""

    @property
    def world(self) -> World:
        """The jobs' world."""
        return self.rows.ground.world

    @property
    def now(self) -> datetime:
        """The jobs' moment."""
        return self.jobs[0].now

    def instant(self, start: int) -> datetime:
        """When the cells of one start begin."""
        return self.now + timedelta(seconds=float(self.starts_s[start]))

    # ── what a run takes ─────────────────────────────────────────────────────────────────────

    @cached_property
    def carbon_g(self) -> Floats:
        """(rows, jobs, starts): expected grams of the signal; all 0 without one."""
        if self.outlook is None:
            return np.zeros((len(self.rows.places), len(self.jobs), len(self.starts_s)))
        manifests = [job.manifest for job in self.jobs]
        return self.outlook.grams(manifests, self.starts_s, self.energy_kwh)

    @cached_property
    def energy_kwh(self) -> Floats:
        """(rows, jobs): PUE and rework included."""
        return self.rows.power_kw * self._hours * self.rows.pue

    @cached_property
    def cost_usd(self) -> Floats:
        """(rows, jobs): expected dollars. Prices stand still today, so no start differs."""
        cost = self.rows.usd_per_hour * self._hours
        for index, job in enumerate(self.jobs):
            for item in job.manifest.inputs:
                cost[:, index] += item.gib * self.rows.egress_usd_per_gib(item.region)
        return cost

    @cached_property
    def _hours(self) -> Floats:
        """(rows, jobs): running hours as energy and cost count them, rework included."""
        scale = self.world.time_scale
        hours = [job.manifest.runtime.total_seconds() * scale / HOUR_S for job in self.jobs]
        running: Floats = self.rows.rework(hours) * hours
        return running

    def estimate(self, row: int, job: int, start: int) -> Estimate:
        """What a run of one cell is expected to take, by every signal's forecast as issued that
        covers it.
        """
        manifest, energy_kwh = self.jobs[job].manifest, float(self.energy_kwh[row, job])
        grams: dict[Signal, float | None] = dict.fromkeys(Signal)
        for signal, outlook in self._outlooks.items():
            found = outlook.grams_at(manifest, row, float(self.starts_s[start]), energy_kwh)
            grams[signal] = None if found is None else round(found, GRAM_DIGITS)
        return Estimate(
            energy_kwh=round(energy_kwh, KWH_DIGITS),
            average_carbon_g=grams[Signal.AVERAGE],
            marginal_carbon_g=grams[Signal.MARGINAL],
            cost_usd=round(float(self.cost_usd[row, job]), USD_DIGITS),
        )

    @cached_property
    def _outlooks(self) -> dict[Signal, Outlook]:
        """Every signal's by the forecasts as issued, whether or not it steers."""
        ground, outlooks = self.rows.ground, {}
        for signal, curves in ground.curves.items():
            if self.outlook is not None and self.outlook.curves is curves:
                outlooks[signal] = self.outlook
            else:
                outlooks[signal] = Outlook.of(self.rows, signal, self.now)
        return outlooks

    # ── walls ────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def feasible(self) -> Mask:
        """(rows, jobs, starts): within every wall, and harmless where the policy asks for that and
        it leaves anything.
        """
        within = self.within_walls
        if self.outlook is None or not self.world.policy.no_harm:
            return within
        harmless_too = harmless(self.jobs, self.outlook, self.starts_s, self.energy_kwh)
        if harmless_too is None:
            return within
        harmless_too &= within
        any_left: Mask = np.asarray(harmless_too.any(axis=(0, 2)))
        left: Mask = np.where(any_left[:, None], harmless_too, within)
        return left

    @cached_property
    def within_walls(self) -> Mask:
        """(rows, jobs, starts): within every wall."""
        last_s = np.minimum(self._last_covered_s, self._last_in_time_s)
        last_s = np.where(self._fresh & self.affordable, last_s + EXACT_S, -np.inf)
        within: Mask = self.starts_s <= last_s[..., None]
        if self._next_full is not None:
            within &= self.has_room(self.starts_s)
        return within

    @cached_property
    def cleanest_g(self) -> Floats:
        """(rows, jobs): least grams of a row's feasible cells; infinity where there is none."""
        least: Floats = np.where(self.feasible, self.carbon_g, np.inf).min(axis=2)
        return least

    @cached_property
    def dirtiest_g(self) -> Floats:
        """(rows, jobs): most grams of a row's feasible cells; minus infinity where none."""
        most: Floats = np.where(self.feasible, self.carbon_g, -np.inf).max(axis=2)
        return most

    def left_by_wall(self) -> dict[Wall, Mask]:
        """(rows, jobs, starts) for each wall, in order: what it and those before it leave."""
        last_s = np.full((*self.cost_usd.shape, 1), np.inf)
        left = {}
        for wall, walled_s in (
            (Wall.STALE, np.where(self._fresh, np.inf, -np.inf)),
            (Wall.HORIZON, self._last_covered_s),
            (Wall.DEADLINE, self._last_in_time_s),
            (Wall.COST, np.where(self.affordable, np.inf, -np.inf)),
        ):
            last_s = np.minimum(last_s, walled_s[..., None] + EXACT_S)
            left[wall] = self.starts_s <= last_s
        return {**left, Wall.ROOM: self.within_walls, Wall.HARM: self.feasible}

    @property
    def _fresh(self) -> Mask:
        """(rows, 1)."""
        return self.outlook.fresh[:, None] if self.outlook else np.array([[True]])

    @cached_property
    def _last_covered_s(self) -> Floats:
        """(rows, jobs): the last start within the horizon, clock seconds after now."""
        if self.outlook is None:
            return np.array([[np.inf]])
        return self.outlook.last_covered_s([job.manifest for job in self.jobs])

    @cached_property
    def _last_in_time_s(self) -> Floats:
        """(rows, jobs): the last start within the deadline wall of the row's capacity type."""
        spot_s = [(job.latest_spot_start - job.now).total_seconds() for job in self.jobs]
        other_s = [(job.latest_on_demand_start - job.now).total_seconds() for job in self.jobs]
        return np.where(self.rows.is_spot, spot_s, other_s)

    @cached_property
    def affordable(self) -> Mask:
        """(rows, jobs): within the job's ceiling and the policy's."""
        most = [job.manifest.max_cost_usd or np.inf for job in self.jobs]
        affordable: Mask = self.rows.within_ceiling & (self.cost_usd <= most)
        return affordable

    @cached_property
    def _next_full(self) -> Hours | None:
        return next_full_hours(self.rows, self.jobs[0].room, hour_of(self.now))

    def has_room(self, starts_s: Floats) -> Mask:
        """(rows, jobs, starts): whether there is room all along the planned run."""
        if self._next_full is None:
            return np.ones((len(self.rows.places), len(self.jobs), len(starts_s)), dtype=np.bool_)
        into_hour_s = (self.now - hour_start(hour_of(self.now))).total_seconds()
        planned_s = np.array([[job.planned_run.total_seconds()] for job in self.jobs])
        # A run that ends with an hour does not touch the next.
        firsts = ((starts_s + (into_hour_s + EXACT_S)) / HOUR_S).astype(np.int64)
        lasts = ((starts_s + (into_hour_s - EXACT_S) + planned_s) / HOUR_S).astype(np.int64)
        place = np.minimum(firsts, self._next_full.shape[1] - 1)
        has_room: Mask = self._next_full.take(place, axis=1)[:, None] > lasts
        return has_room
