"""The decision as a loop in plain Python, for comparison; prefix sums in lists, no NumPy.

It gets what the engine gets ready-made (places, prices, prefix sums of each zone), so that both
sides do the same work a job: carbon integral, price integral (prices stand still, so price x
hours), room mask, scaling, choice. It is written to be fast: what does not depend on the start
stands outside the loop over starts, and a wall ends it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.energy import it_power_w
from domain.policy import Policy
from domain.reclaims import expected_rework_factor
from domain.room import HOUR_S, RoomView
from domain.rows import Row, ground_of

PlainCell = tuple[float, float, float, str, CapacityType]
"""Grams, dollars, start in seconds after now, region, capacity type."""


@dataclass(frozen=True)
class Prepared:
    """What depends on the world alone."""

    world: World
    prefix: dict[str, list[float]]
    origin: datetime
    step_s: float
    ends_s: float


def prepare(world: World) -> Prepared:
    """Prefix sums of the steering signal's forecasts, which share start and step here."""
    steering = [item for item in world.forecasts if item.signal is world.policy.steering_signal]
    first = steering[0]
    prefix = {
        item.zone: list(accumulate((value * item.step_s for value in item.values), initial=0.0))
        for item in steering
    }
    ends_s = first.step_s * len(first.values)
    return Prepared(world, prefix, first.start, first.step_s, ends_s)


def choose_plainly(job: DecisionInputs, prepared: Prepared) -> tuple[str, CapacityType, datetime]:
    """The cell of one job for which some cell is feasible."""
    world, manifest, step_s = prepared.world, job.manifest, prepared.step_s
    needs, policy = manifest.resources, world.policy
    power_kw = it_power_w(world.methodology, needs.vcpus, needs.memory_gib) / 1000
    runtime_s, planned_s = manifest.runtime.total_seconds(), job.planned_run.total_seconds()
    now_s = (job.now - prepared.origin).total_seconds()
    ready_s = now_s + policy.start_up.total_seconds()
    into_s = job.now.timestamp()
    latest_s = {
        CapacityType.SPOT: (job.latest_spot_start - job.now).total_seconds(),
        CapacityType.ON_DEMAND: (job.latest_on_demand_start - job.now).total_seconds(),
    }
    starts_s = _starts(latest_s[CapacityType.ON_DEMAND], step_s, now_s)
    found: list[PlainCell] = []
    for place in ground_of(world).rows(manifest).places:
        rework = expected_rework_factor(place.reclaims_per_hour, runtime_s / HOUR_S)
        hours = runtime_s / HOUR_S * rework
        usd = place.usd_per_hour * hours
        full = _full_hours(place, job.room, policy, needs.vcpus)
        prefix = prepared.prefix[place.zone or ""]
        kwh_per_s = power_kw * hours * place.pue / runtime_s
        last_s = min(latest_s[place.capacity_type], prepared.ends_s - ready_s - runtime_s)
        for start_s in starts_s:
            if start_s > last_s:
                break
            if full:
                hour = int((into_s + start_s) // HOUR_S)
                last = int((into_s + start_s + planned_s - 1e-6) // HOUR_S)
                while hour <= last and hour not in full:
                    hour += 1
                if hour <= last:
                    continue
            place_in = (ready_s + start_s) / step_s
            left = int(place_in)
            before = prefix[left] + (prefix[left + 1] - prefix[left]) * (place_in - left)
            place_in = (ready_s + start_s + runtime_s) / step_s
            left = int(place_in)
            if left + 1 < len(prefix):
                after = prefix[left] + (prefix[left + 1] - prefix[left]) * (place_in - left)
            else:
                after = prefix[-1]
            grams = (after - before) * kwh_per_s
            found.append((grams, usd, start_s, place.region, place.capacity_type))
    region, capacity_type, start_s = _best(found, job)
    return region, capacity_type, job.now + timedelta(seconds=start_s)


def _starts(last_s: float, step_s: float, now_s: float) -> list[float]:
    first, last = int(now_s // step_s) + 1, int((now_s + last_s) // step_s)
    return [0.0, *(round(edge * step_s - now_s, 6) for edge in range(first, last + 1))]


def _full_hours(place: Row, room: RoomView, policy: Policy, vcpus: float) -> set[int]:
    limit = policy.regions[place.region].limit(place.capacity_type)
    held = room.reserved.get((place.region, place.capacity_type), {})
    most = limit.vcpus if limit else 0.0
    return {hour for hour, taken in held.items() if taken.vcpus + vcpus > most}


def _best(found: list[PlainCell], job: DecisionInputs) -> tuple[str, CapacityType, float]:
    weights = job.world.policy.weights
    whole = weights.carbon + weights.cost
    grams, usd = [cell[0] for cell in found], [cell[1] for cell in found]
    low_g, per_g = _scale(min(grams), max(grams), weights.carbon / whole)
    low_usd, per_usd = _scale(min(usd), max(usd), weights.cost / whole)
    least, best = math.inf, (math.inf, 0.0, "", CapacityType.SPOT)
    for cell_g, cell_usd, start_s, region, capacity_type in found:
        score = round((cell_g - low_g) * per_g + (cell_usd - low_usd) * per_usd, 9)
        if score <= least:
            key = (start_s, round(cell_usd, 9), region, capacity_type)
            if score < least or key < best:
                least, best = score, key
    return best[2], best[3], best[0]


def _scale(low: float, high: float, weight: float) -> tuple[float, float]:
    return low, (weight / (high - low) if high > low else 0.0)
