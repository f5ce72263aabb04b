"""A backtest's results as people and programs read them: each policy beside the baseline."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from domain.backtest.case import Case, RuleName
from domain.backtest.result import BacktestResult, RuleResult
from domain.forecast import Signal

BASELINE = RuleName.RUN_AT_ONCE


@dataclass(frozen=True, slots=True)
class Figure:
    """One amount, and how far it lies below the baseline's."""

    value: float | None
    """``None`` where a bound says nothing of it."""
    below_percent: float | None
    """Negative where it lies above; ``None`` without a baseline."""

    @classmethod
    def of(cls, value: float, baseline: float | None) -> Self:
        """Compare one amount."""
        if math.isnan(value):
            return cls(None, None)
        return cls(value, 100 * (baseline - value) / baseline if baseline else None)


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """What became of the jobs under one policy."""

    policy: RuleName
    jobs: int
    carbon_kg: Mapping[Signal, Figure]
    cost_usd: Figure
    deadlines_missed: int
    mean_delay_s: float | None
    p95_delay_s: float | None
    reclaims: int
    wasted_vcpu_hours: float
    share_of_optimum: float | None
    decisions: int
    decisions_per_s: float | None
    """``None`` where nothing was decided job by job, or nothing timed."""
    over_room: int
    gap: float | None
    is_bound: bool

    @classmethod
    def of(cls, result: BacktestResult, rule: RuleName) -> Self:
        """One policy of a backtest."""
        found, baseline = result.rules[rule], result.rules.get(BASELINE)
        delays = found.delays_s
        return cls(
            policy=rule,
            jobs=result.jobs,
            carbon_kg={signal: carbon_kg(found, baseline, signal) for signal in Signal},
            cost_usd=cost_usd(found, baseline),
            deadlines_missed=found.deadlines_missed,
            mean_delay_s=float(delays.mean()) if delays.size else None,
            p95_delay_s=float(np.quantile(delays, 0.95)) if delays.size else None,
            reclaims=found.reclaims,
            wasted_vcpu_hours=found.wasted_vcpu_hours,
            share_of_optimum=result.share_of_optimum(rule),
            decisions=found.decisions,
            decisions_per_s=found.decisions_per_s or None,
            over_room=found.over_room,
            gap=found.gap,
            is_bound=found.is_bound,
        )

    @property
    def deadlines_met(self) -> int:
        """Jobs that were finished in time."""
        return self.jobs - self.deadlines_missed

    @property
    def met_percent(self) -> float | None:
        """Never rounded up to 100; ``None`` without jobs."""
        return 100 * self.deadlines_met / self.jobs if self.jobs else None

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``None`` where a figure is not known."""
        return {
            "carbon_kg": {signal.value: item.value for signal, item in self.carbon_kg.items()},
            "carbon_below_baseline_percent": {
                signal.value: item.below_percent for signal, item in self.carbon_kg.items()
            },
            "cost_usd": self.cost_usd.value,
            "cost_below_baseline_percent": self.cost_usd.below_percent,
            "deadlines_met": self.deadlines_met,
            "deadlines_met_percent": self.met_percent,
            "deadlines_missed": self.deadlines_missed,
            "delay_s": {"mean": self.mean_delay_s, "p95": self.p95_delay_s},
            "reclaims": self.reclaims,
            "wasted_vcpu_hours": self.wasted_vcpu_hours,
            "share_of_optimum": self.share_of_optimum,
            "decisions": self.decisions,
            "decisions_per_s": self.decisions_per_s,
            "over_room": self.over_room,
            "gap": self.gap,
            "is_bound": self.is_bound,
        }


def carbon_kg(result: RuleResult, baseline: RuleResult | None, signal: Signal) -> Figure:
    """One signal's carbon against the baseline's."""
    base = None if baseline is None else baseline.carbon_g[signal] / 1000
    return Figure.of(result.carbon_g[signal] / 1000, base)


def cost_usd(result: RuleResult, baseline: RuleResult | None) -> Figure:
    """Cost against the baseline's."""
    return Figure.of(result.cost_usd, None if baseline is None else baseline.cost_usd)


def ours(rules: Collection[RuleName]) -> RuleName | None:
    """The product's own policy among them; it looks again where both were run."""
    return next((rule for rule in (RuleName.LOWTIDE, RuleName.LOWTIDE_ONCE) if rule in rules), None)


def lines_of(result: BacktestResult) -> tuple[PolicyLine, ...]:
    """A line a policy, in the scenario's order."""
    return tuple(PolicyLine.of(result, rule) for rule in result.rules)


def as_json(result: BacktestResult, case: Case) -> dict[str, Any]:
    """What ``lowtide backtest --json`` prints."""
    return {
        "scenario": result.case,
        "jobs": result.jobs,
        "period": {"start": case.start.isoformat(), "end": case.end.isoformat()},
        "steering_signal": result.steering.value,
        "forecast": result.forecast,
        "published_means": sorted(signal.value for signal in result.published_means),
        "published_zones": sorted(case.published_zones),
        "policies": {line.policy.value: line.as_json() for line in lines_of(result)},
    }


def what_was_run(result: BacktestResult, case: Case) -> str:
    """One sentence: jobs, period, signal, forecast."""
    return (
        f"{result.jobs:,} jobs submitted from {case.start:%Y-%m-%d} to {case.end:%Y-%m-%d}, steered"
        f" by the {result.steering.value} signal, forecasts: {result.forecast}."
    )


def notes(result: BacktestResult, case: Case) -> Iterator[str]:
    """What must be known to read the figures right, a sentence each."""
    rules = result.rules
    if BASELINE not in rules:
        yield f"{BASELINE.value} was not run: there is no baseline to be below of."
    else:
        yield f"below: against {BASELINE.value}, every job at home, at submission."
    if (optimum := rules.get(RuleName.OPTIMUM)) is not None:
        if BASELINE in rules:
            signal = result.steering.value
            yield f"of opt.: the share of the optimum's savings reached, by the {signal} signal."
        yield _about_optimum(optimum)
    for lacking in sorted(result.published_means):
        yield (
            f"The {lacking.value} figures rest on published annual means, for want of a trace: they"
            " tell regions apart, not hours."
        )
    if case.published_zones:
        zones = ", ".join(sorted(case.published_zones))
        other = result.steering.other.value
        yield f"The {other} figures of {zones} rest on published annual means."
    for rule, found in rules.items():
        if found.over_room:
            yield (
                f"{rule.value} started {found.over_room:,}"
                f" {'run' if found.over_room == 1 else 'runs'} over the room limit, because nothing"
                " else was left."
            )
    yield from _beaten(result)


def _about_optimum(optimum: RuleResult) -> str:
    if optimum.is_bound:
        away = "" if optimum.gap is None else f", {100 * optimum.gap:.2g} % below a plan that fits"
        return (
            f"optimum is a bound on carbon that no plan may reach{away}: the true shares are these"
            " or higher."
        )
    if optimum.gap:
        return f"optimum is a plan within {100 * optimum.gap:.2g} % of the best there can be."
    return "optimum is exact: no plan within the same walls emits less."


def _beaten(result: BacktestResult) -> Iterator[str]:
    """Say it plainly where the simple rule does better than the product."""
    own = ours(result.rules)
    if own is None or RuleName.STATIC_GREENEST not in result.rules:
        return
    for signal in (result.steering, result.steering.other):
        least = result.rules[RuleName.STATIC_GREENEST].carbon_g[signal]
        more = result.rules[own].carbon_g[signal]
        if least < more * (1 - 1e-9):
            yield (
                f"{RuleName.STATIC_GREENEST.value} emits less than {own.value} here by the"
                f" {signal.value} signal: {least / 1000:,.1f} kg against {more / 1000:,.1f} kg."
            )


# ── figures for people ───────────────────────────────────────────────────────────────────────


def amount(value: float | None) -> str | None:
    """Three digits that mean something, or all before the point."""
    if value is None:
        return None
    return f"{value:,.0f}" if abs(value) >= _FOUR_DIGITS or not value else f"{value:#.4g}"


_FOUR_DIGITS = 1000.0


def percent(value: float | None) -> str | None:
    """One digit after the point; not 100 where a part is missing, nor a negative zero."""
    if value is None:
        return None
    rounded = round(value, 1) + 0.0
    return f"{99.9 if value < 100 <= rounded else rounded:.1f} %"  # noqa: PLR2004


def span(seconds: float | None) -> str | None:
    """``2.5 h`` or ``7 min``."""
    if seconds is None:
        return None
    return f"{seconds / 3600:.1f} h" if abs(seconds) >= 3600 else f"{seconds / 60 + 0.0:.0f} min"  # noqa: PLR2004
