"""The cheapest chunks of an interruptible job, exact on a grid of slots.

Chunks begin and end at edges of the grid; only the last ends inside a slot, when the work is done.
A chunk's length counts from its start to its end: first nothing runs while its machine starts up,
then each chunk but the first spends the resume overhead, which is paid for and does no work.

Dynamic programming from the last edge back to the first, over the work that is done. Chunk lengths
are sums of slots less overheads, so that it takes few values, and all of them are held: nothing is
rounded to quanta. A chunk that begins jumps to the first edge where it may end; from there it goes
on slot by slot. With one row and no overhead this is what greedy over slots finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.cells import SCORE_DIGITS
from domain.curves import Floats, Mask

Places = NDArray[np.intp]
Ints = NDArray[np.int64]

MOST_STATES = 1 << 23
"""Edges x rows x amounts of work done. Beyond it, chunks begin and end at every second edge alone,
or every fourth, and so on; costs stay exact. A week of hours in 20 rows never comes near."""

_US = 1_000_000
_HALF_DIGIT = 0.5 * 10**-SCORE_DIGITS
_SUMS = 1e-12
"""By how much the same costs may differ when they are added in another order."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done, in clock seconds."""

    work_s: float
    min_chunk_s: float
    """No chunk is shorter, start-up included, but the last may be."""
    start_up_s: float
    resume_s: float
    """Of each chunk but the first."""


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Where and when work may be done, and at which cost. Arrays are (rows, slots)."""

    edges_s: Floats
    """(slots + 1,): rising, from now on."""
    rates: Floats
    """Cost of each second that a chunk runs, start-up excepted; not negative."""
    begins: Floats
    """Cost of each chunk that begins with the slot, beside its seconds; not negative."""
    open_until_s: Floats
    """Until when a chunk that is there as the slot begins may stay."""
    done_by_s: Floats
    """Until when it may finish the work, if it does; no later than ``open_until_s``."""
    groups: Places
    """(groups,): the first row of each group. All chunks are in rows of one group."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One stretch in one row."""

    row: int
    start_s: float
    duration_s: float
    """Start-up and resume overhead included."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """A plan, in order of time."""

    chunks: tuple[Chunk, ...]
    cost: float


@dataclass(frozen=True, slots=True)
class Held:
    """A first chunk planned before, kept unless another plan is cheaper by ``min_gain``."""

    row: int
    start_s: float
    min_gain: float


def cheapest(work: Work, slots: Slots, held: Held | None = None) -> Chunks | None:
    """The cheapest chunks; ``None`` where the work cannot be done.

    Costs are compared as they round to 1e-9. Ties go to the earlier start, the lower row, the
    longer chunk: of the first chunk, then of the second, and so on.
    """
    table = _Table.of(work, slots)
    found = table.kept(held) if held else None
    found = found or table.cheapest()
    if table.is_whole or (found and held):
        return found
    whole = _in_one_piece(work, slots)
    if whole is None or (found and found.cost <= whole.cost):
        return found
    return whole


def _in_one_piece(work: Work, slots: Slots) -> Chunks | None:
    """The cheapest single chunk, at whatever edge it begins."""
    starts_us, curve = _us(slots.edges_s[:-1]), _Curve.of(slots)
    ready_us = starts_us + _us(work.start_up_s)
    ends_us = ready_us + _us(work.work_s)
    costs = curve.at(ends_us) - curve.at(ready_us) + slots.begins
    costs = np.where(ends_us <= _us(slots.done_by_s), costs, np.inf)
    least = float(costs.min())
    if least == np.inf:
        return None
    bound = _bound(least)
    start, row = np.argwhere(bound >= costs.T)[0].tolist()
    duration_s = float(ends_us[start] - starts_us[start]) / _US
    return Chunks((Chunk(row, float(slots.edges_s[start]), duration_s),), float(costs[row, start]))


def _us(seconds: Floats | float) -> Floats:
    """Whole microseconds, as floats, which hold infinity too."""
    rounded: Floats = np.rint(np.asarray(seconds) * _US)
    return rounded


def _bound(cost: float) -> float:
    """The most that rounds to the same as ``cost``."""
    rounded: float = round(cost, SCORE_DIGITS) + _HALF_DIGIT
    return max(cost, rounded) + _SUMS * max(1.0, abs(cost))


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """Cost of running from the first edge on, in each row."""

    edges_us: Floats
    totals: Floats
    """(rows, edges)."""
    rates: Floats
    """(rows, slots), per microsecond."""

    @classmethod
    def of(cls, slots: Slots) -> _Curve:
        edges_us, rates = _us(slots.edges_s), slots.rates / _US
        totals = np.zeros((len(rates), len(edges_us)))
        np.cumsum(rates * np.diff(edges_us), axis=1, out=totals[:, 1:])
        return cls(edges_us, totals, rates)

    def at(self, instants_us: Floats) -> Floats:
        """(rows, instants); beyond the last edge as in the last slot."""
        slot = np.searchsorted(self.edges_us[1:-1], instants_us, side="right")
        costs: Floats = self.rates[:, slot] * (instants_us - self.edges_us[slot])
        costs += self.totals[:, slot]
        return costs


@dataclass(frozen=True, eq=False)
class _Grid:
    """Edges at which chunks begin and end, and what the work makes of them; microseconds."""

    edges: Floats
    work: float
    min_chunk: float
    start_up: float
    resume: float

    @classmethod
    def of(cls, work: Work, edges_s: Floats) -> _Grid:
        lengths = (work.work_s, work.min_chunk_s, work.start_up_s, work.resume_s)
        return cls(_us(edges_s), *(float(_us(item)) for item in lengths))

    def overhead(self, at: int) -> float:
        """Of a chunk that begins with the amount ``at`` done: the first takes nothing up."""
        return self.start_up + (self.resume if at else 0.0)

    def shortest_end(self, edge: int, overhead: float) -> int:
        """The edge at which a chunk may end at the earliest; one too many where there is none."""
        least = max(self.min_chunk, overhead + 1)
        return int(np.searchsorted(self.edges, self.edges[edge] + least))

    def amounts(self, most: int) -> Floats | None:
        """All amounts of work that chunks can have done, from 0; ``None``: more than ``most``."""
        starts = range(len(self.edges) - 1)
        reached = self._gains(starts, self.overhead(0))
        later = self._gains(starts[1:], self.overhead(1))
        later = np.union1d(later, np.diff(self.edges[1:-1]))
        known = np.zeros(1)
        while reached.size:
            known = np.union1d(known, reached)
            if len(known) > most:
                return None
            further = np.unique(np.add.outer(reached, later))
            reached = np.setdiff1d(further[further < self.work], known, assume_unique=True)
        return known

    def _gains(self, starts: range, overhead: float) -> Floats:
        """What shortest chunks get done, where that leaves something to do."""
        ends = [self.shortest_end(edge, overhead) for edge in starts]
        gains = {
            float(self.edges[end] - self.edges[start]) - overhead
            for start, end in zip(starts, ends, strict=True)
            if end < len(self.edges)
        }
        return np.array(sorted(gain for gain in gains if gain < self.work))


class _Table:
    """Least costs from every edge on, by the work that is done before it."""

    def __init__(self, slots: Slots, grid: _Grid, edges: Places, done: Floats) -> None:
        """``edges``: those of the slots' that the grid has. ``done``: all amounts, microseconds."""
        self._grid, self._done = grid, done
        self._places: dict[float, Places] = {}
        self._curve, rows = _Curve.of(slots), len(slots.rates)
        self._totals = self._curve.totals[:, edges]
        self._begins = slots.begins[:, edges[:-1]]
        self._open_until = _us(slots.open_until_s[:, edges[:-1]])
        self._done_by = _us(slots.done_by_s[:, edges[:-1]])
        self._groups = slots.groups
        self._group = np.searchsorted(slots.groups, np.arange(rows), side="right") - 1
        self.is_whole = len(edges) == len(slots.edges_s)
        """Whether chunks may begin and end at each of the slots' edges."""
        # (edges, groups, done) while no chunk runs, (edges, rows, done) while one does.
        self._idle = np.full((len(edges), len(slots.groups), len(done)), np.inf)
        self._running = np.full((len(edges), rows, len(done)), np.inf)
        for edge in range(len(edges) - 2, -1, -1):
            first, later = self._begun(edge, slice(0, 1)), self._begun(edge, slice(1, None))
            least, in_others = self._least_begun(np.concatenate((first, later), axis=1))
            np.minimum(self._idle[edge + 1], least, out=self._idle[edge])
            stopped = np.minimum(self._idle[edge + 1][self._group], in_others)
            np.minimum(stopped, self._going_on(edge, slice(None)), out=self._running[edge])

    @classmethod
    def of(cls, work: Work, slots: Slots) -> _Table:
        """With every edge, or as many as ``MOST_STATES`` allows."""
        rows, last = slots.rates.shape
        stride = 1
        while True:
            edges = np.append(np.arange(0, last, stride), last)
            grid = _Grid.of(work, slots.edges_s[edges])
            done = grid.amounts(max(1, MOST_STATES // (rows * len(edges))))
            if done is not None:
                return cls(slots, grid, edges, done)
            stride *= 2

    # ── what each step costs, and all that follows it ────────────────────────────────────────

    def _begun(self, edge: int, columns: slice) -> Floats:
        """(rows, columns): a chunk begins. Either the column of the first one or others."""
        overhead, begin = self._grid.overhead(columns.start), float(self._grid.edges[edge])
        end = self._grid.shortest_end(edge, overhead)
        paid_from = begin + self._grid.start_up
        costs = self._onward(edge, paid_from, begin + overhead, end, columns)
        return costs + self._begins[:, edge, None]

    def _least_begun(self, begun: Floats) -> tuple[Floats, Floats]:
        """(groups, done): the least of each group; (rows, done): that of a row's group without it.

        A chunk that stops goes on nowhere at once but in another row: start-up costs nothing, and
        would else be a way around dear minutes.
        """
        least = self._by_group(np.minimum, begun)
        is_least = begun <= least[self._group]
        is_shared = self._by_group(np.add, is_least.astype(np.int64)) > 1
        second = self._by_group(np.minimum, np.where(is_least, np.inf, begun))
        second = np.where(is_shared, least, second)
        return least, np.where(is_least, second[self._group], least[self._group])

    def _by_group(self, reduced: np.ufunc, values: Floats | Ints) -> Floats:
        """(groups, done): ``values`` (rows, done) of each group's rows in one."""
        found: Floats
        if len(self._groups) == 1:  # Much faster so.
            found = reduced.reduce(values, axis=0, keepdims=True)
        else:
            found = reduced.reduceat(values, self._groups, axis=0)
        return found

    def _going_on(self, edge: int, columns: slice) -> Floats:
        """(rows, columns): the chunk that runs does so for one more slot."""
        now = float(self._grid.edges[edge])
        return self._onward(edge, now, now, edge + 1, columns)

    def _onward(
        self, edge: int, paid_from: float, works_from: float, end: int, columns: slice
    ) -> Floats:
        """(rows, columns): a chunk that is there at ``edge`` runs until the edge ``end``, or until
        the work is done.
        """
        left, gain = self._grid.work - self._done[columns], self._gain(works_from, end)
        whole = int(np.count_nonzero(left > gain))
        costs = np.empty((len(self._begins), len(left)))
        if whole:
            after = self._running[end].take(self._after(gain)[columns][:whole], axis=1)
            after += self._totals[:, end, None]
            is_open = self._open_until[:, edge] >= self._grid.edges[end]
            costs[:, :whole] = np.where(is_open[:, None], after, np.inf)
        ends = works_from + left[whole:]
        in_time = ends <= self._done_by[:, edge, None]
        costs[:, whole:] = np.where(in_time, self._curve.at(ends), np.inf)
        costs -= self._curve.at(np.array([paid_from]))
        return costs

    def _gain(self, works_from: float, end: int) -> float:
        """Work that is done until an edge; without bound where there is no such edge."""
        return float(self._grid.edges[end]) - works_from if end < len(self._grid.edges) else np.inf

    def _after(self, gain: float) -> Places:
        """(done,): the place of each amount, once ``gain`` more is done."""
        if gain not in self._places:
            found = np.searchsorted(self._done, self._done + gain)
            self._places[gain] = np.minimum(found, len(self._done) - 1)
        return self._places[gain]

    # ── the way through ──────────────────────────────────────────────────────────────────────

    def cheapest(self) -> Chunks | None:
        """The cheapest plan."""
        least = float(self._idle[0, :, 0].min())
        return None if least == np.inf else Chunks(tuple(self._way(_bound(least))), least)

    def kept(self, held: Held) -> Chunks | None:
        """The cheapest plan that begins as ``held`` says, unless another beats it by the margin."""
        edge = int(np.searchsorted(self._grid.edges[:-1], _us(held.start_s)))
        if edge + 1 == len(self._grid.edges) or self._grid.edges[edge] != _us(held.start_s):
            return None
        cost = float(self._begun(edge, slice(0, 1))[held.row, 0])
        if cost == np.inf:
            return None
        least = round(float(self._idle[0, :, 0].min()), SCORE_DIGITS)
        gain = round(round(cost, SCORE_DIGITS) - least, SCORE_DIGITS)
        if gain >= held.min_gain:
            return None
        return Chunks(tuple(self._way(_bound(cost), (edge, held.row))), cost)

    def _way(self, bound: float, first: tuple[int, int] | None = None) -> Iterator[Chunk]:
        """The plan that ties go to among those of at most ``bound``."""
        edges, spent, at = self._grid.edges, 0.0, 0
        edge, row = first or self._next_begin(0, at, bound, self._group >= 0)
        while True:
            begin, overhead = float(edges[edge]), self._grid.overhead(at)
            end = self._grid.shortest_end(edge, overhead)
            paid_from, works_from = begin + self._grid.start_up, begin + overhead
            spent += float(self._begins[row, edge])
            goes_on = True
            while goes_on:
                left, gain = self._grid.work - self._done[at], self._gain(works_from, end)
                if left <= gain:
                    yield self._chunk(row, begin, works_from + float(left))
                    return
                spent += float(self._totals[row, end] - self._curve.at(np.array(paid_from))[row])
                edge, at, end = end, int(self._after(gain)[at]), end + 1
                paid_from = works_from = float(edges[edge])
                goes_on = spent + float(self._going_on(edge, slice(at, at + 1))[row, 0]) <= bound
            yield self._chunk(row, begin, paid_from)
            in_group = self._group == self._group[row]
            not_row = in_group & (np.arange(len(in_group)) != row)
            edge, row = self._next_begin(edge, at, bound - spent, in_group, not_row)

    def _next_begin(
        self, edge: int, at: int, bound: float, allowed: Mask, at_once: Mask | None = None
    ) -> tuple[int, int]:
        """The first edge and row in which a chunk begins a rest of at most ``bound``.

        Args:
            edge: the first that comes into question.
            at: the place of the amount that is done.
            bound: what the rest may cost.
            allowed: (rows,).
            at_once: (rows,): the same for the first edge.
        """
        rows_then = allowed if at_once is None else at_once
        while True:
            costs = self._begun(edge, slice(at, at + 1))[:, 0]
            rows = np.flatnonzero(rows_then & (costs <= bound))
            if rows.size:
                return edge, int(rows[0])
            edge, rows_then = edge + 1, allowed

    @staticmethod
    def _chunk(row: int, begin: float, end: float) -> Chunk:
        return Chunk(row, begin / _US, (end - begin) / _US)
