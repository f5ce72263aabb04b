"""The dial from carbon to cost: no capacity limit, perfect forecast."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from bench.cases import example
from bench.record import Row, record
from domain.backtest.case import RuleName
from domain.backtest.simulation import simulate

STEPS = 10
_SAME = 1e-9
REGIONS = ("aws:eu-central-1", "aws:eu-west-3", "aws:eu-south-2", "gcp:europe-north1")


def main() -> None:
    """Print and keep the rows."""
    record("dial", rows())


def rows() -> Iterator[Row]:
    """One row for each stop, and whether any two are out of order."""
    stops = []
    room = [
        f"regions.{region}.{kind}_vcpus=unlimited"
        for region in REGIONS
        for kind in ("spot", "on_demand")
    ]
    for step in range(STEPS + 1):
        cost = step / STEPS
        sets = [f"weights.carbon={1 - cost:.1f}", f"weights.cost={cost:.1f}", "forecast=perfect"]
        case = example("two-weeks", sets=[*sets, *room, "jobs.generate.jobs=1000"])
        found = simulate(case, RuleName.LOWTIDE_ONCE)
        base = simulate(case, RuleName.RUN_AT_ONCE)
        signal = case.policy.steering_signal
        stops.append((found.carbon_g[signal], found.cost_usd))
        yield Row(
            f"carbon {1 - cost:.1f}, cost {cost:.1f}",
            "–",
            f"carbon {found.carbon_g[signal] / base.carbon_g[signal] - 1:+.1%}, cost"
            f" {found.cost_usd / base.cost_usd - 1:+.1%}",
        )
    static = simulate(case, RuleName.STATIC_GREENEST)
    yield Row(
        "static-greenest, which has no dial",
        "–",
        f"carbon {static.carbon_g[signal] / base.carbon_g[signal] - 1:+.1%}, cost"
        f" {static.cost_usd / base.cost_usd - 1:+.1%}",
    )
    pairs = list(pairwise(stops))
    wrong = sum(
        after[0] < before[0] * (1 - _SAME) or after[1] > before[1] * (1 + _SAME)
        for before, after in pairs
    )
    yield Row(
        "as weight moves to cost, carbon never falls and cost never rises",
        f"0 of {len(pairs)} steps out of order",
        f"{wrong} of {len(pairs)}",
        holds=wrong == 0,
    )
