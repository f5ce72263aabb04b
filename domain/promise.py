"""What a choice promises: the placement that is recorded and shown, and held against what came."""

from __future__ import annotations

import numpy as np

from domain.capacity import CapacityType
from domain.cells import GRAM_DIGITS, Cells, Choice
from domain.job import (
    Cell,
    Counterfactual,
    Estimate,
    Fallback,
    Placement,
    Saving,
    Segment,
    SignalBasis,
)
from domain.outlook import Outlook
from domain.policy import OnSignalLoss
from domain.waiting import home_now_g


def promise(cells: Cells, choice: Choice) -> Placement:
    """The placement of a single job's choice."""
    inputs, place, outlook = cells.jobs[0], cells.rows.places[choice.row], cells.outlook
    start = cells.instant(choice.start)
    basis = SignalBasis.of(outlook.signal) if outlook else SignalBasis.COST_ONLY
    cell = Cell(region=place.region, capacity_type=place.capacity_type, start=start)
    estimate = cells.estimate(choice.row, 0, choice.start)
    counterfactual = inputs.counterfactual or counterfactual_at_home(cells, place.capacity_type)
    duration = inputs.world.policy.start_up + inputs.manifest.runtime
    return Placement(
        segments=(Segment(cell=cell, duration_s=duration.total_seconds()),),
        basis=basis,
        signal_provider=outlook.provider(choice.row) if outlook else None,
        regions_without_signal=outlook.regions_without if outlook else (),
        estimate=estimate,
        counterfactual=counterfactual,
        score=choice.score,
        saving=saving(cells, estimate, float(cells.carbon_g[choice.row, 0, choice.start])),
        static_rule=outlook is not None and outlook.is_static,
        fallbacks=choice.fallbacks,
        at_risk=start + inputs.worst_case > inputs.deadline,
        latest_safe_start=inputs.latest_on_demand_start,
        reason=_reason(cell, estimate, counterfactual, cells, choice.fallbacks),
    )


def saving(cells: Cells, estimate: Estimate, expected_g: float) -> Saving | None:
    """Against running now at home; ``expected_g`` is what the choice went by."""
    inputs, expected = cells.jobs[0], cells.outlook
    if expected is None:
        return None
    issued = Outlook.of(cells.rows, expected.signal, cells.now)
    promised_g = estimate.carbon_g(SignalBasis.of(expected.signal))
    home_promised_g, home_g = home_now_g(inputs, issued), home_now_g(inputs, expected)
    if promised_g is None or home_promised_g is None or home_g is None:
        return None
    return Saving(
        promised_g=round(home_promised_g - promised_g, GRAM_DIGITS),
        expected_g=round(home_g - expected_g, GRAM_DIGITS),
    )


def counterfactual_at_home(cells: Cells, capacity_type: CapacityType) -> Counterfactual:
    """The home region, enabled by policy or not, at submission; same capacity type, duration.

    Its estimate goes by the forecast for now, which reaches no further back; what the hours of
    submission really were, its settlement tells.
    """
    manifest = cells.jobs[0].manifest
    row = cells.rows.index.get((manifest.home_region, capacity_type))
    if row is None:
        home = cells.rows.ground.rows_at(manifest.home_region, capacity_type, manifest.resources)
        row, cells = 0, Cells(cells.jobs, home, None, np.zeros(1))
    submitted_at = cells.jobs[0].submitted_at or cells.now
    cell = Cell(region=manifest.home_region, capacity_type=capacity_type, start=submitted_at)
    return Counterfactual(cell=cell, estimate=cells.estimate(row, 0, 0))


def _reason(
    cell: Cell,
    estimate: Estimate,
    counterfactual: Counterfactual,
    cells: Cells,
    fallbacks: tuple[Fallback, ...],
) -> str:
    when = "now" if cell.start <= cells.now else f"at {cell.start:%d %b %H:%M:%S}Z"
    told = f"{cell.region} {cell.capacity_type.value} {when}"
    if fallbacks:
        names = ", ".join(item.value.replace("_", " ") for item in fallbacks)
        told += f": no cell within every wall ({names})"
    told += compared(estimate, counterfactual, cells)
    return told + f", ${estimate.cost_usd:,.4f}"


def compared(estimate: Estimate, counterfactual: Counterfactual, cells: Cells) -> str:
    """How a plan compares with the counterfactual, and by what; begins with a comma.

    A plan for what is left of a job is not comparable with a counterfactual of all of it.
    """
    outlook, policy = cells.outlook, cells.world.policy
    few = f"{policy.steering_signal.value} is fresh in too few regions"
    if outlook is None:
        only_steering = policy.on_signal_loss is OnSignalLoss.COST_ONLY
        return f", by cost alone: {few if only_steering else 'no fresh signal'}"
    told, basis = "", SignalBasis.of(outlook.signal)
    planned, baseline = estimate.carbon_g(basis), counterfactual.estimate.carbon_g(basis)
    is_whole = cells.jobs[0].checkpoint_region is None
    if planned is not None and baseline and is_whole:
        less = 100 * (1 - planned / baseline)
        told += (
            f", {abs(less):.0f} % {'less' if less >= 0 else 'more'} {basis.value} carbon"
            f" than {counterfactual.cell.region} at submission"
        )
    if outlook.is_static:
        told += ", by annual means: the forecast has lately lost to them"
    if outlook.signal is not policy.steering_signal:
        told += f", by {basis.value}: {few}"
    if left_out := len(outlook.regions_without):
        told += f", {left_out} region{'s' * (left_out > 1)} left out without a fresh signal"
    return told
