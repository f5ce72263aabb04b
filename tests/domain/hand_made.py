"""Worlds and jobs made by hand: few hours, plain figures, one thing that matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.forecast import Forecast, Signal
from domain.manifest import Interruptible, JobManifest
from domain.policy import RegionPolicy, ResidencyClass, RoomLimit, Weights
from domain.prices import ComputePrice
from domain.room import RoomView
from tests.domain.recorded import NOW, shipped

GERMANY, SWEDEN, FRANCE = "aws:eu-central-1", "aws:eu-north-1", "aws:eu-west-3"
HOUR = timedelta(hours=1)
ON_DEMAND_ONLY = RegionPolicy(on_demand=RoomLimit(vcpus=100))
BOTH = RegionPolicy(spot=RoomLimit(vcpus=100), on_demand=RoomLimit(vcpus=100))


def series(zone: str, *values: float, signal: Signal = Signal.AVERAGE, **fields) -> Forecast:
    """Hourly from now on."""
    plain = Forecast(zone, signal, "test", "test", NOW, NOW, 3600.0, tuple(map(float, values)))
    return replace(plain, **fields)


def world(
    *forecasts: Forecast, regions=(GERMANY,), offer=ON_DEMAND_ONLY, spot_price=None, **policy
) -> World:
    """Regions alike but for their grid, carbon alone, with neither start-up nor margin."""
    base = shipped()
    fields = {
        "weights": Weights(carbon=1, cost=0),
        "regions": dict.fromkeys(regions, offer),
        "residency": {"eu": ResidencyClass(countries=("DE", "SE", "FR"))},
        "min_fresh_regions": 1,
        "start_up": timedelta(0),
        "safety_margin": timedelta(0),
        **policy,
    }
    places = {
        CapacityType.ON_DEMAND: ComputePrice(0.04, 0.0, 0.0, 0.0),
        CapacityType.SPOT: spot_price or ComputePrice(0.01, 0.0, 0.0, 0.0),
    }
    known = (GERMANY, SWEDEN, FRANCE)
    alike = {region: replace(base.catalogue.get(region), pue=1.1) for region in known}
    compute = {(region, kind): price for region in known for kind, price in places.items()}
    return replace(
        base,
        forecasts=forecasts,
        catalogue=replace(base.catalogue, regions=alike),
        policy=base.policy.model_copy(update=fields),
        prices=replace(base.prices, compute=compute),
    )


def job(world: World, runtime: timedelta, deadline: datetime, **fields) -> DecisionInputs:
    manifest = JobManifest.model_validate(
        {
            "name": "nightly",
            "image": "busybox",
            "resources": {"vcpus": 4, "memory_gib": 16},
            "deadline": deadline,
            "runtime": runtime,
            "p95_runtime": runtime,
            "max_runtime": runtime * 2,
            "residency": "eu",
            "home_region": GERMANY,
            **fields,
        }
    )
    return DecisionInputs(manifest, world, RoomView(), NOW, deadline)


def in_chunks(*, least: timedelta = HOUR, resume: timedelta = timedelta(0), portable: bool = False):
    return Interruptible(
        min_chunk=least, checkpoint=True, resume_overhead=resume, portable_checkpoint=portable
    )


def interruptible(
    seen: World, runtime: timedelta, deadline: datetime, cut: Interruptible | None = None, **fields
) -> DecisionInputs:
    return job(seen, runtime, deadline, interruptible=cut or in_chunks(), **fields)
