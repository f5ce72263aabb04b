"""What errors of the forecast cost: sigma is the error's standard deviation a day ahead."""

from __future__ import annotations

from collections.abc import Iterator

from bench.cases import example
from bench.record import Row, record
from bench.scenarios import compare, saved, told
from domain.backtest.case import RuleName

SIGMAS = (0.05, 0.1, 0.2)
RULES = (RuleName.STATIC_GREENEST, RuleName.LOWTIDE_ONCE, RuleName.LOWTIDE)
SCENARIOS = ("germany-time-shift", "europe-under-capacity")


def main() -> None:
    """Print and keep the rows."""
    record("noise", rows())


def rows() -> Iterator[Row]:
    """The share of a perfect forecast's savings that is kept, on two scenarios."""
    for name in SCENARIOS:
        perfect = compare(example(name, sets=["forecast=perfect"]), RULES)
        signal = perfect.steering
        most = saved(perfect, RuleName.LOWTIDE, signal)
        yield Row(
            f"{name}: perfect",
            "–",
            f"lowtide {told(perfect, RuleName.LOWTIDE)}; static-greenest"
            f" {told(perfect, RuleName.STATIC_GREENEST)}",
        )
        for sigma in SIGMAS:
            noisy = compare(example(name, sets=[f"forecast=noisy:{sigma}"]), RULES)
            kept = saved(noisy, RuleName.LOWTIDE, signal) / most
            once = saved(noisy, RuleName.LOWTIDE_ONCE, signal) / most
            yield Row(
                f"{name}: sigma {sigma}",
                "–",
                f"keeps {kept:.1%} of its savings ({once:.1%} without looking again)",
            )
