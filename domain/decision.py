"""What a decision is made of: every input, held together so that it can be made again.

``domain/placement.py`` turns ``DecisionInputs`` into a ``Placement``; the same inputs give the
same placement, always. ``ENGINE_VERSION`` changes whenever that would not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.energy import Methodology
from domain.forecast import Forecast
from domain.job import Cell, Counterfactual
from domain.manifest import JobManifest
from domain.policy import Policy
from domain.prices import PriceTable
from domain.regions import RegionCatalogue
from domain.room import RoomView, hour_of

ENGINE_VERSION = "2"


@dataclass(frozen=True, slots=True)
class World:
    """What is the same for every job that decides at one moment."""

    forecasts: tuple[Forecast, ...]
    """The newest of every (zone, signal), both signals, stale ones included."""
    prices: PriceTable
    policy: Policy
    catalogue: RegionCatalogue
    methodology: Methodology
    time_scale: float = 1.0
    """Accounted seconds for each second on the clock. Above 1 only where a trace is replayed
    compressed: energy, cost and reclaim exposure multiply durations by it; nothing else does."""


class SameWorld:
    """A world as a cache key: equal to itself alone, and held, so that no other gets its id.

    Comparing worlds by value would cost more than what a cache saves.
    """

    def __init__(self, world: World) -> None:
        """Hold the world."""
        self.world = world

    def __hash__(self) -> int:
        """By identity."""
        return id(self.world)

    def __eq__(self, other: object) -> bool:
        """By identity."""
        return isinstance(other, SameWorld) and other.world is self.world


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """All that one decision sees."""

    manifest: JobManifest
    world: World
    room: RoomView
    now: datetime
    deadline: datetime
    """The manifest's, or what an override changed it to."""
    submitted_at: datetime | None = None
    """When the job was submitted, where that was before ``now``: the counterfactual starts then."""
    start_now: bool = False
    """Urgent by manifest or override: only cells that start now."""
    reclaims: int = 0
    """Reclaims so far. After one, when no Spot cell starting now is safe, on-demand starts now."""
    incumbent: Cell | None = None
    """The cell planned before: kept unless a new one beats it by ``policy.look_again.min_gain``."""
    counterfactual: Counterfactual | None = None
    """Fixed by the job's first decision and passed to the later ones; ``None`` for the first."""
    excluded_regions: tuple[str, ...] = ()
    """Regions that failed this job (out of reach, no capacity); used again only when nothing
    else is legal."""

    @property
    def worst_case(self) -> timedelta:
        """Start-up and p95 run time: what one undisturbed run may need."""
        return self.world.policy.start_up + self.manifest.p95_runtime

    @property
    def latest_on_demand_start(self) -> datetime:
        """The wall for a run that cannot be reclaimed."""
        return self.deadline - self.world.policy.safety_margin - self.worst_case

    @property
    def latest_spot_start(self) -> datetime:
        """The wall for Spot: one reclaim at the very end of a p95 run must still leave time for
        an on-demand run ("Can't Be Late", NSDI 2024: the safety line).
        """
        return self.latest_on_demand_start - self.worst_case


def hours_in_play(inputs: DecisionInputs) -> range:
    """Hours of room that any cell of this decision could touch.

    No cell starts after the last horizon, none ends long after the deadline.
    """
    horizon = max((item.end for item in inputs.world.forecasts), default=inputs.now)
    last = max(inputs.now, min(inputs.deadline, horizon)) + inputs.worst_case
    return range(hour_of(inputs.now), hour_of(last) + 1)
