"""What became of a case's jobs under one rule, added up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.backtest.case import Case, RuleName
from domain.forecast import Signal

Clock = Callable[[], float]
"""Seconds; whoever wants a result timed gives one."""
Told = Callable[[int], None]
"""Told now and then how many jobs are done."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule on one case."""

    rule: RuleName
    carbon_g: Mapping[Signal, float]
    """By the truth, reclaimed work included; both signals, whichever steered."""
    cost_usd: float
    deadlines_missed: int
    delays_s: NDArray[np.float64]
    """(jobs,): how much later than undisturbed at submission each job ended."""
    reclaims: int
    wasted_vcpu_hours: float
    """Run beyond what the jobs needed: work that reclaims undid, and taking up checkpoints."""
    decisions: int
    seconds: float
    """Spent on simulating, of which nearly all on deciding; 0 where nothing was timed."""
    vcpu_hours: Mapping[str, NDArray[np.float64]]
    """Region -> (24,): when of the day (UTC) its vCPU-hours ran."""
    over_room: int = 0
    """Runs that were started over the room limit, because nothing else was left."""
    gap: float | None = None
    """Of the optimum: how far the value is from a proven bound, as a share; ``None``: exact."""
    is_bound: bool = False
    """Of the optimum: a bound that no plan may reach, not a plan."""

    @property
    def decisions_per_s(self) -> float:
        """How fast it decided; 0 where nothing was timed."""
        return self.decisions / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """All rules of one case."""

    case: str
    jobs: int
    steering: Signal
    forecast: str
    published_means: frozenset[Signal]
    rules: Mapping[RuleName, RuleResult]

    @classmethod
    def of(cls, case: Case, rules: Mapping[RuleName, RuleResult]) -> BacktestResult:
        """What was found on a case."""
        return cls(
            case=case.name,
            jobs=len(case.jobs),
            steering=case.policy.steering_signal,
            forecast=case.forecasts.name,
            published_means=case.published_means,
            rules=rules,
        )

    def share_of_optimum(self, rule: RuleName) -> float | None:
        """The part of the optimum's saving on the steering signal that a rule reached.

        ``None`` where the optimum or the baseline was not run, or nothing could be saved.
        """
        base, best = self.rules.get(RuleName.RUN_AT_ONCE), self.rules.get(RuleName.OPTIMUM)
        if base is None or best is None:
            return None
        possible = base.carbon_g[self.steering] - best.carbon_g[self.steering]
        if possible <= 1e-9 * base.carbon_g[self.steering]:  # the rounding of sums
            return None
        return (base.carbon_g[self.steering] - self.rules[rule].carbon_g[self.steering]) / possible
