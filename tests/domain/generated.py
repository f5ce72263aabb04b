"""Worlds and jobs for property tests: small enough for loops, varied enough to meet every wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.decision import DecisionInputs, World
from domain.energy import METHODOLOGY
from domain.forecast import Forecast, Signal
from domain.job import Cell
from domain.manifest import InputData, JobManifest, Resources
from domain.policy import (
    LookAgain,
    OnOneSignal,
    OnSignalLoss,
    Policy,
    RegionPolicy,
    ResidencyClass,
    RoomLimit,
    Weights,
)
from domain.prices import ComputePrice, EgressPrice, PriceTable
from domain.regions import Region, RegionCatalogue
from domain.room import Reserved, RoomView, hour_of

HOUR = datetime(2026, 11, 24, 2, tzinfo=UTC)
"""A full hour, on every grid that is generated."""

REGIONS = {
    "aws:eu-central-1": ("DE", "DE"),
    "gcp:europe-west3": ("DE", "DE"),
    "aws:eu-north-1": ("SE", "SE-SE3"),
    "aws:eu-west-3": ("FR", "FR"),
    "gcp:europe-west9": ("FR", "FR"),
    "aws:eu-south-2": ("ES", None),
}
"""Region -> country and grid zone; two zones have two regions, one region has none."""
MARGINAL_ZONES = {"gcp:europe-west9": "FR-B"}
"""Where the marginal signal cuts a grid zone in two."""
PLACES = [(region, kind) for region in REGIONS for kind in CapacityType]


@lru_cache(maxsize=None, typed=True)
def of(*values):
    """One of the values; the first is the plainest."""
    return st.sampled_from(values)


@lru_cache
def many(count, *values):
    """``count`` of the values, each on its own."""
    return st.lists(st.sampled_from(values), min_size=count, max_size=count)


@st.composite
def catalogues(draw: st.DrawFn) -> RegionCatalogue:
    pues = draw(many(len(REGIONS), 1.1, 1.0, 1.5))
    return RegionCatalogue(
        "generated",
        {
            name: Region(
                name, "", country, None, None, zone, MARGINAL_ZONES.get(name), None, pue, None, None
            )
            for (name, (country, zone)), pue in zip(REGIONS.items(), pues, strict=True)
        },
        "",
    )


@st.composite
def price_tables(draw: st.DrawFn) -> PriceTable:
    count = len(PLACES)
    per_vcpu, per_gib = draw(many(count, 0.02, 0.01, 0.04, 0.041)), draw(many(count, 0.0, 0.004))
    reclaims = draw(many(count, 0.0, 0.001, 0.2))
    compute = {
        place: ComputePrice(
            usd_per_vcpu_hour=per_vcpu[at],
            usd_per_gib_hour=per_gib[at],
            usd_per_gpu_hour=0.35,
            reclaims_per_hour=reclaims[at] if place[1] is CapacityType.SPOT else 0.0,
        )
        for at, place in enumerate(PLACES)
    }
    egress = (EgressPrice("aws:*", "aws:*", 0.01), EgressPrice("*", "*", draw(of(0.0, 0.08))))
    return PriceTable("generated", compute, egress, ("", ""))


ROOMY = RoomLimit(vcpus=16, gpus=2)
ENABLED = st.lists(st.sampled_from(list(REGIONS)), min_size=1, max_size=5, unique=True)
WEIGHTS = [Weights(carbon=carbon, cost=cost) for carbon, cost in ((0.7, 0.3), (1, 0), (0, 1))]
RESIDENCY = {
    "any": ResidencyClass(countries=("DE", "SE", "FR", "ES")),
    "germany": ResidencyClass(countries=("DE",)),
    "named": ResidencyClass(regions=("aws:eu-north-1",), countries=("FR",)),
}
OFFERS = [
    RegionPolicy(spot=ROOMY, on_demand=ROOMY),
    RegionPolicy(spot=ROOMY, on_demand=ROOMY, gpu_models=("t4",)),
    RegionPolicy(spot=ROOMY, gpu_models=("t4",)),
    RegionPolicy(on_demand=ROOMY),
    RegionPolicy(spot=RoomLimit(vcpus=4), on_demand=ROOMY, max_vcpus_per_job=4),
    RegionPolicy(spot=ROOMY, on_demand=RoomLimit(vcpus=4), max_memory_gib_per_job=16),
]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    return Policy(
        version="generated",
        weights=draw(of(*WEIGHTS)),
        steering_signal=draw(of(*Signal)),
        on_signal_loss=draw(of(*OnSignalLoss)),
        min_fresh_regions=draw(of(1, 1, 2, 3)),
        regions_with_one_signal=draw(of(*OnOneSignal)),
        forecast_max_age=timedelta(minutes=30),
        forecast_max_age_of={"hourly": timedelta(minutes=31)},
        residency=RESIDENCY,
        regions={name: draw(st.sampled_from(OFFERS)) for name in draw(ENABLED)},
        safety_margin=timedelta(minutes=draw(of(0, 1, 45))),
        start_up=timedelta(minutes=draw(of(0, 5, 7))),
        max_usd_per_vcpu_hour=draw(of(None, None, None, 0.025, 0.045)),
        look_again=LookAgain(min_gain=draw(of(0.02, 0.0, 0.3))),
    )


TENTHS = st.integers(0, 9999).map(lambda tenths: tenths / 10)
VALUES = st.lists(
    st.sampled_from([100.0, 0.0, 50.0, 200.0, 400.0]) | TENTHS, min_size=6, max_size=20
)
"""As exact as providers are, and often the same, so that cells tie."""


@st.composite
def forecasts(draw: st.DrawFn, zone: str, signal: Signal, now: datetime, step_s: float) -> Forecast:
    """On the common grid: starts lie on multiples of the coarsest step."""
    return Forecast(
        zone=zone,
        signal=signal,
        provider=draw(of("generated", "generated", "hourly")),
        methodology="generated",
        issued_at=now - timedelta(minutes=draw(of(0, 5, 5, 30, 30, 31, 32))),
        start=HOUR + timedelta(seconds=3 * step_s * draw(of(0, 0, 0, -1, 1))),
        step_s=step_s * draw(of(1, 1, 3)),
        values=tuple(draw(VALUES)),
    )


ZONES = sorted({zone for _, zone in REGIONS.values() if zone} | {*MARGINAL_ZONES.values()})


@st.composite
def worlds(draw: st.DrawFn, now: datetime, step_s: float) -> World:
    """Some zones lack a signal, or have it stale, early, late or short."""
    both = (*Signal,)
    known = draw(of(both, both, both, both, both[:1], both[1:], ()))
    series = tuple(
        draw(forecasts(zone, signal, now, step_s))
        for zone in ZONES
        for signal in known
        if draw(of(True, True, True, True, True, False))
    )
    return World(
        forecasts=series,
        prices=draw(price_tables()),
        policy=draw(policies()),
        catalogue=draw(catalogues()),
        methodology=METHODOLOGY,
        time_scale=draw(of(1.0, 1.0, 1800.0)),
    )


@st.composite
def manifests(draw: st.DrawFn, step_s: float) -> JobManifest:
    runtime = timedelta(seconds=draw(st.integers(60, round(4 * step_s))))
    gpus = draw(of(0, 0, 0, 1))
    return JobManifest(
        name="generated",
        image="busybox",
        resources=Resources(
            vcpus=draw(of(2, 1, 4, 8)),
            memory_gib=draw(of(1, 16, 32)),
            gpus=gpus,
            gpu_model="T4" if gpus else None,
        ),
        deadline=HOUR + timedelta(days=30),
        runtime=runtime,
        p95_runtime=runtime * draw(of(1.0, 1.5, 2.0)),
        max_runtime=runtime * 10,
        residency=draw(of("any", "any", "any", "named", "germany")),
        home_region=draw(of("aws:eu-central-1", "aws:eu-south-2")),
        inputs=tuple(
            InputData(uri="s3://data", region=region, gib=draw(of(0, 1, 200)))
            for region in draw(of((), (), (), ("aws:eu-west-3",), (*REGIONS,)[2:5:2]))
        ),
        max_cost_usd=draw(of(None, None, None, None, 0.1)),
    )


HELD = st.dictionaries(
    st.integers(-1, 8),
    st.builds(Reserved, st.sampled_from([3.0, 13.5, 16.0]), st.sampled_from([0, 2])),
    max_size=2,
)


@st.composite
def rooms(draw: st.DrawFn, world: World, now: datetime) -> RoomView:
    """Mostly free, with some hours near or over a limit."""
    return RoomView(
        {
            (region, kind): {hour_of(now) + hour: held for hour, held in draw(HELD).items()}
            for region in world.policy.regions
            for kind in CapacityType
        }
    )


@st.composite
def jobs(
    draw: st.DrawFn, world: World, room: RoomView, now: datetime, step_s: float
) -> DecisionInputs:
    """One job that decides in a world at a moment, for the first time or again."""
    manifest = draw(manifests(step_s))
    worst_case = world.policy.start_up + manifest.p95_runtime
    runway = worst_case * draw(of(6, 0.5, 2, 3, 6, 12, 30)) + timedelta(minutes=draw(of(45, 0, 1)))
    incumbent = None
    if draw(of(False, True)):
        incumbent = Cell(
            region=draw(of(*REGIONS)),
            capacity_type=draw(of(*CapacityType)),
            start=HOUR + timedelta(seconds=draw(of(3600, -600, 0, 900, 4000, 7200))),
        )
    return DecisionInputs(
        manifest=manifest,
        world=world,
        room=room,
        now=now,
        deadline=now + runway,
        start_now=draw(of(False, False, False, False, True)),
        reclaims=draw(of(0, 0, 1)),
        incumbent=incumbent,
        excluded_regions=draw(of((), (), ("aws:eu-north-1",), (*REGIONS,)[:2])),
    )


@st.composite
def batches(draw: st.DrawFn, most: int) -> list[DecisionInputs]:
    """Jobs that decide in one world and room at one moment.

    Residency and ability may leave a job no region.
    """
    step_s = draw(of(300.0, 900.0, 3600.0))
    now = HOUR + timedelta(
        seconds=draw(st.integers(0, round(3 * step_s))), microseconds=draw(of(0, 0, 3, 999_999))
    )
    world = draw(worlds(now, step_s))
    room = draw(rooms(world, now))
    return draw(st.lists(jobs(world, room, now, step_s), min_size=1, max_size=most))


def decisions() -> st.SearchStrategy[DecisionInputs]:
    """All that one decision sees. Residency and ability may leave no region."""
    return batches(most=1).map(lambda found: found[0])
