"""The cells of one decision as arrays: rows are (region, capacity type), columns are starts.

Every wall is a mask of its own, so that "why not Stockholm?" has an answer, and carbon and cost
are filled in for all cells at once from the curves that the decisions of a refresh share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from domain.admission import is_able, offered_types
from domain.capacity import CapacityType
from domain.curves import Curves, Floats
from domain.decision import DecisionInputs, SameWorld, World
from domain.energy import it_power_w, transfer_kwh
from domain.errors import NoLegalRegion
from domain.forecast import Signal
from domain.reclaims import expected_rework_factor
from domain.room import hour_of, hours_touched

Mask = NDArray[np.bool_]


class Wall(StrEnum):
    """What a cell may not cross."""

    STALE = "stale signal"
    HORIZON = "forecast horizon"
    DEADLINE = "deadline"
    COST = "cost ceiling"
    ROOM = "room"


@dataclass(frozen=True, slots=True)
class Row:
    """One place: a region and how its machine is bought."""

    region: str
    zone: str
    capacity_type: CapacityType
    pue: float
    usd_per_hour: float
    rework: float
    """Expected running time over useful time."""


def rows_of(inputs: DecisionInputs, *, excluding: Sequence[str] = ()) -> tuple[Row, ...]:
    """Legal and able places, by region and capacity type.

    Raises:
        NoLegalRegion: there is none; residency and ability are never dropped.
    """
    manifest, world = inputs.manifest, inputs.world
    legal = world.policy.legal_regions(manifest.residency, world.catalogue)
    rows = tuple(
        row_of(inputs, region, kind)
        for region in legal
        if region not in excluding and is_able(manifest, world.policy, region)
        for kind in offered_types(manifest, world.policy, region)
        if world.prices.has(region, kind)
    )
    if rows:
        return rows
    if excluding:
        # Every other region failed too: one that failed is better than none.
        return rows_of(inputs)
    raise NoLegalRegion(manifest.residency, "a legal region that is able to run the job")


def row_of(inputs: DecisionInputs, region: str, capacity_type: CapacityType) -> Row:
    """One place, whether or not the policy enables it. Raises ``MissingPrice``."""
    world, needs = inputs.world, inputs.manifest.resources
    found = world.catalogue.get(region)
    hours = accounted_hours(world, inputs.manifest.runtime)
    price = world.prices.price(region, capacity_type)
    return Row(
        region=region,
        zone=found.grid_zone or "",
        capacity_type=capacity_type,
        pue=found.pue,
        usd_per_hour=world.prices.usd_per_hour(
            region, capacity_type, needs.vcpus, needs.memory_gib, needs.gpus
        ),
        rework=expected_rework_factor(price.reclaims_per_hour, hours),
    )


def accounted_hours(world: World, duration: timedelta) -> float:
    """Hours as energy and cost count them."""
    return duration.total_seconds() * world.time_scale / 3600


def power_kw(inputs: DecisionInputs) -> float:
    """IT load of the job."""
    needs = inputs.manifest.resources
    return (
        it_power_w(
            inputs.world.methodology, needs.vcpus, needs.memory_gib, needs.gpus, needs.gpu_model
        )
        / 1000
    )


@lru_cache(maxsize=8)
def _curves(key: SameWorld) -> Mapping[Signal, Curves]:
    found = {}
    for signal in Signal:
        series = [item for item in key.world.forecasts if item.signal is signal]
        if series:
            found[signal] = Curves.of(series)
    return found


def curves_of(world: World) -> Mapping[Signal, Curves]:
    """The world's curves by signal; made once for each world, which decisions share."""
    return _curves(SameWorld(world))


def fresh_zones(inputs: DecisionInputs, signal: Signal) -> frozenset[str]:
    """Zones whose forecast is young enough and covers now."""
    oldest = inputs.now - inputs.world.policy.forecast_max_age
    return frozenset(
        item.zone
        for item in inputs.world.forecasts
        if item.signal is signal
        and item.issued_at >= oldest
        and item.start <= inputs.now < item.end
    )


@dataclass(frozen=True, eq=False)
class Cells:
    """All cells of one decision under one signal, or under none."""

    inputs: DecisionInputs
    rows: tuple[Row, ...]
    signal: Signal | None
    starts_s: Floats
    """(starts,): clock seconds after now; the first is now itself."""
    cuts: dict[Wall, int] = field(default_factory=dict)

    @cached_property
    def carbon_g(self) -> Floats:
        """(rows, starts): expected grams of the signal; all 0 without one."""
        return self.grams(self.signal) if self.signal else np.zeros(self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, starts)."""
        return len(self.rows), len(self.starts_s)

    @cached_property
    def cost_usd(self) -> Floats:
        """(rows, 1): expected dollars. Prices stand still today, so no start differs."""
        world = self.inputs.world
        hours = accounted_hours(world, self.inputs.manifest.runtime)
        return np.array(
            [[row.usd_per_hour * hours * row.rework + self._egress(row)] for row in self.rows]
        )

    @cached_property
    def feasible(self) -> Mask:
        """(rows, starts): within every wall."""
        return self.within(())

    def within(self, dropped: Sequence[Wall]) -> Mask:
        """(rows, starts): within every wall but those dropped; counts what each wall cuts."""
        walls = {
            Wall.STALE: self._fresh,
            Wall.HORIZON: self._horizon,
            Wall.DEADLINE: self._deadline,
            Wall.COST: self._ceiling,
            Wall.ROOM: self._room,
        }
        left = np.ones(self.shape, dtype=np.bool_)
        for wall, mask in walls.items():
            if wall in dropped:
                continue
            before = int(left.sum())
            left = left & mask()
            self.cuts[wall] = before - int(left.sum())
        return left

    def grams(self, signal: Signal) -> Floats:
        """(rows, starts): integral of intensity over the run x power x PUE x rework, plus moving
        the inputs at the mean of both ends' intensity over the same time.
        """
        inputs = self.inputs
        curves = curves_of(inputs.world)[signal]
        known = np.array([curves.zones.get(row.zone, 0) for row in self.rows], dtype=np.intp)
        begin = (
            curves.seconds(inputs.now)
            + inputs.world.policy.start_up.total_seconds()
            + self.starts_s
        )
        runtime_s = inputs.manifest.runtime.total_seconds()
        seconds = curves.integral(known, begin, runtime_s)
        factor = np.array(
            [[row.pue * row.rework * inputs.world.time_scale / 3600] for row in self.rows]
        )
        grams: Floats = seconds * factor * power_kw(inputs)
        for item in inputs.manifest.inputs:
            kwh = transfer_kwh(inputs.world.methodology, item.gib)
            zone = inputs.world.catalogue.get(item.region).grid_zone or ""
            moved = np.array([[float(row.region != item.region)] for row in self.rows])
            here = seconds / runtime_s
            source = curves.zones.get(zone)
            there = (
                here
                if source is None
                else curves.integral(np.array([source]), begin, runtime_s) / runtime_s
            )
            grams += moved * kwh * (here + there) / 2
        return grams

    def _egress(self, row: Row) -> float:
        prices = self.inputs.world.prices
        return sum(
            item.gib * prices.egress_usd_per_gib(item.region, row.region)
            for item in self.inputs.manifest.inputs
        )

    def _fresh(self) -> Mask:
        if self.signal is None:
            return np.ones((len(self.rows), 1), dtype=np.bool_)
        fresh = fresh_zones(self.inputs, self.signal)
        return np.array([[row.zone in fresh] for row in self.rows])

    def _horizon(self) -> Mask:
        if self.signal is None:
            return np.ones((len(self.rows), 1), dtype=np.bool_)
        inputs = self.inputs
        curves = curves_of(inputs.world)[self.signal]
        ends = np.array([[curves.ends_s[curves.zones.get(row.zone, 0)]] for row in self.rows])
        needs = inputs.world.policy.start_up + inputs.manifest.runtime
        mask: Mask = (
            curves.seconds(inputs.now) + self.starts_s + needs.total_seconds() <= ends + _EPSILON_S
        )
        return mask

    def _deadline(self) -> Mask:
        inputs = self.inputs
        latest = {
            CapacityType.SPOT: inputs.latest_spot_start,
            CapacityType.ON_DEMAND: inputs.latest_on_demand_start,
        }
        walls = np.array(
            [[(latest[row.capacity_type] - inputs.now).total_seconds()] for row in self.rows]
        )
        mask: Mask = self.starts_s <= walls
        return mask

    def _ceiling(self) -> Mask:
        inputs = self.inputs
        hourly = inputs.world.policy.max_usd_per_vcpu_hour or float("inf")
        vcpus = inputs.manifest.resources.vcpus
        per_vcpu = np.array([[row.usd_per_hour / vcpus] for row in self.rows])
        return (self.cost_usd <= (inputs.manifest.max_cost_usd or float("inf"))) & (
            per_vcpu <= hourly
        )

    def _room(self) -> Mask:
        inputs, needs = self.inputs, self.inputs.manifest.resources
        first = hour_of(inputs.now)
        touched = [
            hours_touched(inputs.now + timedelta(seconds=float(start)), inputs.worst_case)
            for start in (self.starts_s[0], self.starts_s[-1])
        ]
        full = np.zeros((len(self.rows), touched[-1].stop - first + 1), dtype=np.int32)
        for index, row in enumerate(self.rows):
            limit = inputs.world.policy.regions[row.region].limit(row.capacity_type)
            held = inputs.room.reserved.get((row.region, row.capacity_type), {})
            for hour, taken in held.items():
                if (
                    limit is not None
                    and first <= hour < touched[-1].stop
                    and (
                        taken.vcpus + needs.vcpus > limit.vcpus
                        or taken.gpus + needs.gpus > limit.gpus
                    )
                ):
                    full[index, hour - first + 1] = 1
        before = np.cumsum(full, axis=1)
        offset = (inputs.now.timestamp() - first * 3600) + self.starts_s
        begin = np.floor(offset / 3600).astype(np.intp)
        worst_s = inputs.worst_case.total_seconds()
        end = np.floor((offset + worst_s - 1e-6) / 3600).astype(np.intp) + 1
        mask: Mask = before[:, np.minimum(end, before.shape[1] - 1)] == before[:, begin]
        return mask


_EPSILON_S = 1e-6
"""Datetimes are exact to a microsecond, their differences as floats nearly so."""
