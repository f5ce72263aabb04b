"""The decision again, by loops over every cell: slow, plain, and written from the design alone.

Nothing here is shared with the engine but the values that a decision is made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.capacity import CapacityType
from domain.decision import DecisionInputs
from domain.forecast import Forecast, Signal
from domain.job import Fallback, SignalBasis
from domain.policy import OnOneSignal, OnSignalLoss

Place = tuple[str, CapacityType]


@dataclass(frozen=True)
class BruteCell:
    region: str
    capacity_type: CapacityType
    start: datetime
    carbon_g: float
    cost_usd: float
    score: float = math.nan
    """Not rounded."""

    @property
    def where(self) -> tuple[str, CapacityType, datetime]:
        return self.region, self.capacity_type, self.start


@dataclass(frozen=True)
class BruteDecision:
    chosen: tuple[str, CapacityType, datetime]
    basis: SignalBasis
    score: float | None
    """Rounded as the engine's; ``None`` for a fallback."""
    feasible: tuple[BruteCell, ...]
    considered: int
    fallbacks: tuple[Fallback, ...] = ()
    best: BruteCell | None = None
    """What would be chosen without an incumbent."""


def brute_force(inputs: DecisionInputs) -> BruteDecision:
    places = legal_and_able(inputs)
    signal = steering(inputs, places)
    starts = starts_of(inputs, signal)
    basis = SignalBasis(signal.value) if signal else SignalBasis.COST_ONLY
    cells = [
        BruteCell(
            region,
            capacity_type,
            start,
            grams(inputs, signal, (region, capacity_type), start) if signal else 0.0,
            dollars(inputs, (region, capacity_type)),
        )
        for region, capacity_type in places
        for start in starts
        if crosses_no_wall(inputs, signal, (region, capacity_type), start)
    ]
    considered = len(places) * len(starts)
    if not cells:
        place, fallbacks = run_now(inputs, places)
        return BruteDecision((*place, inputs.now), basis, None, (), considered, fallbacks)
    scored = scores(inputs, cells, signal)
    best = min(
        scored,
        key=lambda cell: (
            round(cell.score, 9),
            cell.start,
            round(cell.cost_usd, 9),
            cell.region,
            cell.capacity_type.value,
        ),
    )
    chosen = keep_incumbent(inputs, scored, best)
    return BruteDecision(
        chosen.where, basis, round(chosen.score, 9), tuple(scored), considered, best=best
    )


# ── where ────────────────────────────────────────────────────────────────────────────────────


def legal_and_able(inputs: DecisionInputs) -> list[Place]:
    """Every (region, capacity type) that residency, policy, ability and prices allow."""
    policy, needs = inputs.world.policy, inputs.manifest.resources
    allowed = policy.residency[inputs.manifest.residency]
    found: list[Place] = []
    for region, offered in policy.regions.items():
        country = inputs.world.catalogue.regions[region].country
        if region not in allowed.regions and country not in allowed.countries:
            continue
        if offered.max_vcpus_per_job is not None and needs.vcpus > offered.max_vcpus_per_job:
            continue
        memory = offered.max_memory_gib_per_job
        if memory is not None and needs.memory_gib > memory:
            continue
        if needs.gpus and needs.gpu_model.lower() not in offered.gpu_models:
            continue
        for capacity_type in (CapacityType.SPOT, CapacityType.ON_DEMAND):
            limit = offered.spot if capacity_type is CapacityType.SPOT else offered.on_demand
            if limit is None or needs.vcpus > limit.vcpus or needs.gpus > limit.gpus:
                continue
            if (region, capacity_type) in inputs.world.prices.compute:
                found.append((region, capacity_type))
    left = [place for place in found if place[0] not in inputs.excluded_regions]
    return left or found


def zone_of(inputs: DecisionInputs, region: str, signal: Signal) -> str | None:
    found = inputs.world.catalogue.regions[region]
    cut = found.marginal_zone if signal is Signal.MARGINAL else None
    return cut or found.grid_zone


def trusted(inputs: DecisionInputs, signal: Signal, zone: str | None) -> Forecast | None:
    """The zone's forecast, if it is young enough and covers now."""
    for forecast in inputs.world.forecasts:
        if forecast.zone == zone and forecast.signal is signal:
            policy = inputs.world.policy
            limit = policy.forecast_max_age_of.get(forecast.provider, policy.forecast_max_age)
            young = inputs.now - forecast.issued_at <= limit
            covers = forecast.start <= inputs.now < forecast.end
            return forecast if young and covers else None
    return None


def steering(inputs: DecisionInputs, places: list[Place]) -> Signal | None:
    """The policy's signal; the other, or none, when too few regions have it fresh."""
    policy, regions = inputs.world.policy, {region for region, _ in places}
    fresh = {
        signal: sum(
            trusted(inputs, signal, zone_of(inputs, region, signal)) is not None
            for region in regions
        )
        for signal in Signal
    }
    wanted = min(policy.min_fresh_regions, len(regions))
    own, other = policy.steering_signal, policy.steering_signal.other
    if fresh[own] < wanted:
        moves = policy.on_signal_loss is OnSignalLoss.OTHER_SIGNAL and fresh[other] >= wanted
        return other if moves else None
    more = policy.regions_with_one_signal is OnOneSignal.OTHER_SIGNAL and fresh[other] > fresh[own]
    return other if more else own


# ── when ─────────────────────────────────────────────────────────────────────────────────────


def worst_case(inputs: DecisionInputs) -> timedelta:
    return inputs.world.policy.start_up + inputs.manifest.p95_runtime


def last_start(inputs: DecisionInputs, capacity_type: CapacityType) -> datetime:
    """A Spot run that is reclaimed at its very end must leave time for an on-demand run."""
    runs = 2 if capacity_type is CapacityType.SPOT else 1
    return inputs.deadline - inputs.world.policy.safety_margin - runs * worst_case(inputs)


def starts_of(inputs: DecisionInputs, signal: Signal | None) -> list[datetime]:
    spot_unsafe = inputs.now > last_start(inputs, CapacityType.SPOT)
    if inputs.start_now or (inputs.reclaims and spot_unsafe):
        return [inputs.now]
    starts = {inputs.now}
    if inputs.incumbent:
        starts.add(max(inputs.now, inputs.incumbent.start))
    if signal:
        series = [item for item in inputs.world.forecasts if item.signal is signal]
        step = timedelta(seconds=min(item.step_s for item in series))
        edge, end = min(item.start for item in series), max(item.end for item in series)
        # The grid goes on to the edge after the last horizon; no cell there is feasible.
        while edge <= end + step:
            if inputs.now < edge <= last_start(inputs, CapacityType.ON_DEMAND):
                starts.add(edge)
            edge += step
    return sorted(starts)


# ── walls ────────────────────────────────────────────────────────────────────────────────────


def crosses_no_wall(
    inputs: DecisionInputs, signal: Signal | None, place: Place, start: datetime
) -> bool:
    return (
        (signal is None or foreseen(inputs, signal, place, start))
        and start <= last_start(inputs, place[1])
        and affordable(inputs, place)
        and room_left(inputs, place, start)
    )


def foreseen(inputs: DecisionInputs, signal: Signal, place: Place, start: datetime) -> bool:
    """The run ends within the horizon of its own zone, and of those that it moves data from."""
    own = trusted(inputs, signal, zone_of(inputs, place[0], signal))
    if own is None:
        return False
    end = start + inputs.world.policy.start_up + inputs.manifest.runtime
    horizons = [own.end]
    for item in inputs.manifest.inputs:
        source = trusted(inputs, signal, zone_of(inputs, item.region, signal))
        if item.region != place[0] and source:
            horizons.append(source.end)
    return end <= min(horizons)


def affordable(inputs: DecisionInputs, place: Place) -> bool:
    hourly = inputs.world.policy.max_usd_per_vcpu_hour
    if hourly and machine_usd_per_hour(inputs, place) / inputs.manifest.resources.vcpus > hourly:
        return False
    most = inputs.manifest.max_cost_usd
    return most is None or dollars(inputs, place) <= most


def room_left(inputs: DecisionInputs, place: Place, start: datetime) -> bool:
    """One more machine fits in every clock hour that the planned run touches."""
    offered, needs = inputs.world.policy.regions[place[0]], inputs.manifest.resources
    limit = offered.spot if place[1] is CapacityType.SPOT else offered.on_demand
    held = inputs.room.reserved.get(place, {})
    hour = start.replace(minute=0, second=0, microsecond=0)
    planned = inputs.world.policy.start_up + inputs.manifest.runtime
    while hour < start + planned:
        taken = held.get(round(hour.timestamp()) // 3600)
        if taken and (
            taken.vcpus + needs.vcpus > limit.vcpus or taken.gpus + needs.gpus > limit.gpus
        ):
            return False
        hour += timedelta(hours=1)
    return True


# ── what a run takes ─────────────────────────────────────────────────────────────────────────


def running_hours(inputs: DecisionInputs, place: Place) -> float:
    """Useful hours, times the rework that reclaims are expected to cause."""
    hours = inputs.manifest.runtime.total_seconds() * inputs.world.time_scale / 3600
    exposure = min(20.0, inputs.world.prices.compute[place].reclaims_per_hour * hours)
    return hours * (math.expm1(exposure) / exposure if exposure > 1e-9 else 1.0)


def machine_usd_per_hour(inputs: DecisionInputs, place: Place) -> float:
    price, needs = inputs.world.prices.compute[place], inputs.manifest.resources
    return (
        needs.vcpus * price.usd_per_vcpu_hour
        + needs.memory_gib * price.usd_per_gib_hour
        + needs.gpus * price.usd_per_gpu_hour
    )


def dollars(inputs: DecisionInputs, place: Place) -> float:
    total = machine_usd_per_hour(inputs, place) * running_hours(inputs, place)
    for item in inputs.manifest.inputs:
        if item.region != place[0]:
            rule = next(
                rule
                for rule in inputs.world.prices.egress
                if covers(rule.source, item.region) and covers(rule.destination, place[0])
            )
            total += item.gib * rule.usd_per_gib
    return total


def covers(pattern: str, region: str) -> bool:
    return region.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == region


def energy(inputs: DecisionInputs, place: Place) -> float:
    """Energy, kWh, at the meter of the data centre."""
    method, needs = inputs.world.methodology, inputs.manifest.resources
    idle, full, load = method.min_w_per_vcpu, method.max_w_per_vcpu, method.utilisation
    watts = needs.vcpus * (idle + load * (full - idle)) + needs.memory_gib * method.w_per_memory_gib
    if needs.gpus:
        gpu = method.gpus[needs.gpu_model.lower()]
        watts += needs.gpus * (gpu.idle_w + load * (gpu.max_w - gpu.idle_w))
    pue = inputs.world.catalogue.regions[place[0]].pue
    return watts / 1000 * running_hours(inputs, place) * pue


def grams(inputs: DecisionInputs, signal: Signal, place: Place, start: datetime) -> float:
    begin = start + inputs.world.policy.start_up
    end = begin + inputs.manifest.runtime
    own = trusted(inputs, signal, zone_of(inputs, place[0], signal))
    here = mean_intensity(own, begin, end)
    total = energy(inputs, place) * here
    for item in inputs.manifest.inputs:
        if item.region != place[0]:
            source = trusted(inputs, signal, zone_of(inputs, item.region, signal))
            there = mean_intensity(source, begin, end) if source else here
            gb = item.gib * 1.073741824
            total += gb * inputs.world.methodology.network_kwh_per_gb * (here + there) / 2
    return total


def mean_intensity(forecast: Forecast, begin: datetime, end: datetime) -> float:
    """Mean over the run, by walking the forecast's steps."""
    total, step = 0.0, timedelta(seconds=forecast.step_s)
    for number, value in enumerate(forecast.values):
        left = forecast.start + number * step
        seconds = (min(end, left + step) - max(begin, left)).total_seconds()
        if seconds > 0:
            total += value * seconds
    return total / (end - begin).total_seconds()


# ── choice ───────────────────────────────────────────────────────────────────────────────────


def scores(
    inputs: DecisionInputs, cells: list[BruteCell], signal: Signal | None
) -> list[BruteCell]:
    weights = inputs.world.policy.weights
    carbon, cost = (weights.carbon, weights.cost) if signal else (0.0, 1.0)
    clean = scale([cell.carbon_g for cell in cells])
    cheap = scale([cell.cost_usd for cell in cells])
    return [
        BruteCell(
            *cell.where, cell.carbon_g, cell.cost_usd, (carbon * g + cost * usd) / (carbon + cost)
        )
        for cell, g, usd in zip(cells, clean, cheap, strict=True)
    ]


def scale(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * abs(high):
        return [0.0] * len(values)
    return [(value - low) / (high - low) for value in values]


def keep_incumbent(inputs: DecisionInputs, cells: list[BruteCell], best: BruteCell) -> BruteCell:
    held = inputs.incumbent
    if held is None:
        return best
    for cell in cells:
        if cell.where == (held.region, held.capacity_type, max(inputs.now, held.start)):
            gain = round(round(cell.score, 9) - round(best.score, 9), 9)
            return best if gain >= inputs.world.policy.look_again.min_gain else cell
    return best


def run_now(inputs: DecisionInputs, places: list[Place]) -> tuple[Place, tuple[Fallback, ...]]:
    """Drop the cost ceiling, then room; never the capacity type that is safe, if offered."""
    safe = places
    if inputs.now > last_start(inputs, CapacityType.SPOT):
        safe = [place for place in places if place[1] is CapacityType.ON_DEMAND] or places
    with_room = [place for place in safe if room_left(inputs, place, inputs.now)]
    cheap = [place for place in with_room if affordable(inputs, place)]
    fallbacks, left = (Fallback.RUN_NOW,), cheap
    if not left:
        fallbacks, left = (*fallbacks, Fallback.OVER_COST), with_room
    if not left:
        fallbacks, left = (*fallbacks, Fallback.OVER_ROOM), safe
    chosen = min(left, key=lambda place: (round(dollars(inputs, place), 9), place[0], place[1]))
    return chosen, fallbacks
