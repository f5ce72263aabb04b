"""The least carbon with which jobs fit into their room: an assignment of jobs to cells.

    minimise    sum of the grams of the cells taken
    subject to  one cell for each job
                in each place, at no tick more vCPUs held than there are

Prices on the ticks of places make the jobs independent: the sum of each job's cheapest cell, less
what all room is worth, is a lower bound whatever the prices (Lagrange). The best prices are the
duals of a linear program. It is solved over few cells; those that its duals make cheaper are added
until there is none (column generation), and its shares are rounded to a plan. For many cells,
prices are raised by subgradient steps instead. The plan is improved job by job; last, an integer
program over the cells that the gap between plan and bound leaves gives the best one.

A job that finds no room runs as soon as it may, over room, at a penalty beyond all grams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from domain.backtest.feasible import Best, Cells, Feasible, Plan
from domain.backtest.filling import EXACT_VCPUS, Filled, Filling
from domain.backtest.foresight import Floats, Ints, Mask

REL_GAP = 1e-4
"""Of a plan to its bound, at which it counts as found."""
ROUNDS = 30
"""Of adding cells to a linear program, at most."""
BOUND_STEPS = 40
"""Of finding prices for a bound alone."""

_linprog: Any = linprog
"""Takes sparse arrays, which its type stubs do not know."""

_OVER_ROOM = 100.0
"""What a run over room costs, in the most grams of a job that runs at once or where it likes."""
_PACE, _KEPT, _KEPT_SQUARE, _EXACT_SHORT = 2.0, 0.8, 0.95, 1e-9
"""Of raising prices: a first step, in the mean grams of a vCPU for one tick; what is kept of the
means of steps and of their squares; and what is no shortage."""
_ROUNDING = 1e-9
"""Of sums, as a share."""
_TIGHT = 1e-7
"""Share of its value below which a linear program is solved."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What an assignment may take."""

    cells: int
    """Of its integer program: with more it is left out, and the gap told."""
    time_limit_s: float
    """Of its integer program: what that has found by then is taken."""
    most: int
    """Cells of a problem whose prices are found by linear programs; with more, without them."""
    steps: int
    """Of finding them without."""


THOROUGH, QUICK = Effort(10_000, 60.0, 200_000, 160), Effort(400, 3.0, 20_000, 30)


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """What is known before an assignment."""

    prices: Floats
    """(places, ticks), grams for a vCPU at each tick."""
    cells: Cells | None = None
    """Of jobs that have one already, and may keep it."""


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """A plan, and how good any could be."""

    plan: Plan
    over_room: Mask
    """(jobs,): who found no room."""
    value: float
    """Grams, with the penalties of runs over room."""
    bound: float
    """No assignment has less."""
    prices: Floats
    """(places, ticks), grams for a vCPU at each tick: those of the bound."""

    @property
    def lost(self) -> float:
        """How far the value is above the bound; 0 where the plan is exact."""
        lost = self.value - self.bound
        return lost if lost > _ROUNDING * self.value else 0.0

    @property
    def gap(self) -> float:
        """The same as a share of the value."""
        return self.lost / self.value if self.value else 0.0


def assign(
    feasible: Feasible,
    room: Floats,
    before: Before | None = None,
    effort: Effort = THOROUGH,
) -> Assignment:
    """The best assignment, as near as the limits above allow; its gap tells.

    Args:
        feasible: the jobs and their cells.
        room: (places, ticks): vCPUs that are free, as far as cells reach.
        before: an assignment much like this one, to begin with.
        effort: that it may take.
    """
    problem = _Problem.of(feasible, room)
    if problem.unlimited is not None:
        return problem.unlimited
    before = before or Before(np.zeros_like(room))
    if feasible.size > effort.most:
        found, bound, prices = problem.ascend(before, effort.steps)
    else:
        found, bound, prices = problem.relax(before)
    if found.value - bound > REL_GAP * found.value:
        found = problem.filling().adopt(found).improve()
    slack = found.value - bound
    if slack > REL_GAP * found.value:
        # Whatever is further above its job's least than the gap is in no better plan.
        near = feasible.within(prices, problem.least(prices) + slack)
        if len(near.jobs) <= effort.cells:
            found, proven = problem.solve(near, found, effort.time_limit_s)
            bound = max(bound, min(proven, found.value))
    return Assignment(found.plan, found.over_room, found.value, bound, prices)


def lower_bound(feasible: Feasible, room: Floats) -> Assignment:
    """A lower bound for more jobs than can be assigned well, with a plan that is good enough to
    show how far the bound may be off.
    """
    problem = _Problem.of(feasible, room)
    if problem.unlimited is not None:
        return problem.unlimited
    found, bound, prices = problem.ascend(Before(np.zeros_like(room)), BOUND_STEPS)
    return Assignment(found.plan, found.over_room, found.value, bound, prices)


def fits(held: Floats, room: Floats) -> bool:
    """Whether what is held, (places, ticks), stays within ``room``."""
    return bool((held <= room + EXACT_VCPUS).all())


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """Jobs, their cells, and the room that they share."""

    feasible: Feasible
    room: Floats
    free_g: float
    """With the best cell for everyone."""
    unlimited: Assignment | None
    """Where everyone can have their best cell."""
    over: Plan
    """Where runs over room go."""
    over_g: Floats
    """(jobs,): their grams and penalties."""

    @classmethod
    def of(cls, feasible: Feasible, room: Floats) -> _Problem:
        room = np.maximum(room, 0.0)
        best = feasible.best()
        least_g, plan = best.values.min(axis=1), feasible.cheapest(best)
        value, nobody = float(least_g.sum()), np.zeros(len(feasible), dtype=np.bool_)
        unlimited = None
        if fits(feasible.used(plan, room.shape[1]), room):
            unlimited = Assignment(plan, nobody, value, value, np.zeros_like(room))
        over = feasible.cheapest(feasible.at_first())
        over_g = feasible.cells_g(over.cells)
        penalty_g = _OVER_ROOM * float(np.maximum(least_g, over_g).max(initial=1.0))
        return cls(feasible, room, value, unlimited, over, over_g + penalty_g)

    def least(self, prices: Floats) -> Floats:
        """(jobs,): the cheapest that each can do."""
        least: Floats = np.minimum(self.feasible.best(prices).values.min(axis=1), self.over_g)
        return least

    def bound(self, best: Best, prices: Floats) -> float:
        """By Lagrange, from the cheapest cells under ``prices``."""
        least = np.minimum(best.values.min(axis=1), self.over_g)
        return float(least.sum()) - float((prices * self.room).sum())

    def filling(self) -> Filling:
        """With all room free."""
        return Filling(self.feasible, self.room, self.over, self.over_g)

    def ascend(self, before: Before, steps: int) -> tuple[Filled, float, Floats]:
        """A plan, the bound, and its prices: they rise where room is short and fall where it is
        not (subgradient steps, scaled as by Kingma and Ba, "Adam", ICLR 2015: what is short in one
        week tells nothing of another's pace).
        """
        feasible, prices, ticks = self.feasible, before.prices, self.room.shape[1]
        best = feasible.best()
        held = feasible.used(feasible.cheapest(best), ticks).sum()
        pace = _PACE * float(best.values.min(axis=1).sum()) / float(held)
        filled = self.filling().fill(prices, before.cells)
        top, highest = prices, self.free_g
        mean, square = np.zeros_like(prices), np.zeros_like(prices)
        for step in range(1, steps + 1):
            best = feasible.best(prices)
            if (found := self.bound(best, prices)) > highest:
                top, highest = prices, found
            short = feasible.used(feasible.cheapest(best), ticks) - self.room
            short[(prices == 0) & (short < 0)] = 0
            mean += (1 - _KEPT) * (short - mean)
            square += (1 - _KEPT_SQUARE) * (short**2 - square)
            rise = mean / (1 - _KEPT**step)
            rise /= np.sqrt(square / (1 - _KEPT_SQUARE**step)) + _EXACT_SHORT
            prices = np.maximum(0.0, prices + pace / (1 + 8 * step / steps) * rise)
        return min(filled, self.filling().fill(top), key=lambda item: item.value), highest, top

    def relax(self, before: Before) -> tuple[Filled, float, Floats]:
        """A plan, the bound, and its prices, by the linear program over all cells."""
        feasible, prices, bound = self.feasible, before.prices, self.free_g
        filled = self.filling().fill(prices, before.cells)
        cells = Cells.joined(
            [_held(filled), *(_cells_of(feasible.best(start)) for start in (None, prices))]
        ).once()
        wished = _held(filled)
        for _ in range(ROUNDS):
            value, shares, newest, worth = self._linear_program(cells)
            taken = np.argsort(-shares, kind="stable")[: np.count_nonzero(shares > _TIGHT)]
            wished = cells.some(taken)
            best = feasible.best(newest)
            if (found := self.bound(best, newest)) > bound:
                bound, prices = found, newest
            job, place = (best.values < (worth - _TIGHT * np.abs(worth))[:, None]).nonzero()
            if value - bound <= REL_GAP / 10 * value or not len(job):
                break
            cells = Cells.joined([cells, Cells(job, place, best.starts_s[job, place])]).once()
        rounded = self.filling().fill(prices, wished)
        return min(filled, rounded, key=lambda item: item.value), bound, prices

    def _linear_program(self, cells: Cells) -> tuple[float, Floats, Floats, Floats]:
        """Value, share of each cell, prices (places, ticks), and what each job is worth."""
        grams = np.concatenate((self.feasible.cells_g(cells), self.over_g))
        taken, rows = self._room_taken(cells)
        scale = float(self.over_g.max()) / _OVER_ROOM
        found = _linprog(
            grams / scale,
            A_ub=taken,
            b_ub=self.room.ravel()[rows],
            A_eq=self._one_each(cells),
            b_eq=np.ones(len(self.feasible)),
            method="highs-ipm",
        )
        prices = np.zeros(self.room.size)
        prices[rows] = np.maximum(0.0, -np.asarray(found.ineqlin.marginals)) * scale
        worth = np.asarray(found.eqlin.marginals) * scale
        shares = np.asarray(found.x)[: len(cells.jobs)]
        return float(found.fun) * scale, shares, prices.reshape(self.room.shape), worth

    def solve(self, cells: Cells, filled: Filled, time_limit_s: float) -> tuple[Filled, float]:
        """The integer program over some cells: a plan no worse than ``filled``, and its bound."""
        grams = np.concatenate((self.feasible.cells_g(cells), self.over_g))
        taken, rows = self._room_taken(cells)
        scale = float(self.over_g.max()) / _OVER_ROOM
        found = milp(
            grams / scale,
            integrality=np.ones(len(grams), dtype=np.intp),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(self._one_each(cells), 1, 1),
                LinearConstraint(taken, -np.inf, self.room.ravel()[rows]),
            ],
            options={"time_limit": time_limit_s, "mip_rel_gap": REL_GAP / 10},
        )
        bound = -np.inf if found.mip_dual_bound is None else float(found.mip_dual_bound) * scale
        if found.x is None:
            return filled, bound
        chosen = np.flatnonzero(np.asarray(found.x) > 1 / 2)
        kept = cells.some(chosen[chosen < len(cells.jobs)])
        plan = Plan(self.over.places.copy(), self.over.starts_s.copy())
        plan.places[kept.jobs], plan.starts_s[kept.jobs] = kept.places, kept.starts_s
        over_room = np.ones(len(self.feasible), dtype=np.bool_)
        over_room[kept.jobs] = False
        own_g = np.where(over_room, self.over_g, self.feasible.cells_g(plan.cells))
        solved = Filled(plan, over_room, float(own_g.sum()))
        return min(filled, solved, key=lambda item: item.value), bound

    def _one_each(self, cells: Cells) -> csr_array:
        jobs = np.concatenate((cells.jobs, np.arange(len(self.feasible))))
        ones, columns = np.ones(len(jobs)), np.arange(len(jobs))
        return csr_array((ones, (jobs, columns)), shape=(len(self.feasible), len(jobs)))

    def _room_taken(self, cells: Cells) -> tuple[csr_array, Ints]:
        """(rows, columns) of vCPUs, and which of the places' ticks (flat) the rows are.

        Of all ticks only those may run short first at which something starts.
        """
        feasible, ticks = self.feasible, self.room.shape[1]
        firsts, ends = feasible.ticks(cells.starts_s, feasible.runtime_s[cells.jobs])
        lengths, begins = ends - firsts, cells.places * ticks + firsts
        columns = np.repeat(np.arange(len(lengths)), lengths)
        into = np.arange(len(columns)) - np.repeat(lengths.cumsum() - lengths, lengths)
        vcpus = feasible.vcpus[cells.jobs[columns]]
        shape = self.room.size, len(lengths) + len(feasible)
        taken = csr_array((vcpus, (begins[columns] + into, columns)), shape=shape)
        rows = np.unique(begins[lengths > 0])
        rows = rows[taken[rows].sum(axis=1) > self.room.ravel()[rows]]
        return taken[rows], rows


def _cells_of(best: Best) -> Cells:
    job, place = (best.values < np.inf).nonzero()
    return Cells(job, place, best.starts_s[job, place])


def _held(filled: Filled) -> Cells:
    """The cells of a plan's runs that have room."""
    return filled.plan.cells.some(~filled.over_room)
