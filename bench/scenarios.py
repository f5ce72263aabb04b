"""Three scenarios that were fixed before anything was tuned, and every rule on each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from bench.cases import WORLD_2022, data_folder, example
from bench.record import Row, record
from domain.backtest.case import Case, RuleName
from domain.backtest.optimum import optimum
from domain.backtest.result import BacktestResult, RuleResult
from domain.backtest.simulation import simulate
from domain.forecast import Signal

SCENARIOS = {"germany-time-shift": None, "europe-under-capacity": 0.90, "world": 0.90}
"""Name -> the share of the optimum's savings that is asked for."""
MOST_LOST_BY_LOOKING = 0.002
RULES = (
    RuleName.STATIC_GREENEST,
    RuleName.LOWEST_POINT,
    RuleName.LOWEST_WINDOW,
    RuleName.LOWTIDE_ONCE,
    RuleName.LOWTIDE,
)


def compare(case: Case, rules: tuple[RuleName, ...] = RULES) -> BacktestResult:
    """The baseline, the optimum and some rules on a case."""
    found: dict[RuleName, RuleResult] = {RuleName.OPTIMUM: optimum(case, time.perf_counter)}
    for rule in (RuleName.RUN_AT_ONCE, *rules):
        found[rule] = simulate(case, rule, time.perf_counter)
    return BacktestResult.of(case, found)


def saved(result: BacktestResult, rule: RuleName, signal: Signal) -> float:
    """The share of the baseline's carbon that a rule saves."""
    base = result.rules[RuleName.RUN_AT_ONCE].carbon_g[signal]
    return 1 - result.rules[rule].carbon_g[signal] / base


def told(result: BacktestResult, rule: RuleName) -> str:
    """A rule's share of the optimum's savings, and what it saves by both signals."""
    share = result.share_of_optimum(rule)
    both = ", ".join(
        f"{signal.value}{' (annual means)' if signal in result.published_means else ''}"
        f" {-saved(result, rule, signal):+.1%}"
        for signal in Signal
    )
    missed = result.rules[rule].deadlines_missed
    return f"{share or 0:.1%} ({both}; {missed} deadlines missed)"


def of_optimum(result: BacktestResult) -> str:
    """How sure the optimum is."""
    best = result.rules[RuleName.OPTIMUM]
    if best.is_bound:
        return f"a bound that no plan may reach, {best.gap or 0:.2%} from one that fits"
    return f"proven within {best.gap:.2%}" if best.gap else "exact"


def main() -> None:
    """A row for each scenario and rule."""
    record("scenarios", rows())


def rows() -> Iterator[Row]:
    """Measure."""
    for name, goal in SCENARIOS.items():
        traces = []
        if name == "world":
            folder = data_folder()
            if folder is None:
                print(f"{WORLD_2022} is not at hand: name its folder with LOWTIDE_BENCH_DATA")
                continue
            traces = [str(folder / WORLD_2022)]
        case = example(name, traces=traces)
        result = compare(replace(case, rules=RULES))
        shares = {rule: result.share_of_optimum(rule) or 0.0 for rule in RULES}
        once, looking = shares[RuleName.LOWTIDE_ONCE], shares[RuleName.LOWTIDE]
        static = shares[RuleName.STATIC_GREENEST]
        yield Row(
            claim=f"**{name}**, {result.jobs:,} jobs, optimum {of_optimum(result)}",
            goal="–",
            measured=f"optimum {told(result, RuleName.OPTIMUM)}",
        )
        for rule in RULES[:-2]:
            yield Row(f"{name}: {rule.value}", "–", told(result, rule))
        yield Row(
            f"{name}: lowtide without looking again", "–", told(result, RuleName.LOWTIDE_ONCE)
        )
        asked, holds = [], looking >= once - MOST_LOST_BY_LOOKING
        asked.append("looking loses at most 0.2 points")
        if goal is not None:
            asked += [f"at least {goal:.0%}", "static-greenest beaten"]
            holds &= looking >= goal and looking > static
        yield Row(
            f"{name}: lowtide", "; ".join(asked), told(result, RuleName.LOWTIDE), holds=bool(holds)
        )
