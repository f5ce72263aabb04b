"""The decision as a loop in plain Python, for comparison; prefix sums in lists, no NumPy.

It gets what the engine gets ready-made (places, prices, prefix sums of each zone, full hours of
each place), so that both sides do the same work a job: carbon integral, price integral (prices
stand still, so price x hours), room mask, scaling, choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.energy import it_power_w
from domain.forecast import Forecast
from domain.reclaims import expected_rework_factor
from domain.room import RoomView
from domain.rows import Row, ground_of


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
    steering: list[Forecast] = [
        item for item in world.forecasts if item.signal is world.policy.steering_signal
    ]
    first = steering[0]
    prefix = {
        item.zone: list(accumulate((value * item.step_s for value in item.values), initial=0.0))
        for item in steering
    }
    ends_s = first.step_s * len(first.values)
    return Prepared(world, prefix, first.start, first.step_s, ends_s)


def choose_plainly(job: DecisionInputs, prepared: Prepared) -> tuple[str, CapacityType, datetime]:
    """The cell of one job for which some cell is feasible."""
    world, manifest = prepared.world, job.manifest
    needs, policy = manifest.resources, world.policy
    power_kw = it_power_w(world.methodology, needs.vcpus, needs.memory_gib) / 1000
    runtime_s = manifest.runtime.total_seconds()
    worst_s = job.worst_case.total_seconds()
    now_s = (job.now - prepared.origin).total_seconds()
    starts_s = _starts(job, prepared, now_s)
    found = []
    for place in ground_of(world).rows(manifest).places:
        rework = expected_rework_factor(place.reclaims_per_hour, runtime_s / 3600)
        hours = runtime_s / 3600 * rework
        usd = place.usd_per_hour * hours
        latest = job.latest_on_demand_start
        if place.capacity_type is CapacityType.SPOT:
            latest = job.latest_spot_start
        latest_s = (latest - job.now).total_seconds()
        full = _full_hours(place, job.room, policy, needs.vcpus)
        prefix = prepared.prefix[place.zone or ""]
        kwh_per_s = power_kw * hours * place.pue / runtime_s
        for start_s in starts_s:
            begin_s = now_s + start_s + policy.start_up.total_seconds()
            if start_s > latest_s or begin_s + runtime_s > prepared.ends_s:
                break
            if full and _meets(full, job.now, start_s, worst_s):
                continue
            grams = (
                _at(prefix, (begin_s + runtime_s) / prepared.step_s)
                - _at(prefix, begin_s / prepared.step_s)
            ) * kwh_per_s
            found.append((grams, usd, start_s, place.region, place.capacity_type))
    return _best(found, job)


def _starts(job: DecisionInputs, prepared: Prepared, now_s: float) -> list[float]:
    last_s = (job.latest_on_demand_start - job.now).total_seconds()
    edge = int(now_s // prepared.step_s) + 1
    starts = [0.0]
    while edge * prepared.step_s - now_s <= last_s:
        starts.append(round(edge * prepared.step_s - now_s, 6))
        edge += 1
    return starts


def _full_hours(place: Row, room: RoomView, policy: object, vcpus: float) -> set[int]:
    limit = policy.regions[place.region].limit(place.capacity_type)  # type: ignore[attr-defined]
    held = room.reserved.get((place.region, place.capacity_type), {})
    return {hour for hour, taken in held.items() if taken.vcpus + vcpus > limit.vcpus}


def _meets(full: set[int], now: datetime, start_s: float, worst_s: float) -> bool:
    begin = now.timestamp() + start_s
    first, last = int(begin // 3600), int((begin + worst_s - 1e-6) // 3600)
    return any(hour in full for hour in range(first, last + 1))


def _at(prefix: list[float], place: float) -> float:
    left = min(int(place), len(prefix) - 2)
    return prefix[left] + (prefix[left + 1] - prefix[left]) * (place - left)


def _best(
    found: list[tuple[float, float, float, str, CapacityType]], job: DecisionInputs
) -> tuple[str, CapacityType, datetime]:
    weights = job.world.policy.weights
    low_g, high_g = min(item[0] for item in found), max(item[0] for item in found)
    low_usd, high_usd = min(item[1] for item in found), max(item[1] for item in found)
    best = min(
        found,
        key=lambda item: (
            round(
                (
                    weights.carbon * _scaled(item[0], low_g, high_g)
                    + weights.cost * _scaled(item[1], low_usd, high_usd)
                )
                / (weights.carbon + weights.cost),
                9,
            ),
            item[2],
            round(item[1], 9),
            item[3],
            item[4],
        ),
    )
    return best[3], best[4], job.now + timedelta(seconds=best[2])


def _scaled(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.0
