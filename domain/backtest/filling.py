"""Plans that fit into room, made job by job and then improved: good, and not proven the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.backtest.feasible import Cells, Feasible, Plan
from domain.backtest.foresight import Floats, Ints, Mask

MOVES_A_JOB, MOST_MOVES = 6, 6_000
"""Of improving a plan."""
MOVED = 10
"""Jobs that one move takes out and puts back, at most."""

EXACT_VCPUS = 1e-6
_SEED = 1


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A plan that fits."""

    plan: Plan
    over_room: Mask
    """(jobs,): who found no room."""
    value: float
    """Grams, with the penalties of runs over room."""


_Options = tuple[Floats, Floats, Ints, Ints]
"""Of one job: starts, grams (places, starts), first ticks and ends."""


class Filling:
    """Room as jobs take it, one after the other."""

    def __init__(self, feasible: Feasible, room: Floats, over: Plan, over_g: Floats) -> None:
        """All room is free; who finds none goes to ``over`` and counts ``over_g``."""
        self._feasible, self._left = feasible, room + EXACT_VCPUS
        self._over, self._over_g = over, over_g
        self._places, self._starts_s = over.places.copy(), over.starts_s.copy()
        self._grams, self._over_room = over_g.copy(), np.ones(len(feasible), dtype=np.bool_)

    def filled(self) -> Filled:
        """As it stands."""
        plan = Plan(self._places.copy(), self._starts_s.copy())
        return Filled(plan, self._over_room.copy(), float(self._grams.sum()))

    def fill(self, prices: Floats, wished: Cells | None = None) -> Filled:
        """Each job in turn takes the cell that is cheapest under ``prices`` and has room left;
        those first that have wishes, in their order, and the cell that they wish if it has room.
        """
        paid = np.concatenate((np.zeros((len(prices), 1)), prices.cumsum(axis=1)), axis=1)
        if wished is not None:
            grams = self._feasible.cells_g(wished).tolist()
            for row, (job, place, start_s) in enumerate(wished.rows):
                if self._over_room[job] and self._has_room(job, place, start_s):
                    self._put(job, place, start_s, False, grams[row])
        for job in np.flatnonzero(self._over_room).tolist():
            self._take(job, self._options(job), paid)
        return self.filled()

    def improve(self) -> Filled:
        """Take out jobs that run at about the same time, put them back in another order, and keep
        what is better (ruin and recreate, Schrimpf et al., 2000).
        """
        count, dice = len(self._over_g), np.random.default_rng(_SEED)
        options = [self._options(job) for job in range(count)]
        for _ in range(min(MOVES_A_JOB * count, MOST_MOVES)):
            middle_s = self._starts_s[dice.integers(count)]
            near = np.argsort(np.abs(self._starts_s - middle_s), kind="stable")[: 3 * MOVED]
            moved = dice.permutation(near)[:MOVED]
            before = [(int(job), *self._now(int(job))) for job in moved]
            for job in moved:
                self._leave(int(job))
            for job in moved:
                self._take(int(job), options[job])
            if self._grams[moved].sum() > sum(grams for *_, grams in before):
                for job in moved:
                    self._leave(int(job))
                for job, place, start_s, over_room, grams in before:
                    self._put(job, place, start_s, over_room, grams)
        return self.filled()

    def adopt(self, filled: Filled) -> Filling:
        """Begin from a plan instead."""
        grams = self._feasible.cells_g(filled.plan.cells)
        for job, over_room in enumerate(filled.over_room.tolist()):
            self._put(
                job,
                int(filled.plan.places[job]),
                float(filled.plan.starts_s[job]),
                over_room,
                float(self._over_g[job] if over_room else grams[job]),
            )
        return self

    def _options(self, job: int) -> _Options:
        starts_s, grams = self._feasible.of_job(job)
        return starts_s, grams, *self._feasible.ticks(starts_s, self._feasible.runtime_s[job])

    def _take(self, job: int, options: _Options, paid: Floats | None = None) -> None:
        """The cheapest cell that has room; over room where there is none."""
        starts_s, grams, firsts, ends = options
        vcpus, begin, end = self._feasible.vcpus[job], int(firsts[0]), int(ends[-1])
        full = np.zeros((len(self._left), end - begin + 1), dtype=np.intp)
        np.cumsum(self._left[:, begin:end] < vcpus, axis=1, out=full[:, 1:])
        has_room = full[:, ends - begin] == full[:, firsts - begin]
        values = grams if paid is None else grams + vcpus * (paid[:, ends] - paid[:, firsts])
        values = np.where(has_room, values, np.inf)
        place, start = divmod(int(values.argmin()), values.shape[1])
        if values[place, start] < np.inf:
            self._put(job, place, float(starts_s[start]), False, float(grams[place, start]))
        else:
            over = int(self._over.places[job]), float(self._over.starts_s[job])
            self._put(job, *over, True, float(self._over_g[job]))

    def _now(self, job: int) -> tuple[int, float, bool, float]:
        return (
            int(self._places[job]),
            float(self._starts_s[job]),
            bool(self._over_room[job]),
            float(self._grams[job]),
        )

    def _put(self, job: int, place: int, start_s: float, over_room: bool, grams: float) -> None:
        self._places[job], self._starts_s[job] = place, start_s
        self._over_room[job], self._grams[job] = over_room, grams
        self._hold(job, -1)

    def _leave(self, job: int) -> None:
        self._hold(job, 1)

    def _hold(self, job: int, sign: int) -> None:
        """Runs over room hold none: what is short would stay so anyway."""
        if not self._over_room[job]:
            left = self._along(job, int(self._places[job]), float(self._starts_s[job]))
            left += sign * self._feasible.vcpus[job]

    def _has_room(self, job: int, place: int, start_s: float) -> bool:
        return bool((self._along(job, place, start_s) >= self._feasible.vcpus[job]).all())

    def _along(self, job: int, place: int, start_s: float) -> Floats:
        """(ticks,): what is left while a run goes on; a view."""
        first, end = self._feasible.ticks(np.array(start_s), self._feasible.runtime_s[job])
        return self._left[place, int(first) : int(end)]
