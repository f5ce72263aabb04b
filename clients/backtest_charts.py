"""The charts of a backtest's report. None needs colour to be read: lines, marks and hatches differ
too, and cells have their figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clients.backtest_dial import Dial
from clients.backtest_lines import Figure as Amount
from clients.backtest_lines import PolicyLine, carbon_kg, cost_usd, percent
from clients.charts import BLUE, GREEN, GREY, INK, blank
from domain.backtest.case import RuleName
from domain.backtest.result import RuleResult
from domain.forecast import Signal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_BARS = (
    ("carbon, average", GREEN, ""),
    ("carbon, marginal", BLUE, "////"),
    ("cost", GREY, ".."),
)
_BAR = 0.26
_ROOM_FOR_LABELS = 0.16


def savings(lines: Sequence[PolicyLine]) -> Figure:
    """How far carbon and cost of each policy lie below the baseline."""
    figure, axes = blank(0.75 * len(lines) + 1.1)
    for place, (label, colour, hatch) in enumerate(_BARS):
        values = [_below(line)[place] for line in lines]
        at = [row + (place - 1) * _BAR for row in range(len(lines))]
        shown = [0.0 if value is None else value for value in values]
        bars = axes.barh(
            at, shown, height=_BAR, color=colour, hatch=hatch, edgecolor="white", label=label
        )
        axes.bar_label(bars, [percent(value) or "unknown" for value in values], padding=3)
    axes.axvline(0, color=INK, linewidth=1)
    axes.margins(x=_ROOM_FOR_LABELS)
    axes.set_yticks(range(len(lines)), [line.policy.value for line in lines])
    axes.invert_yaxis()
    axes.set_xlabel("% below the baseline: right of the line saves, left of it is more")
    _legend_on_top(axes)
    return figure


def _below(line: PolicyLine) -> tuple[float | None, ...]:
    figures = (*(line.carbon_kg[signal] for signal in Signal), line.cost_usd)
    return tuple(item.below_percent for item in figures)


def dial_savings(dial: Dial) -> list[tuple[float, dict[Signal, Amount], Amount]]:
    """Weight of carbon, carbon by signal and cost, each against the baseline."""
    return [
        (
            weight,
            {signal: carbon_kg(found, dial.baseline, signal) for signal in Signal},
            cost_usd(found, dial.baseline),
        )
        for weight, found in dial.settings
    ]


_MARKS = {Signal.AVERAGE: (GREEN, "o", "-"), Signal.MARGINAL: (BLUE, "s", "--")}
_APART = 0.04
"""Of the chart's size: labels that are closer than this would cover each other."""


def frontier(dial: Dial, steering: Signal) -> Figure:
    """Carbon saved over cost saved, at each setting of the weights."""
    figure, axes = blank(4.6)
    points = dial_savings(dial)
    xs = [cost.below_percent or 0.0 for _, _, cost in points]
    for signal, (colour, mark, line) in _MARKS.items():
        ys = [carbon[signal].below_percent or 0.0 for _, carbon, _ in points]
        told = f"carbon, {signal.value}" + (" (steers)" if signal is steering else "")
        axes.plot(xs, ys, color=colour, marker=mark, linestyle=line, label=told)
        if signal is steering:
            _label_settings(axes, [f"{weight:.1f}" for weight, *_ in points], xs, ys)
    axes.plot(0, 0, color=INK, marker="X", markersize=9, linestyle="none", label="baseline")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.margins(0.1)
    axes.set_xlabel("cost: % below the baseline (left of 0: dearer)")
    axes.set_ylabel("carbon: % below the baseline")
    _legend_on_top(axes)
    return figure


def _label_settings(axes: Any, labels: Sequence[str], xs: list[float], ys: list[float]) -> None:
    """The weight at each point, but at those that lie on a labelled one."""
    wide = max(np.ptp([*xs, 0.0]), 1e-9)
    high = max(np.ptp([*ys, 0.0]), 1e-9)
    placed: list[tuple[float, float]] = []
    for label, x, y in zip(labels, xs, ys, strict=True):
        if all(abs(x - a) / wide + abs(y - b) / high > _APART for a, b in placed):
            axes.annotate(label, (x, y), xytext=(6, 6), textcoords="offset points", fontsize=8)
            placed.append((x, y))


def heat_maps(shown: Mapping[RuleName, RuleResult], allowed: Iterable[str]) -> Figure:
    """Where and when work ran under some policies: % of all vCPU-hours, by region and hour."""
    used = {region for found in shown.values() for region in found.vcpu_hours}
    regions = sorted(used.union(allowed))
    maps = {rule: shares(found.vcpu_hours, regions) for rule, found in shown.items()}
    most = max((float(cells.max(initial=0)) for cells in maps.values()), default=0.0) or 1.0
    height = max(1, len(regions)) * 0.3 + 0.75
    figure, axes = blank(height * len(maps), rows=len(maps))
    for axis, (rule, cells) in zip(np.atleast_1d(axes), maps.items(), strict=True):
        # Cells that are drawn, not an image: sharp at any width.
        lines = {"edgecolor": "white", "linewidth": 0.6}
        axis.pcolormesh(cells, cmap="Greens", vmin=0, vmax=most * 1.15, shading="nearest", **lines)
        axis.invert_yaxis()
        for row, column in zip(*np.nonzero(cells >= _LEAST_SHOWN), strict=True):
            value = cells[row, column]
            colour = "white" if value > 0.7 * most else INK
            axis.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour, size=7)
        totals = cells.sum(axis=1)
        names = [f"{name}  {total:.0f} %" for name, total in zip(regions, totals, strict=True)]
        axis.set_yticks(range(len(regions)), names)
        axis.set_xticks(range(24), [f"{hour:02d}" for hour in range(24)])
        axis.tick_params(labelbottom=True, length=0)
        axis.set_title(rule.value, loc="left", fontsize=10, fontweight="bold")
        axis.spines[:].set_visible(False)
    axis.set_xlabel("hour of the day, UTC")
    return figure


_LEAST_SHOWN = 0.05
"""% of all vCPU-hours: less would show as 0.0."""


def shares(vcpu_hours: Mapping[str, Floats], regions: Sequence[str]) -> Floats:
    """(regions, 24): % of all vCPU-hours."""
    nothing = np.zeros(24)
    cells = np.array([vcpu_hours.get(region, nothing) for region in regions]).reshape(-1, 24)
    total = float(cells.sum())
    return 100 * cells / total if total else cells


_LINES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 6)))
_POINTS = ("o", "s", "^", "v", "D", "P", "X", "*")
_STEPS = 201


def delays(shown: Mapping[RuleName, RuleResult]) -> Figure:
    """The share of jobs that ended no later than so many hours after they could have."""
    figure, axes = blank(4.2)
    quantiles = np.linspace(0, 1, _STEPS)
    for place, (rule, found) in enumerate(shown.items()):
        hours = np.quantile(found.delays_s / 3600, quantiles)
        axes.plot(
            # From the left edge on: nobody has ended before, and all have after the last.
            np.concatenate(([0.0], hours)),
            np.concatenate(([0.0], 100 * quantiles)),
            label=rule.value,
            color=f"C{place}",
            linestyle=_LINES[place % len(_LINES)],
            marker=_POINTS[place % len(_POINTS)],
            # Each at other quantiles, so that marks of like curves do not cover each other.
            markevery=(5 * place % 25 + 1, 40),
            linewidth=2.5 if rule is RuleName.LOWTIDE else 1.3,
            markersize=5,
        )
    axes.set_ylim(0, 102)
    axes.set_xlabel("hours later than undisturbed at submission")
    axes.set_ylabel("% of jobs")
    axes.grid(color=GREY, linewidth=0.4)
    axes.legend(frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left", handlelength=4)
    return figure


def _legend_on_top(axes: Any) -> None:
    axes.legend(frameon=False, ncols=3, bbox_to_anchor=(0, 1.0), loc="lower left")
