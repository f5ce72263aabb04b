"""Rules to compare, each the product's own decision on other inputs.

Peers choose by carbon alone, or by cost alone, and reckon with no reclaims; so where a region
offers both, they take the cheaper capacity type, as whoever runs at once does. Deadline wall,
residency, room and the fallback hold for all of them alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.backtest.case import UNLIMITED_VCPUS, Case, ForecastModel, RuleName
from domain.backtest.job import BacktestJob
from domain.backtest.learning import Learning
from domain.backtest.plan import Plan, Stretch
from domain.backtest.room import RoomAhead
from domain.capacity import CapacityType
from domain.chunk_placement import plan_chunks
from domain.decision import DecisionInputs, World
from domain.forecast import Forecast, Signal
from domain.job import Fallback
from domain.manifest import LONGEST_RUN
from domain.placement import choose_cell
from domain.policy import Policy, RegionPolicy, RoomLimit, Weights
from domain.room import SeenRoom

Narrow = Callable[[BacktestJob], str]
"""The one region in which a job may run, if it is able to."""


class Worlds:
    """What is the same for all that decide at one moment, which come in order."""

    def __init__(
        self, base: World, forecasts: ForecastModel, learning: Learning | None = None
    ) -> None:
        """``base`` with what ``forecasts`` issues, and what ``learning`` makes of it."""
        self.policy = base.policy
        self._forecasts = forecasts
        self._learning = learning
        self._newest = base

    def at(self, now: datetime) -> World:
        """One object until something newer is known: what is made for a world is kept by it."""
        issued, regret = self._forecasts.issue(now), None
        if self._learning is not None:
            self._learning.see(issued, now)
            regret = self._learning.regret(now)
        if self._newest.forecasts is not issued or self._newest.regret is not regret:
            self._newest = replace(self._newest, forecasts=issued, regret=regret)
        return self._newest


@dataclass(frozen=True, slots=True)
class Rule:
    """How jobs are placed."""

    worlds: Worlds
    cuts: bool = False
    """Whether jobs that may be interrupted are run in chunks."""
    looks: bool = False
    """Whether a job that waits decides again on the way, and once before it starts."""
    at_once: bool = False
    """Only cells that start now, unless nowhere has room."""
    room_counts: bool = True
    """Whether it is bound by the policy's room, and takes of it."""
    narrow: Narrow | None = None
    by_point: timedelta | None = None
    """A run is scored by no more of the forecast than this; walls reckon with all of it."""

    @property
    def policy(self) -> Policy:
        """The case's, altered as the rule has it."""
        return self.worlds.policy

    def inputs(self, job: BacktestJob, room: SeenRoom) -> DecisionInputs:
        """Of a job's first decision, which falls on its submission."""
        manifest = job.manifest()
        if self.by_point is not None and self.by_point < manifest.runtime:
            room = RoomAhead(room, manifest.runtime - self.by_point)
            manifest = manifest.model_copy(update={"runtime": self.by_point})
        excluded: tuple[str, ...] = ()
        if self.narrow is not None:
            region = self.narrow(job)
            excluded = tuple(other for other in self.policy.regions if other != region)
        return DecisionInputs(
            manifest=manifest,
            world=self.worlds.at(job.submitted),
            room=room,
            now=job.submitted,
            deadline=job.deadline,
            submitted_at=job.submitted,
            start_now=self.at_once,
            excluded_regions=excluded,
        )

    def plan(self, inputs: DecisionInputs, job: BacktestJob) -> Plan:
        """What ``decide`` would place. Raises ``NoLegalRegion``."""
        if self.cuts and inputs.manifest.interruptible is not None:
            chunks = plan_chunks(inputs)
            if chunks is not None:
                return Plan.of_chunks(chunks)
        cells, choice = choose_cell(inputs)
        if self.at_once and Fallback.OVER_ROOM in choice.fallbacks:
            cells, choice = choose_cell(replace(inputs, start_now=False))
        start = cells.instant(choice.start)
        held = inputs.planned_run
        if self.by_point is not None:
            held = self.policy.start_up + timedelta(seconds=job.runtime_s)
        run = Stretch(cells.rows.keys[choice.row], start, start + held)
        return Plan((run,), over_room=Fallback.OVER_ROOM in choice.fallbacks)


def rule_of(case: Case, name: RuleName) -> Rule:
    """The rule of a name, on a case. Raises ``KeyError`` for the optimum, which is none."""
    return _RULES[name](case)


def _lowtide(case: Case) -> Rule:
    return replace(_lowtide_once(case), looks=True)


def _lowtide_once(case: Case) -> Rule:
    learning = Learning(case.truth, case.policy, case.catalogue)
    return Rule(Worlds(_base(case), case.forecasts, learning), cuts=True)


def _static_greenest(case: Case) -> Rule:
    return Rule(Worlds(_peer(case, carbon=1), _AnnualMeans(case)), at_once=True)


def _cheapest(case: Case) -> Rule:
    return Rule(Worlds(_peer(case, carbon=0), _AnnualMeans(case)), at_once=True)


def _lowest_point(case: Case) -> Rule:
    step = timedelta(seconds=case.truth[case.policy.steering_signal].step_s)
    return Rule(Worlds(_peer(case, carbon=1), case.forecasts), by_point=step)


def _lowest_window(case: Case) -> Rule:
    home = _home_or_greenest(case)
    return Rule(Worlds(_peer(case, carbon=1), case.forecasts), narrow=home)


def _run_at_once(case: Case) -> Rule:
    """At home, enabled or not, by the cheapest capacity type that is safe; without room limit."""
    regions = case.policy.regions
    kinds = {
        region: {kind for kind in CapacityType if offered.limit(kind)}
        for region, offered in regions.items()
    }
    anywhere = set().union(*kinds.values())
    homes = {job.home_region for job in case.jobs}
    unlimited = {
        region: _unlimited(kinds.get(region, anywhere)) for region in sorted(homes | kinds.keys())
    }
    return Rule(
        Worlds(_peer(case, carbon=0, regions=unlimited), _AnnualMeans(case)),
        at_once=True,
        room_counts=False,
        narrow=lambda job: job.home_region,
    )


def _unlimited(kinds: set[CapacityType]) -> RegionPolicy:
    room = RoomLimit(vcpus=UNLIMITED_VCPUS)
    return RegionPolicy(
        spot=room if CapacityType.SPOT in kinds else None,
        on_demand=room if CapacityType.ON_DEMAND in kinds else None,
    )


_RULES: Mapping[RuleName, Callable[[Case], Rule]] = {
    RuleName.RUN_AT_ONCE: _run_at_once,
    RuleName.STATIC_GREENEST: _static_greenest,
    RuleName.CHEAPEST: _cheapest,
    RuleName.LOWEST_POINT: _lowest_point,
    RuleName.LOWEST_WINDOW: _lowest_window,
    RuleName.LOWTIDE: _lowtide,
    RuleName.LOWTIDE_ONCE: _lowtide_once,
}


# ── what rules see ────────────────────────────────────────────────────────────────────────────


def _base(case: Case) -> World:
    return World(
        forecasts=(),
        prices=case.prices,
        policy=case.policy,
        catalogue=case.catalogue,
        methodology=case.methodology,
    )


def _peer(case: Case, carbon: float, **fields: object) -> World:
    """By carbon alone or by cost alone, with nothing of our own that bounds a choice."""
    weights = Weights(carbon=carbon, cost=1 - carbon)
    plain = {"weights": weights, "job_classes": {}, "no_harm": False}
    compute = {
        place: replace(price, reclaims_per_hour=0.0) for place, price in case.prices.compute.items()
    }
    return replace(
        _base(case),
        policy=case.policy.model_copy(update=plain | fields),
        prices=replace(case.prices, compute=compute),
    )


def _home_or_greenest(case: Case) -> Narrow:
    """Home where that is legal, else the legal region with the lowest annual mean."""
    policy, catalogue, signal = case.policy, case.catalogue, case.policy.steering_signal

    def mean(region: str) -> tuple[float, str]:
        found = catalogue.get(region).annual_g_per_kwh(signal)
        return (math.inf if found is None else found), region

    def narrow(job: BacktestJob) -> str:
        if policy.is_legal(job.residency, job.home_region, catalogue):
            return job.home_region
        return min(policy.legal_regions(job.residency, catalogue), key=mean)

    return narrow


class _AnnualMeans:
    """Each zone at its mean for ever: what who never looks at forecasts goes by.

    The catalogue's means are those of the whole trace, known in hindsight, so that it is as good
    as a static choice can be.
    """

    name = "annual means"
    max_age = LONGEST_RUN

    def __init__(self, case: Case) -> None:
        self._issued = tuple(
            Forecast(
                zone=zone,
                signal=signal,
                provider=self.name,
                methodology=self.name,
                issued_at=trace.end,
                start=trace.start,
                step_s=trace.step_s,
                values=(mean,) * trace.steps,
            )
            for signal, trace in sorted(case.truth.items())
            for zone, mean in sorted(_means(case, signal).items())
        )

    def issue(self, now: datetime) -> tuple[Forecast, ...]:
        """As ``ForecastModel`` asks."""
        del now
        return self._issued


def _means(case: Case, signal: Signal) -> dict[str, float]:
    """Zone -> annual mean, of all zones in which a job could run."""
    regions = {*case.policy.regions, *(job.home_region for job in case.jobs)}
    found = [case.catalogue.get(region) for region in regions]
    return {
        zone: mean
        for region in found
        if (zone := region.zone(signal)) and (mean := region.annual_g_per_kwh(signal)) is not None
    }
