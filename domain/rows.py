"""The rows of a decision: the places where a job may run, and what a machine comes to there.

They depend on the world, the residency class and the machine's shape alone: jobs that agree in
these share them, as all decisions of a refresh share the world's curves.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from domain.ability import is_able, offered_types
from domain.capacity import CapacityType
from domain.curves import Curves, Floats, Mask
from domain.decision import SameWorld, World
from domain.energy import it_power_w
from domain.errors import NoLegalRegion
from domain.forecast import Forecast, Signal
from domain.manifest import LONGEST_RUN, JobManifest, Resources
from domain.reclaims import expected_rework_factor
from domain.regions import Region
from domain.room import Place, Reserved

_WORLDS_HELD = 8
"""A refresh leaves decisions of the world before it still under way; older ones are done."""
_KINDS_HELD = 1024
"""Kinds of job that one world remembers."""
_UNLIMITED = Reserved(math.inf, 1 << 62)


@dataclass(frozen=True, slots=True)
class Row:
    """One place: a region and how its machine is bought."""

    region: str
    zones: Mapping[Signal, str | None]
    """Where its electricity comes from, as each signal cuts the grid."""
    capacity_type: CapacityType
    pue: float
    usd_per_hour: float
    reclaims_per_hour: float
    power_kw: float
    """IT load of one machine."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Places for one shape of machine, in the order that settles a tie: region, capacity type.

    Arrays are columns, (rows, 1), unless they say otherwise.
    """

    ground: Ground
    needs: Resources
    places: tuple[Row, ...]
    _egress: dict[str, Floats] = field(default_factory=dict)

    def on(self, ground: Ground) -> Rows:
        """The same places on another ground of the same rules: what was worked out is kept, but
        for where the curves have their zones.
        """
        other = copy.copy(self)
        object.__setattr__(other, "ground", ground)
        other.__dict__.pop("zones", None)
        return other

    @cached_property
    def is_spot(self) -> Mask:
        """Which rows may be reclaimed."""
        return np.array([[row.capacity_type is CapacityType.SPOT] for row in self.places])

    @cached_property
    def pue(self) -> Floats:
        """Power usage effectiveness."""
        return np.array([[row.pue] for row in self.places])

    @cached_property
    def power_kw(self) -> Floats:
        """IT load of one machine."""
        return np.array([[row.power_kw] for row in self.places])

    @cached_property
    def usd_per_hour(self) -> Floats:
        """Price of one machine."""
        return np.array([[row.usd_per_hour] for row in self.places])

    @cached_property
    def within_ceiling(self) -> Mask:
        """Which rows the policy does not find too dear."""
        ceiling = self.ground.world.policy.max_usd_per_vcpu_hour or np.inf
        within: Mask = self.usd_per_hour / self.needs.vcpus <= ceiling
        return within

    @cached_property
    def zones(self) -> Mapping[Signal, NDArray[np.intp]]:
        """(rows,) for each signal: where the curves have each row's zone."""
        return {
            signal: np.array([curves.row(row.zones[signal]) for row in self.places], dtype=np.intp)
            for signal, curves in self.ground.curves.items()
        }

    @cached_property
    def first_of_region(self) -> NDArray[np.intp]:
        """(regions,): one row of each region."""
        regions = [row.region for row in self.places]
        return np.array([regions.index(region) for region in dict.fromkeys(regions)])

    @cached_property
    def keys(self) -> tuple[Place, ...]:
        """Each place's region and capacity type."""
        return tuple((row.region, row.capacity_type) for row in self.places)

    @cached_property
    def limits(self) -> tuple[Reserved, ...]:
        """Each place's room by policy; no limit where the policy does not offer it."""
        regions = self.ground.world.policy.regions
        found = [
            regions[region].limit(kind) if region in regions else None for region, kind in self.keys
        ]
        return tuple(Reserved(item.vcpus, item.gpus) if item else _UNLIMITED for item in found)

    @cached_property
    def index(self) -> Mapping[tuple[str, CapacityType], int]:
        """Where each place stands."""
        return {place: at for at, place in enumerate(self.keys)}

    def rework(self, hours: Sequence[float]) -> Floats:
        """(rows, jobs): expected running time over useful time of runs of ``hours``."""
        rates, place = self._reclaim_rates
        factors = [[expected_rework_factor(rate, length) for length in hours] for rate in rates]
        return np.array(factors)[place]

    @cached_property
    def _reclaim_rates(self) -> tuple[list[float], NDArray[np.intp]]:
        """The rates that occur, and for each row which of them is its own."""
        rates = sorted({row.reclaims_per_hour for row in self.places})
        return rates, np.array([rates.index(row.reclaims_per_hour) for row in self.places])

    def egress_usd_per_gib(self, source: str) -> Floats:
        """(rows,): moving data here from the region ``source``. Raises ``MissingPrice``."""
        if source not in self._egress:
            price = self.ground.world.prices.egress_usd_per_gib
            self._egress[source] = np.array([price(source, row.region) for row in self.places])
        return self._egress[source]


class Ground:
    """What all decisions of one world stand on."""

    def __init__(self, world: World) -> None:
        """Make the curves; rows are made as jobs ask for them."""
        self.world = world
        self.curves: Mapping[Signal, Curves] = {
            signal: Curves.of(series)
            for signal in Signal
            if (series := [item for item in world.forecasts if item.signal is signal])
        }
        self.expected: Mapping[Signal, Curves] = self._expected(world)
        """What is left of the forecasts after learned regret: what choices go by."""
        self.max_ages_s: Mapping[Signal, Floats] = {
            signal: np.array(
                [world.policy.max_age(name).total_seconds() for name in curve.providers]
            )
            for signal, curve in self.curves.items()
        }
        """(zones,) for each signal: how old each forecast may be."""
        self._rows = lru_cache(maxsize=_KINDS_HELD)(self._rows_of_kind)
        self._alone = lru_cache(maxsize=_KINDS_HELD)(self._unpriced)

    def _expected(self, world: World) -> Mapping[Signal, Curves]:
        regret = world.regret
        if regret is None or not regret.survival:
            return self.curves
        return {
            signal: Curves.of(
                [
                    regret.expected(item, world.time_scale)
                    for item in world.forecasts
                    if item.signal is signal
                ]
            )
            for signal in self.curves
        }

    @cached_property
    def annual(self) -> Mapping[Signal, Curves]:
        """By region, not zone: its published annual mean, longer than any job runs."""
        regions = self.world.catalogue.regions.values()
        return {
            signal: Curves.of(series)
            for signal, curves in self.curves.items()
            if (series := list(_annual_means(regions, signal, curves.origin)))
        }

    def rows(self, manifest: JobManifest, excluded: tuple[str, ...] = ()) -> Rows:
        """Legal and able places. Those excluded are left out while there are others: one that
        failed is better than none.

        Raises:
            NoLegalRegion: there is none; residency and ability are never dropped.
        """
        return self._rows(_Kind(manifest.residency, manifest.resources, excluded, manifest))

    def rows_at(self, region: str, capacity_type: CapacityType, needs: Resources) -> Rows:
        """One place, whether or not the policy enables it. Raises ``MissingPrice``."""
        return self._rows_of([(region, capacity_type)], needs)

    def alone(self, region: str, needs: Resources) -> Rows:
        """One undisturbed machine in a region, whether or not the policy enables it, at no price:
        for what it would emit there.
        """
        return self._alone(region, needs)

    def _unpriced(self, region: str, needs: Resources) -> Rows:
        kind = CapacityType.ON_DEMAND
        return Rows(self, needs, (self._row(region, kind, needs, 0.0, 0.0),))

    def _rows_of_kind(self, kind: _Kind) -> Rows:
        """As another world of the same rules and prices had them, forecasts apart, if any did."""
        known = _known_rows(_Rules.of(self.world))
        if kind in known:
            return known[kind].on(self)
        known[kind] = rows = self._legal_and_able(kind)
        return rows

    def _legal_and_able(self, kind: _Kind) -> Rows:
        policy, prices = self.world.policy, self.world.prices
        places = [
            (region, capacity_type)
            for region in policy.legal_regions(kind.residency, self.world.catalogue)
            if is_able(kind.manifest, policy, region)
            for capacity_type in sorted(offered_types(kind.manifest, policy, region))
            if prices.has(region, capacity_type)
        ]
        if not places:
            raise NoLegalRegion(kind.residency, "a legal region that is able to run the job")
        left = [place for place in places if place[0] not in kind.excluded]
        return self._rows_of(left or places, kind.needs)

    def _rows_of(self, places: Iterable[tuple[str, CapacityType]], needs: Resources) -> Rows:
        return Rows(self, needs, tuple(self._priced(*place, needs) for place in places))

    def _priced(self, region: str, capacity_type: CapacityType, needs: Resources) -> Row:
        prices = self.world.prices
        usd_per_hour = prices.usd_per_hour(
            region, capacity_type, needs.vcpus, needs.memory_gib, needs.gpus
        )
        reclaims_per_hour = prices.price(region, capacity_type).reclaims_per_hour
        return self._row(region, capacity_type, needs, usd_per_hour, reclaims_per_hour)

    def _row(
        self,
        region: str,
        capacity_type: CapacityType,
        needs: Resources,
        usd_per_hour: float,
        reclaims_per_hour: float,
    ) -> Row:
        found = self.world.catalogue.get(region)
        power_w = it_power_w(
            *(self.world.methodology, needs.vcpus, needs.memory_gib, needs.gpus, needs.gpu_model),
            families=self.world.policy.cpu_families(region),
        )
        return Row(
            region=region,
            zones={signal: found.zone(signal) for signal in Signal},
            capacity_type=capacity_type,
            pue=found.pue,
            usd_per_hour=usd_per_hour,
            reclaims_per_hour=reclaims_per_hour,
            power_kw=power_w / 1000,
        )


def _annual_means(regions: Iterable[Region], signal: Signal, start: datetime) -> Iterator[Forecast]:
    span_s = 2 * LONGEST_RUN.total_seconds()
    for region in regions:
        mean = region.annual_g_per_kwh(signal)
        if mean is not None:
            yield Forecast(
                zone=region.id,
                signal=signal,
                provider="annual mean",
                methodology="published",
                issued_at=start,
                start=start,
                step_s=span_s,
                values=(mean,),
            )


@dataclass(frozen=True, slots=True)
class _Kind:
    """What rows depend on. Jobs that agree in it have the same rows."""

    residency: str
    needs: Resources
    excluded: tuple[str, ...]
    manifest: JobManifest = field(compare=False)


class _Rules:
    """What a world has beside its forecasts, as a cache key: equal where all are the same objects.

    A refresh brings new forecasts and leaves the rest.
    """

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    @classmethod
    def of(cls, world: World) -> _Rules:
        return cls(world.policy, world.prices, world.catalogue, world.methodology)

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.parts)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rules) and all(map(operator.is_, self.parts, other.parts))


@lru_cache(maxsize=_WORLDS_HELD)
def _known_rows(rules: _Rules) -> dict[_Kind, Rows]:
    del rules
    return {}


@lru_cache(maxsize=_WORLDS_HELD)
def _ground(key: SameWorld) -> Ground:
    return Ground(key.world)


def ground_of(world: World) -> Ground:
    """A world's ground; made once for each world object."""
    return _ground(SameWorld(world))
