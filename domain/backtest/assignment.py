"""The least carbon with which jobs fit into their room: an assignment of jobs to cells.

    minimise    sum of the grams of the cells taken
    subject to  one cell for each job
                in each place, at no tick more vCPUs held than there are

Prices on the ticks of places make the jobs independent: the sum of each job's cheapest cell, less
what all room is worth, is a lower bound whatever the prices (Lagrange). The linear program is
solved over few cells; its duals are such prices, and cells that they make cheaper are added until
there is none (column generation). An integer program over those cells gives a plan.

A job that finds no room runs as soon as it may, over room, at a penalty beyond all grams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from domain.backtest.feasible import Best, Cells, Feasible, Floats, Ints, Mask, Plan

REL_GAP = 1e-4
"""Of a plan to its bound, at which it counts as found."""
TIME_LIMIT_S = 60.0
"""Of one integer program; what it has found by then is taken, and its gap told."""
MOST_CELLS = 60_000
"""Of one integer program that proves its plan; with more, the gap is told."""
ROUNDS = 60
"""Of adding cells, at most."""
STEPS, PATIENCE = 40, 3
"""Of raising the bound without linear programs; and how many may fail before they get smaller."""

_linprog: Any = linprog
"""Takes sparse arrays, which its type stubs do not know."""

_OVER_ROOM = 100.0
"""What a run over room costs, in grams of the dirtiest cell chosen without limits."""
_EXACT_VCPUS = 1e-6
_TIGHT = 1e-7
"""Share of its value below which a linear program is solved."""


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
    def gap(self) -> float:
        """How far the value is above the bound, as a share of it; 0 where the plan is exact."""
        return max(0.0, self.value - self.bound) / self.value if self.value else 0.0


def assign(feasible: Feasible, room: Floats, prices: Floats | None = None) -> Assignment:
    """The best assignment, as near as the limits above allow; its gap tells.

    Args:
        feasible: the jobs and their cells.
        room: (places, ticks): vCPUs that are free, as far as cells reach.
        prices: of an assignment much like this one, to begin with.
    """
    problem = _Problem.of(feasible, room)
    if problem.unlimited is not None:
        return problem.unlimited
    start = np.zeros_like(room) if prices is None else prices
    filled = problem.fill(start)
    cells = Cells.joined([filled.plan.cells, *(_cells_of(feasible.best(p)) for p in (None, start))])
    cells, prices, bound = problem.relax(cells.once())
    found = min(filled, problem.solve(cells), key=lambda item: item.value)
    if found.value - bound > REL_GAP * found.value:
        # Whatever costs more than the gap above its job's least is in no better plan.
        within = feasible.within(prices, problem.least(prices) + (found.value - bound))
        if len(within.jobs) <= MOST_CELLS:
            proven = problem.solve(within)
            found = min(found, proven, key=lambda item: item.value)
            bound = max(bound, min(proven.bound, found.value))
    return Assignment(found.plan, found.over_room, found.value, bound, prices)


def lower_bound(feasible: Feasible, room: Floats) -> Assignment:
    """A lower bound for more jobs than can be assigned well, with a plan that is good enough to
    show how far the bound may be off.

    Prices rise where room is short and fall where it is not (Polyak's subgradient steps).
    """
    problem = _Problem.of(feasible, room)
    if problem.unlimited is not None:
        return problem.unlimited
    prices = top = np.zeros_like(room)
    filled, highest, pace, since = problem.fill(prices), -np.inf, 1.0, 0
    for _ in range(STEPS):
        best = feasible.best(prices)
        found = problem.bound(best, prices)
        since += 1
        if found > highest:
            highest, top, since = found, prices, 0
        elif since == PATIENCE:
            prices, pace, since = top, pace / 2, 0
            continue
        short = feasible.used(feasible.cheapest(best), room.shape[1]) - room
        short[(prices == 0) & (short < 0)] = 0
        size = float((short**2).sum())
        if not size or filled.value - highest <= REL_GAP * filled.value:
            break
        prices = np.maximum(0.0, prices + pace * (filled.value - found) / size * short)
    filled = min(filled, problem.fill(top), key=lambda item: item.value)
    if filled.over_room.any():
        # A run over room emits less than its penalty: only without limits is it bounded.
        highest = float(feasible.best().values.min(axis=1).sum())
    return Assignment(filled.plan, filled.over_room, filled.value, highest, top)


def fits(held: Floats, room: Floats) -> bool:
    """Whether what is held, (places, ticks), stays within ``room``."""
    return bool((held <= room + _EXACT_VCPUS).all())


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """Jobs, their cells, and the room that they share."""

    feasible: Feasible
    room: Floats
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
        penalty_g = _OVER_ROOM * float(least_g.max(initial=0.0))
        return cls(feasible, room, unlimited, over, feasible.cells_g(over.cells) + penalty_g)

    def least(self, prices: Floats) -> Floats:
        """(jobs,): the cheapest that each can do."""
        least: Floats = np.minimum(self.feasible.best(prices).values.min(axis=1), self.over_g)
        return least

    def bound(self, best: Best, prices: Floats) -> float:
        """By Lagrange, from the cheapest cells under ``prices``."""
        least = np.minimum(best.values.min(axis=1), self.over_g)
        return float(least.sum()) - float((prices * self.room).sum())

    def relax(self, cells: Cells) -> tuple[Cells, Floats, float]:
        """The linear program over all cells: those that mattered, the prices, the bound."""
        highest, top = -np.inf, np.zeros_like(self.room)
        for _ in range(ROUNDS):
            value, prices, worth = self._linear_program(cells)
            best = self.feasible.best(prices)
            if (found := self.bound(best, prices)) > highest:
                highest, top = found, prices
            job, place = (best.values < (worth - _TIGHT * np.abs(worth))[:, None]).nonzero()
            if value - highest <= _TIGHT * value or not len(job):
                break
            cells = Cells.joined([cells, Cells(job, place, best.starts_s[job, place])]).once()
        return cells, top, highest

    def _linear_program(self, cells: Cells) -> tuple[float, Floats, Floats]:
        """Value, prices (places, ticks), and what each job is worth."""
        grams = np.concatenate((self.feasible.cells_g(cells), self.over_g))
        taken, rows = self._room_taken(cells)
        scale = float(self.over_g.max()) / _OVER_ROOM
        found = _linprog(
            grams / scale,
            A_ub=taken,
            b_ub=self.room.ravel()[rows],
            A_eq=self._one_each(cells),
            b_eq=np.ones(len(self.feasible)),
            method="highs",
        )
        prices = np.zeros(self.room.size)
        prices[rows] = np.maximum(0.0, -np.asarray(found.ineqlin.marginals)) * scale
        worth = np.asarray(found.eqlin.marginals) * scale
        return float(found.fun) * scale, prices.reshape(self.room.shape), worth

    def solve(self, cells: Cells) -> Assignment:
        """The integer program over some cells; the bound is that of these."""
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
            options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": REL_GAP / 10},
        )
        if found.x is None:
            return self.fill(np.zeros_like(self.room))
        chosen = np.flatnonzero(np.asarray(found.x) > 1 / 2)
        places, starts_s = self.over.places.copy(), self.over.starts_s.copy()
        kept = chosen[chosen < len(cells.jobs)]
        places[cells.jobs[kept]], starts_s[cells.jobs[kept]] = (
            cells.places[kept],
            cells.starts_s[kept],
        )
        over_room = np.ones(len(self.feasible), dtype=np.bool_)
        over_room[cells.jobs[kept]] = False
        bound = float(found.mip_dual_bound or -np.inf) * scale
        return self._assignment(Plan(places, starts_s), over_room, bound)

    def fill(self, prices: Floats) -> Assignment:
        """Each job in turn takes the cheapest cell that has room left."""
        feasible, left = self.feasible, self.room + _EXACT_VCPUS
        paid = np.concatenate((np.zeros((len(prices), 1)), prices.cumsum(axis=1)), axis=1)
        places, starts_s = self.over.places.copy(), self.over.starts_s.copy()
        over_room = np.zeros(len(feasible), dtype=np.bool_)
        for job, vcpus in enumerate(feasible.vcpus):
            own_s, cells = feasible.of_job(job)
            firsts, ends = feasible.ticks(own_s, feasible.runtime_s[job])
            begin, end = int(firsts[0]), int(ends[-1])
            full = np.zeros((len(left), end - begin + 1), dtype=np.intp)
            np.cumsum(left[:, begin:end] < vcpus, axis=1, out=full[:, 1:])
            cells += vcpus * (paid[:, ends] - paid[:, firsts])
            cells[full[:, ends - begin] > full[:, firsts - begin]] = np.inf
            place, start = divmod(int(cells.argmin()), cells.shape[1])
            if cells[place, start] < np.inf:
                places[job], starts_s[job] = place, own_s[start]
                left[place, firsts[start] : ends[start]] -= vcpus
            else:
                over_room[job] = True
        return self._assignment(Plan(places, starts_s), over_room, -np.inf)

    def _assignment(self, plan: Plan, over_room: Mask, bound: float) -> Assignment:
        grams = np.where(over_room, self.over_g, self.feasible.cells_g(plan.cells))
        return Assignment(plan, over_room, float(grams.sum()), bound, np.zeros_like(self.room))

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
