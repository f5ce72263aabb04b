"""The decision: the cell with the least weighed carbon and cost within the walls.

    score = (w_carbon * carbon + w_cost * cost) / (w_carbon + w_cost)

with carbon and cost each scaled 0..1 over the feasible cells (a zero range scales to 0), rounded
to 1e-9 before comparing. Ties go to the earlier start, the cheaper cell, the region's name. The
same inputs give the same placement, always.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from domain.capacity import CapacityType
from domain.cells import SCORE_DIGITS, Cells, Choice, Wall, scale
from domain.chunk_placement import decide_chunks
from domain.curves import Floats
from domain.decision import DecisionInputs
from domain.job import Fallback, Placement
from domain.outlook import Outlook
from domain.promise import promise
from domain.rows import ground_of
from domain.steering import steering_outlook
from domain.waiting import home_now_g, pays

_HALF_DIGIT = 0.5 * 10**-SCORE_DIGITS


@dataclass(frozen=True, slots=True)
class Option:
    """One region and capacity type at its best, for people to compare."""

    region: str
    capacity_type: CapacityType
    start: datetime | None
    """``None``: every start is behind a wall."""
    carbon_g: float | None
    cost_usd: float | None
    score: float | None
    cut_by: Wall | None
    """The wall that cut the last of its cells."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A placement and the cells it was chosen from; what they tell is worked out when asked."""

    placement: Placement
    cells: Cells

    @property
    def considered(self) -> int:
        """Cells of every legal and able (region, capacity type)."""
        return self.cells.feasible.size

    @property
    def feasible(self) -> int:
        """Cells within every wall."""
        return int(np.count_nonzero(self.cells.feasible))

    @property
    def cuts(self) -> Mapping[Wall, int]:
        """Cells cut by each wall, in the order in which the walls are applied."""
        cuts, before = {}, self.considered
        for wall, left in self.cells.left_by_wall().items():
            after = int(np.count_nonzero(left))
            cuts[wall], before = before - after, after
        return cuts

    @property
    def options(self) -> tuple[Option, ...]:
        """Every legal and able (region, capacity type), best first."""
        scores, left = Scores.of(self.cells, job=0), self.cells.left_by_wall()
        options = []
        for index, row in enumerate(self.cells.rows.places):
            if index in scores.best:
                options.append(self._best(index, scores.along(index).round(SCORE_DIGITS)))
            else:
                cut_by = next(wall for wall, mask in left.items() if not mask[index].any())
                none = (None, None, None, None)
                options.append(Option(row.region, row.capacity_type, *none, cut_by))
        options.sort(key=lambda item: (item.score is None, item.score or 0.0, item.region))
        return tuple(options)

    def _best(self, index: int, scores: Floats) -> Option:
        cells, row, at = self.cells, self.cells.rows.places[index], int(scores.argmin())
        return Option(
            region=row.region,
            capacity_type=row.capacity_type,
            start=cells.instant(at),
            carbon_g=float(cells.carbon_g[index, 0, at]) if cells.outlook else None,
            cost_usd=float(cells.cost_usd[index, 0]),
            score=float(scores[at]),
            cut_by=None,
        )


def decide(inputs: DecisionInputs) -> Decision:
    """Choose a placement, in chunks where the job may be interrupted, or fall back to running now.

    Raises:
        NoLegalRegion: residency and ability leave no region; nothing may ever drop them.
    """
    cells, choice = choose_cell(inputs)
    return Decision(decide_chunks(inputs) or promise(cells, choice), cells)


def choose_cell(inputs: DecisionInputs) -> tuple[Cells, Choice]:
    """What ``decide`` chooses, without what is told of it. Raises ``NoLegalRegion`` too."""
    inputs = inputs.remaining()
    rows = ground_of(inputs.world).rows(inputs.manifest, inputs.excluded_regions)
    outlook = steering_outlook(rows, inputs)
    cells = Cells((inputs,), rows, outlook, starts_after_now_s(inputs, outlook))
    (choice,) = choose(cells)
    return cells, choice


# ── which starts ─────────────────────────────────────────────────────────────────────────────


def starts_after_now_s(inputs: DecisionInputs, outlook: Outlook | None) -> Floats:
    """Now, the incumbent's start, and each edge of the forecast's grid; clock seconds after now.

    By cost alone, with prices that stand still, or by annual means, no later start is better: now
    is enough.
    """
    starts_s = np.zeros(1)
    if inputs.only_now or (outlook is not None and outlook.is_static):
        return starts_s
    if outlook is not None:
        latest_s = (inputs.latest_on_demand_start - inputs.now).total_seconds()
        starts_s = np.concatenate((starts_s, outlook.edges_after_now_s(latest_s)))
    held_s = _incumbent_start_s(inputs)
    if held_s is not None and held_s not in starts_s:
        starts_s = np.sort(np.append(starts_s, held_s))
    return starts_s


def _incumbent_start_s(inputs: DecisionInputs) -> float | None:
    """The incumbent's start, clock seconds after now; now itself once it has passed."""
    if inputs.incumbent is None:
        return None
    return max(0.0, (inputs.incumbent.start - inputs.now).total_seconds())


# ── score and choice ─────────────────────────────────────────────────────────────────────────


def choose(cells: Cells) -> list[Choice]:
    """The cell of each job: the least score; ties by start, cost, region, capacity type."""
    return [_choose_for(cells, job) for job in range(len(cells.jobs))]


def _choose_for(cells: Cells, job: int) -> Choice:
    scores = Scores.of(cells, job)
    if not scores.best:
        return _run_now(cells, job)
    least = min(scores.best.values())
    # What rounds to the same; and the least itself, should it lie on the edge of rounding.
    bound = max(least, round(least, SCORE_DIGITS) + _HALF_DIGIT)
    start, _, row = min(
        (int((scores.along(row) <= bound).argmax()), round(scores.usd[row], SCORE_DIGITS), row)
        for row, score in scores.best.items()
        if score <= bound
    )
    best = Choice(row, start, round(least, SCORE_DIGITS))
    chosen = _held(scores, least) or best
    return chosen if _pays(scores, chosen) else _best_now(scores) or chosen


def _pays(scores: Scores, choice: Choice) -> bool:
    """Whether a wait or a move saves what the job's class asks for."""
    cells, inputs = scores.cells, scores.cells.jobs[scores.job]
    if cells.outlook is None or inputs.manifest.job_class not in cells.world.policy.job_classes:
        return True
    chosen_g = float(cells.carbon_g[choice.row, scores.job, choice.start])
    return pays(inputs, chosen_g, home_now_g(inputs, cells.outlook))


def _best_now(scores: Scores) -> Choice | None:
    """Running now: at home where that is feasible, else wherever is best."""
    cells, home = scores.cells, scores.cells.jobs[scores.job].manifest.home_region
    now = {
        row: round(float(scores.along(row)[0]), SCORE_DIGITS)
        for row in scores.best
        if cells.feasible[row, scores.job, 0]
    }
    at_home = {row: score for row, score in now.items() if cells.rows.places[row].region == home}
    left = at_home or now
    if not left:
        return None
    score, _, row = min(
        (score, round(scores.usd[row], SCORE_DIGITS), row) for row, score in left.items()
    )
    return Choice(row, 0, score)


@dataclass(frozen=True, slots=True)
class Scores:
    """How the cells of one job compare; not rounded.

    Cost stands still along a row, so that a row's cleanest cell is its best: only these need be
    weighed against each other.
    """

    cells: Cells
    job: int
    usd: list[float]
    """Of each row."""
    carbon: tuple[float, float]
    cost: tuple[float, float]
    """As ``scale`` gives them."""
    best: dict[int, float]
    """The score of each row's best cell, where one is feasible."""

    @classmethod
    def of(cls, cells: Cells, job: int) -> Scores:
        """Weigh what is feasible for a job."""
        usd, cleanest_g = cells.cost_usd[:, job].tolist(), cells.cleanest_g[:, job].tolist()
        rows = [row for row, grams in enumerate(cleanest_g) if grams < math.inf]
        weights = cells.world.policy.weights
        carbon_share = weights.carbon / (weights.carbon + weights.cost) if cells.outlook else 0.0
        carbon = cost = 0.0, 0.0
        if rows:
            dirtiest_g = float(cells.dirtiest_g[:, job].max())
            prices = [usd[row] for row in rows]
            carbon = scale(min(cleanest_g), dirtiest_g, carbon_share)
            cost = scale(min(prices), max(prices), 1 - carbon_share)
        best = {
            row: (cleanest_g[row] - carbon[0]) * carbon[1] + (usd[row] - cost[0]) * cost[1]
            for row in rows
        }
        return cls(cells, job, usd, carbon, cost, best)

    def along(self, row: int) -> Floats:
        """(starts,): of a row's cells; infinity where not feasible."""
        (low_g, per_g), (low_usd, per_usd) = self.carbon, self.cost
        scores = (self.cells.carbon_g[row, self.job] - low_g) * per_g
        scores += (self.usd[row] - low_usd) * per_usd
        return np.where(self.cells.feasible[row, self.job], scores, np.inf)


def _held(scores: Scores, least: float) -> Choice | None:
    """The incumbent's cell, unless ``least`` beats it by the policy's margin."""
    cells, inputs = scores.cells, scores.cells.jobs[scores.job]
    if inputs.incumbent is None:
        return None
    row = cells.rows.index.get((inputs.incumbent.region, inputs.incumbent.capacity_type))
    starts = np.flatnonzero(cells.starts_s == _incumbent_start_s(inputs))
    if row is None or not starts.size:
        return None
    start = int(starts[0])
    score = round(float(scores.along(row)[start]), SCORE_DIGITS)
    gain = round(score - round(least, SCORE_DIGITS), SCORE_DIGITS)
    return None if gain >= inputs.world.policy.look_again.min_gain else Choice(row, start, score)


# ── the fallback ─────────────────────────────────────────────────────────────────────────────


def _run_now(cells: Cells, job: int) -> Choice:
    """An empty set never blocks a job: run now, dropping the cost ceiling first, then room.

    On Spot only if the runway covers one reclaim, else on-demand, where that is offered at all;
    cheapest by expected total cost.
    """
    inputs, is_spot = cells.jobs[job], cells.rows.is_spot[:, 0]
    affordable = cells.affordable[:, job]
    has_room = cells.has_room(cells.starts_s[:1])[:, job, 0]
    safe = np.ones_like(is_spot)
    if inputs.now > inputs.latest_spot_start and not is_spot.all():
        safe = ~is_spot
    fallbacks: tuple[Fallback, ...] = (Fallback.RUN_NOW,)
    left = safe & affordable & has_room
    if not left.any():
        fallbacks += (Fallback.OVER_COST,)
        left = safe & has_room
    if not left.any():
        fallbacks += (Fallback.OVER_ROOM,)
        left = safe
    cost = np.where(left, np.round(cells.cost_usd[:, job], SCORE_DIGITS), np.inf)
    return Choice(int(cost.argmin()), 0, None, fallbacks)
