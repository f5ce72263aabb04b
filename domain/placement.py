"""The decision: the cell with the least weighed carbon and cost within the walls.

    score = (w_carbon * carbon + w_cost * cost) / (w_carbon + w_cost)

with carbon and cost each scaled 0..1 over the feasible cells (a zero range scales to 0), rounded
to 1e-9 before comparing. Ties go to the earlier start, the cheaper cell, the region's name. The
same inputs give the same placement, always.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from domain.capacity import CapacityType
from domain.cells import (
    Cells,
    Mask,
    Row,
    Wall,
    accounted_hours,
    curves_of,
    fresh_zones,
    power_kw,
    row_of,
    rows_of,
)
from domain.curves import Floats
from domain.decision import DecisionInputs
from domain.energy import energy_kwh
from domain.forecast import Signal
from domain.job import (
    Cell,
    Counterfactual,
    Estimate,
    Fallback,
    Placement,
    Segment,
    SignalBasis,
)
from domain.policy import OnSignalLoss

SCORE_DIGITS = 9


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
    """A placement, and what it was chosen from."""

    placement: Placement
    considered: int
    feasible: int
    cuts: Mapping[Wall, int]
    """Cells cut by each wall, in the order in which the walls are applied."""
    options: tuple[Option, ...]
    """Every legal and able (region, capacity type), best first."""


def decide(inputs: DecisionInputs) -> Decision:
    """Choose a placement, or fall back to running now.

    Raises:
        NoLegalRegion: residency and ability leave no region; nothing may ever drop them.
    """
    rows = rows_of(inputs, excluding=inputs.excluded_regions)
    cells = _cells(inputs, rows, _signal(inputs, rows))
    feasible = cells.feasible
    scores = _scores(cells, feasible)
    options = _options(cells, feasible, scores)
    if not feasible.any():
        placement = _run_now(replace(cells, starts_s=np.zeros(1), cuts={}))
    else:
        row, column = _chosen(cells, feasible, scores)
        placement = _placement(cells, row, column, float(scores[row, column]))
    return Decision(
        placement=placement,
        considered=int(np.prod(cells.shape)),
        feasible=int(feasible.sum()),
        cuts=dict(cells.cuts),
        options=options,
    )


# ── which signal, which cells ────────────────────────────────────────────────────────────────


def _signal(inputs: DecisionInputs, rows: tuple[Row, ...]) -> Signal | None:
    """The one signal that this decision compares; ``None`` for cost alone."""
    policy = inputs.world.policy
    zones = {row.region: row.zone for row in rows}
    wanted = min(policy.min_fresh_regions, len(zones))
    order = [policy.steering_signal]
    if policy.on_signal_loss is OnSignalLoss.OTHER_SIGNAL:
        order.append(policy.steering_signal.other)
    for signal in order:
        fresh = fresh_zones(inputs, signal)
        if sum(zone in fresh for zone in zones.values()) >= wanted:
            return signal
    return None


def _cells(inputs: DecisionInputs, rows: tuple[Row, ...], signal: Signal | None) -> Cells:
    """Cells now, at the incumbent's start, and at each edge of the forecast's grid.

    By cost alone, with prices that stand still, no later start is better: now is enough.
    """
    if inputs.reclaims and inputs.now > inputs.latest_spot_start:
        on_demand = tuple(row for row in rows if row.capacity_type is CapacityType.ON_DEMAND)
        return Cells(inputs, on_demand or rows, signal, np.zeros(1))
    if inputs.start_now:
        return Cells(inputs, rows, signal, np.zeros(1))
    starts = [0.0]
    if inputs.incumbent is not None:
        starts.append(max(0.0, (inputs.incumbent.start - inputs.now).total_seconds()))
    if signal is not None:
        curves = curves_of(inputs.world)[signal]
        edges = curves.edges_after(inputs.now, inputs.latest_on_demand_start)
        starts.extend(edges - curves.seconds(inputs.now))
    return Cells(inputs, rows, signal, np.unique(np.round(starts, 6)))


# ── score and choice ─────────────────────────────────────────────────────────────────────────


def scaled(values: Floats, feasible: Mask) -> Floats:
    """Values scaled 0..1 over the feasible cells; a zero range scales to 0."""
    low = np.min(values, where=feasible, initial=np.inf)
    spread = np.max(values, where=feasible, initial=-np.inf) - low
    if not np.isfinite(spread) or spread <= 0:
        return np.zeros_like(values)
    result: Floats = (values - low) / spread
    return result


def _scores(cells: Cells, feasible: Mask) -> Floats:
    """(rows, starts): the score of each feasible cell, infinity elsewhere."""
    weights = cells.inputs.world.policy.weights
    carbon_weight = weights.carbon if cells.signal else 0.0
    cost_weight = weights.cost if carbon_weight or weights.cost else 1.0
    if cells.signal is None:
        cost_weight = 1.0
    cost = np.broadcast_to(cells.cost_usd, cells.shape)
    total = carbon_weight * scaled(cells.carbon_g, feasible) + cost_weight * scaled(cost, feasible)
    rounded: Floats = np.round(total / (carbon_weight + cost_weight), SCORE_DIGITS)
    return np.where(feasible, rounded, np.inf)


def _chosen(cells: Cells, feasible: Mask, scores: Floats) -> tuple[int, int]:
    best = _least(cells, scores)
    held = _incumbent(cells)
    if held is None or not feasible[held]:
        return best
    gain = scores[held] - scores[best]
    return best if gain >= cells.inputs.world.policy.look_again.min_gain else held


def _least(cells: Cells, scores: Floats) -> tuple[int, int]:
    """The least score; ties by start, cost, region, capacity type."""
    ties = np.argwhere(scores == scores.min())
    row, column = min(
        ties.tolist(),
        key=lambda at: (
            cells.starts_s[at[1]],
            round(float(cells.cost_usd[at[0], 0]), SCORE_DIGITS),
            cells.rows[at[0]].region,
            cells.rows[at[0]].capacity_type,
        ),
    )
    return row, column


def _incumbent(cells: Cells) -> tuple[int, int] | None:
    held = cells.inputs.incumbent
    if held is None:
        return None
    offset = round(max(0.0, (held.start - cells.inputs.now).total_seconds()), 6)
    columns = np.flatnonzero(cells.starts_s == offset)
    for index, row in enumerate(cells.rows):
        if (row.region, row.capacity_type) == (held.region, held.capacity_type) and columns.size:
            return index, int(columns[0])
    return None


# ── the fallback ─────────────────────────────────────────────────────────────────────────────


def _run_now(cells: Cells) -> Placement:
    """An empty set never blocks a job: run now, dropping the cost ceiling first, then room.

    On Spot only if the runway covers one reclaim, else on-demand; cheapest by expected total cost.
    """
    dropped = [Wall.STALE, Wall.HORIZON, Wall.DEADLINE]
    fallbacks = [Fallback.RUN_NOW]
    left = _bought_safely(cells, cells.within(dropped))
    for wall, fallback in ((Wall.COST, Fallback.OVER_COST), (Wall.ROOM, Fallback.OVER_ROOM)):
        if left.any():
            break
        dropped.append(wall)
        fallbacks.append(fallback)
        left = _bought_safely(cells, cells.within(dropped))
    cost = np.where(left[:, 0], np.round(cells.cost_usd[:, 0], SCORE_DIGITS), np.inf)
    row = min(
        np.flatnonzero(cost == cost.min()).tolist(),
        key=lambda index: (cells.rows[index].region, cells.rows[index].capacity_type),
    )
    return _placement(cells, row, 0, None, tuple(fallbacks))


def _bought_safely(cells: Cells, left: Mask) -> Mask:
    """Only the capacity type that the runway allows, where it is offered at all."""
    inputs = cells.inputs
    spot = np.array([[row.capacity_type is CapacityType.SPOT] for row in cells.rows])
    if inputs.now <= inputs.latest_spot_start or spot.all():
        return left
    on_demand: Mask = left & ~spot
    return on_demand


# ── what is told of it ───────────────────────────────────────────────────────────────────────


def _placement(
    cells: Cells,
    row: int,
    column: int,
    score: float | None,
    fallbacks: tuple[Fallback, ...] = (),
) -> Placement:
    inputs, place = cells.inputs, cells.rows[row]
    start = inputs.now + timedelta(seconds=float(cells.starts_s[column]))
    cell = Cell(region=place.region, capacity_type=place.capacity_type, start=start)
    basis = SignalBasis.of(cells.signal) if cells.signal else SignalBasis.COST_ONLY
    estimate = _estimate(inputs, place, start)
    duration = inputs.world.policy.start_up + inputs.manifest.runtime
    placement = Placement(
        segments=(Segment(cell=cell, duration_s=duration.total_seconds()),),
        basis=basis,
        estimate=estimate,
        counterfactual=inputs.counterfactual or _counterfactual(inputs, place.capacity_type),
        score=score,
        fallbacks=fallbacks,
        at_risk=start + inputs.worst_case > inputs.deadline,
        latest_safe_start=inputs.latest_on_demand_start,
        reason="",
    )
    return placement.model_copy(update={"reason": _reason(placement, inputs.now)})


def _estimate(inputs: DecisionInputs, row: Row, start: datetime) -> Estimate:
    """What a run of one row at ``start`` is expected to take, by every signal that covers it."""
    offset = np.array([(start - inputs.now).total_seconds()])
    grams: dict[Signal, float | None] = {}
    for signal in Signal:
        one = Cells(inputs, (row,), signal, offset)
        covered = signal in curves_of(inputs.world) and bool(
            (one.within((Wall.DEADLINE, Wall.COST, Wall.ROOM)))[0, 0]
        )
        grams[signal] = round(float(one.carbon_g[0, 0]), 6) if covered else None
    hours = accounted_hours(inputs.world, inputs.manifest.runtime)
    return Estimate(
        energy_kwh=round(energy_kwh(power_kw(inputs) * 1000, hours * row.rework, row.pue), 9),
        average_carbon_g=grams[Signal.AVERAGE],
        marginal_carbon_g=grams[Signal.MARGINAL],
        cost_usd=round(float(Cells(inputs, (row,), None, offset).cost_usd[0, 0]), 9),
    )


def _counterfactual(inputs: DecisionInputs, capacity_type: CapacityType) -> Counterfactual:
    """The home region, enabled by policy or not, at submission; same capacity type, duration."""
    row = row_of(inputs, inputs.manifest.home_region, capacity_type)
    cell = Cell(region=row.region, capacity_type=capacity_type, start=inputs.now)
    return Counterfactual(cell=cell, estimate=_estimate(inputs, row, inputs.now))


def _reason(placement: Placement, now: datetime) -> str:
    cell = placement.cell
    when = "now" if cell.start <= now else f"at {cell.start:%d %b %H:%M:%S}Z"
    told = f"{cell.region} {cell.capacity_type.value} {when}"
    if placement.fallbacks:
        names = ", ".join(item.value.replace("_", " ") for item in placement.fallbacks)
        told += f": no cell within every wall ({names})"
    planned = placement.estimate.carbon_g(placement.basis)
    baseline = placement.counterfactual.estimate.carbon_g(placement.basis)
    if placement.basis is SignalBasis.COST_ONLY:
        told += ", by cost alone: no fresh signal"
    elif planned is not None and baseline:
        less = 100 * (1 - planned / baseline)
        told += (
            f", {abs(less):.0f} % {'less' if less >= 0 else 'more'} {placement.basis.value} carbon"
            f" than {placement.counterfactual.cell.region} at submission"
        )
    return told + f", ${placement.estimate.cost_usd:,.4f}"


def _options(cells: Cells, feasible: Mask, scores: Floats) -> tuple[Option, ...]:
    options = []
    for index, row in enumerate(cells.rows):
        if not feasible[index].any():
            options.append(
                Option(row.region, row.capacity_type, None, None, None, None, _cut_by(cells, index))
            )
            continue
        column = int(np.argmin(scores[index]))
        options.append(
            Option(
                row.region,
                row.capacity_type,
                cells.inputs.now + timedelta(seconds=float(cells.starts_s[column])),
                float(cells.carbon_g[index, column]) if cells.signal else None,
                float(cells.cost_usd[index, 0]),
                float(scores[index, column]),
                None,
            )
        )
    return tuple(
        sorted(options, key=lambda item: (item.score is None, item.score or 0.0, item.region))
    )


def _cut_by(cells: Cells, index: int) -> Wall:
    """The first wall that leaves nothing of a row."""
    one = Cells(cells.inputs, (cells.rows[index],), cells.signal, cells.starts_s)
    dropped = list(Wall)
    for wall in Wall:
        dropped.remove(wall)
        if not one.within(dropped).any():
            return wall
    return Wall.ROOM
