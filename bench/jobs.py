"""The world and the jobs that the decision's benchmarks share; made up, from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.energy import METHODOLOGY
from domain.forecast import Forecast, Signal
from domain.manifest import JobManifest, Resources
from domain.policy import parse_policy
from domain.prices import parse_prices
from domain.regions import parse_catalogue
from domain.room import Reserved, RoomView, hour_of
from workers.settings import POLICIES

NOW = datetime(2026, 11, 24, 2, 1, 1, tzinfo=UTC)
STEP_S = 300.0
STARTS = 288
REGIONS = 10


def make_world(seed: int, *, spot_only: bool = False) -> World:
    """Ten European regions of the shipped policy; 5-minute forecasts that reach 32 h."""
    source = random.Random(seed)  # noqa: S311 - no secret
    catalogue = parse_catalogue((POLICIES / "regions.csv").read_text())
    policy = parse_policy((POLICIES / "default.yaml").read_text(), catalogue)
    kept = sorted(policy.regions)[:REGIONS]
    offered = {region: policy.regions[region] for region in kept}
    if spot_only:
        offered = {
            region: item.model_copy(update={"on_demand": None}) for region, item in offered.items()
        }
    zones = sorted({catalogue.get(region).grid_zone or "" for region in kept})
    issued_at = NOW.replace(second=0, minute=0)
    forecasts = tuple(
        Forecast(
            zone=zone,
            signal=signal,
            provider="made up",
            methodology="made up",
            issued_at=NOW,
            start=issued_at,
            step_s=STEP_S,
            values=tuple(source.uniform(20, 600) for _ in range(32 * 12)),
        )
        for zone in zones
        for signal in Signal
    )
    return World(
        forecasts=forecasts,
        prices=parse_prices(
            (POLICIES / "prices.csv").read_text(), (POLICIES / "egress.csv").read_text()
        ),
        policy=policy.model_copy(update={"regions": offered}),
        catalogue=catalogue,
        methodology=METHODOLOGY,
    )


def make_room(world: World, seed: int) -> RoomView:
    """Every hour of every place partly taken, a few of them full."""
    source = random.Random(seed)  # noqa: S311 - no secret
    return RoomView(
        {
            (region, kind): {
                hour_of(NOW) + hour: Reserved(round(limit.vcpus * source.uniform(0, 1.02), 2), 0)
                for hour in range(32)
            }
            for region, item in world.policy.regions.items()
            for kind in CapacityType
            if (limit := item.limit(kind)) is not None
        }
    )


def make_jobs(
    world: World,
    room: RoomView,
    count: int,
    seed: int,
    residency: tuple[str, ...] = ("eu", "europe"),
) -> Iterator[DecisionInputs]:
    """Jobs of ten minutes to five hours with 6 h to 27 h until their deadline."""
    source = random.Random(seed)  # noqa: S311 - no secret
    plain = JobManifest(
        name="bench",
        image="busybox",
        resources=Resources(vcpus=4, memory_gib=16),
        deadline=NOW + timedelta(days=9),
        runtime=timedelta(hours=1),
        p95_runtime=timedelta(hours=2),
        max_runtime=timedelta(hours=20),
        residency="eu",
        home_region="aws:eu-central-1",
    )
    shapes = [
        Resources(vcpus=vcpus, memory_gib=vcpus * ratio)
        for vcpus in (1, 2, 4, 8, 16, 32)
        for ratio in (2, 4, 8)
    ]
    base = DecisionInputs(manifest=plain, world=world, room=room, now=NOW, deadline=plain.deadline)
    for number in range(count):
        runtime = timedelta(minutes=source.randint(10, 300))
        manifest = plain.model_copy(
            update={
                "name": f"bench-{number}",
                "runtime": runtime,
                "p95_runtime": runtime * 1.3,
                "resources": source.choice(shapes),
                "residency": source.choice(residency),
            }
        )
        yield replace(
            base, manifest=manifest, deadline=NOW + timedelta(hours=source.uniform(6, 27))
        )
