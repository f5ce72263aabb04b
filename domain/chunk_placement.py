"""Where and when the chunks of an interruptible job run: the plan, and what is told of it.

``chunk_slots.py`` weighs the slots, ``chunks.py`` finds the cheapest set of chunks in them. Where
there is none, or none that pays, the job runs in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from domain.capacity import CapacityType
from domain.cells import (
    GRAM_DIGITS,
    KWH_DIGITS,
    SCORE_DIGITS,
    USD_DIGITS,
    Cells,
)
from domain.chunk_slots import SlottedJob
from domain.chunks import Chunk, cheapest
from domain.decision import DecisionInputs
from domain.forecast import Signal
from domain.job import Cell, Estimate, Placement, Segment, SignalBasis
from domain.outlook import Outlook
from domain.promise import compared, counterfactual_at_home, saving
from domain.rows import ground_of
from domain.steering import steering_outlook
from domain.waiting import NEARLY, home_now_g, pays


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """One stretch of a plan."""

    region: str
    capacity_type: CapacityType
    start: datetime
    duration_s: float
    """Start-up and taking up a checkpoint included, as a segment's."""


def plan_chunks(inputs: DecisionInputs) -> tuple[PlannedChunk, ...] | None:
    """What ``decide_chunks`` chooses, without what is told of it. Raises ``NoLegalRegion`` too."""
    plan = _chosen(inputs)
    return None if plan is None else plan.told


def decide_chunks(inputs: DecisionInputs) -> Placement | None:
    """The chunks with the least weighed carbon and cost within the walls.

    ``None`` where the job is to run in one piece, as ``placement.decide`` places it: it is not
    interruptible or must start now; no forecast tells one hour from another; no plan is within
    every wall; or the best one saves less than the job's class asks for, or does harm on the other
    signal where the policy forbids that.

    Raises:
        NoLegalRegion: residency and ability leave no region.
    """
    plan = _chosen(inputs)
    return None if plan is None else _placement(plan)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The chunks chosen for a job."""

    job: SlottedJob
    chunks: tuple[Chunk, ...]
    score: float

    @property
    def told(self) -> tuple[PlannedChunk, ...]:
        """By names and instants."""
        places, now = self.job.rows.keys, self.job.inputs.now
        return tuple(
            PlannedChunk(
                *places[chunk.row], now + timedelta(seconds=chunk.start_s), chunk.duration_s
            )
            for chunk in self.chunks
        )

    @property
    def cost_usd(self) -> float:
        """Expected dollars."""
        return sum(self.job.cost_usd(chunk) for chunk in self.chunks)

    @property
    def energy_kwh(self) -> float:
        """Expected, at the meter of the data centre."""
        return sum(self.job.energy_kwh(chunk) for chunk in self.chunks)

    def grams(self, outlook: Outlook) -> float | None:
        """Expected grams; ``None`` where a chunk is not covered by fresh forecasts."""
        found = [self.job.grams(chunk, outlook) for chunk in self.chunks]
        known = [grams for grams in found if grams is not None]
        return sum(known) if len(known) == len(found) else None


def _chosen(inputs: DecisionInputs) -> _Plan | None:
    interruptible = inputs.manifest.interruptible
    left = inputs.remaining()
    if interruptible is None or left.only_now:
        return None
    rows = ground_of(left.world).rows(left.manifest, left.excluded_regions)
    outlook = steering_outlook(rows, left)
    if outlook is None or outlook.is_static:
        return None
    job = SlottedJob(left, interruptible, outlook)
    if not job.is_feasible.any():
        return None
    found = cheapest(job.work, job.slots, job.held)
    if found is None:
        return None
    plan = _Plan(job, found.chunks, round(found.cost - job.least_score, SCORE_DIGITS))
    return plan if _is_wanted(plan) else None


def _is_wanted(plan: _Plan) -> bool:
    """Whether a plan costs no more than it may, saves what it must, and does no harm."""
    inputs, outlook = plan.job.inputs, plan.job.outlook
    policy, most_usd = inputs.world.policy, inputs.manifest.max_cost_usd
    if most_usd is not None and plan.cost_usd > most_usd:
        return False
    if inputs.manifest.job_class in policy.job_classes:
        chosen_g = plan.grams(outlook)
        if chosen_g is None or not pays(inputs, chosen_g, home_now_g(inputs, outlook)):
            return False
    return not policy.no_harm or _does_no_harm(plan)


def _does_no_harm(plan: _Plan) -> bool:
    """Known to be no worse than running now at home on the signal that does not steer."""
    rows, inputs = plan.job.outlook.rows, plan.job.inputs
    signal = plan.job.outlook.signal.other
    if signal not in rows.ground.expected:
        return True
    other = Outlook.expected(rows, signal, inputs.now)
    home_g, chosen_g = home_now_g(inputs, other), plan.grams(other)
    return home_g is None or (chosen_g is not None and chosen_g <= home_g * (1 + NEARLY))


# ── what is told of it ───────────────────────────────────────────────────────────────────────


def _placement(plan: _Plan) -> Placement:
    job, outlook = plan.job, plan.job.outlook
    inputs, chunks = job.inputs, plan.told
    cells = Cells((inputs,), job.rows, outlook, np.zeros(1))
    estimate = _estimate(plan)
    counterfactual = inputs.counterfactual or counterfactual_at_home(cells, chunks[0].capacity_type)
    expected_g = plan.grams(outlook)
    return Placement(
        segments=tuple(
            Segment(
                cell=Cell(region=item.region, capacity_type=item.capacity_type, start=item.start),
                duration_s=item.duration_s,
            )
            for item in chunks
        ),
        basis=SignalBasis.of(outlook.signal),
        signal_provider=outlook.provider(plan.chunks[0].row),
        regions_without_signal=outlook.regions_without,
        estimate=estimate,
        counterfactual=counterfactual,
        score=plan.score,
        saving=None if expected_g is None else saving(cells, estimate, expected_g),
        latest_safe_start=inputs.latest_on_demand_start,
        reason=_told(chunks)
        + compared(estimate, counterfactual, cells)
        + f", ${estimate.cost_usd:,.4f}",
    )


def _estimate(plan: _Plan) -> Estimate:
    """Sums over the chunks, by the forecasts as issued."""
    rows, now = plan.job.rows, plan.job.inputs.now
    grams: dict[Signal, float | None] = dict.fromkeys(Signal)
    for signal in rows.ground.curves:
        found = plan.grams(Outlook.of(rows, signal, now))
        grams[signal] = None if found is None else round(found, GRAM_DIGITS)
    return Estimate(
        energy_kwh=round(plan.energy_kwh, KWH_DIGITS),
        average_carbon_g=grams[Signal.AVERAGE],
        marginal_carbon_g=grams[Signal.MARGINAL],
        cost_usd=round(plan.cost_usd, USD_DIGITS),
    )


def _told(chunks: tuple[PlannedChunk, ...]) -> str:
    count = f"{len(chunks)} chunk{'s' * (len(chunks) > 1)}"
    places = ", ".join(
        dict.fromkeys(f"{item.region} {item.capacity_type.value}" for item in chunks)
    )
    end = chunks[-1].start + timedelta(seconds=chunks[-1].duration_s)
    return f"{count} in {places} from {chunks[0].start:%d %b %H:%M}Z to {end:%d %b %H:%M}Z"
