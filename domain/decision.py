"""What a decision is made of: every input, held together so that it can be made again.

``domain/placement.py`` turns ``DecisionInputs`` into a ``Placement``; the same inputs give the
same placement, always. ``ENGINE_VERSION`` changes whenever that would not hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.ability import is_able, offered_types
from domain.energy import Methodology
from domain.forecast import Forecast
from domain.job import Cell, Counterfactual
from domain.manifest import JobManifest
from domain.policy import Policy
from domain.prices import PriceTable
from domain.regions import RegionCatalogue
from domain.regret import Regret
from domain.room import SeenRoom, hour_of

ENGINE_VERSION = "3"


_LEAST_SHARE = 1 / 60
"""Of the expected run time: a run that took longer still has something left to do."""


@dataclass(frozen=True, slots=True)
class World:
    """What is the same for every job that decides at one moment."""

    forecasts: tuple[Forecast, ...]
    """The newest of every (zone, signal), both signals, stale ones included."""
    prices: PriceTable
    policy: Policy
    catalogue: RegionCatalogue
    methodology: Methodology
    regret: Regret | None = None
    """How much of a promised saving has survived so far; ``None``: nothing was learned yet."""
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
    room: SeenRoom
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
    work_done: timedelta = timedelta(0)
    """Of an interruptible job: running time that its newest checkpoint holds."""
    checkpoint_region: str | None = None
    """Where that checkpoint is; what is left may run elsewhere only if it is portable."""
    excluded_regions: tuple[str, ...] = ()
    """Regions that failed this job (out of reach, no capacity); used again only when nothing
    else is legal."""

    @property
    def worst_case(self) -> timedelta:
        """Start-up and p95 run time: what one undisturbed run of what is left may need."""
        return self.world.policy.start_up + self.p95_left

    @property
    def planned_run(self) -> timedelta:
        """Start-up and expected run time of what is left: for how long a run holds room.

        Held for a slow run, room would stand idle behind most runs: the limit is kept on the mean.
        Only the deadline reckons with the slow one.
        """
        return self.world.policy.start_up + self.runtime_left

    @property
    def p95_left(self) -> timedelta:
        """p95 run time, less the work that is done; what resuming costs comes on top."""
        if not self.work_done:
            return self.manifest.p95_runtime
        interruptible = self.manifest.interruptible
        resume = interruptible.resume_overhead if interruptible else timedelta(0)
        return max(timedelta(0), self.manifest.p95_runtime - self.work_done) + resume

    @property
    def runtime_left(self) -> timedelta:
        """The same of the expected run time."""
        if not self.work_done:
            return self.manifest.runtime
        interruptible = self.manifest.interruptible
        resume = interruptible.resume_overhead if interruptible else timedelta(0)
        runtime = self.manifest.runtime
        return max(runtime * _LEAST_SHARE, runtime - self.work_done) + resume

    def remaining(self) -> DecisionInputs:
        """The same decision for a job that is as short as what is left of this one.

        A checkpoint that is not portable keeps the job in its region; where that is excluded, or no
        longer legal or able, the job begins anew.
        """
        if not self.work_done:
            return self
        held_in = self._region_of_checkpoint
        if held_in is not None and not self._is_within_reach(held_in):
            return replace(self, work_done=timedelta(0), checkpoint_region=None)
        left = {"runtime": self.runtime_left, "p95_runtime": max(self.runtime_left, self.p95_left)}
        manifest = self.manifest.model_copy(update=left)
        excluded = self.excluded_regions
        if held_in is not None:
            excluded = tuple(sorted(self.world.policy.regions.keys() - {held_in}))
        return replace(self, manifest=manifest, work_done=timedelta(0), excluded_regions=excluded)

    @property
    def _region_of_checkpoint(self) -> str | None:
        """To which the newest checkpoint binds what is left; ``None``: to none."""
        interruptible = self.manifest.interruptible
        is_portable = interruptible is None or interruptible.portable_checkpoint
        return None if is_portable else self.checkpoint_region

    def _is_within_reach(self, region: str) -> bool:
        manifest, policy, prices = self.manifest, self.world.policy, self.world.prices
        return (
            region not in self.excluded_regions
            and policy.is_legal(manifest.residency, region, self.world.catalogue)
            and is_able(manifest, policy, region)
            and any(prices.has(region, kind) for kind in offered_types(manifest, policy, region))
        )

    @property
    def only_now(self) -> bool:
        """Urgent, or reclaimed before and with no runway for another reclaim."""
        return self.start_now or (self.reclaims > 0 and self.now > self.latest_spot_start)

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
    last = max(inputs.now, min(inputs.deadline, horizon)) + inputs.remaining().worst_case
    return range(hour_of(inputs.now), hour_of(last) + 1)
