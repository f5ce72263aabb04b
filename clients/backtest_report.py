"""A backtest's report: what was run, every policy's figures, and charts, as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from clients import backtest_charts as charts
from clients.backtest_dial import RULE, Dial
from clients.backtest_lines import (
    BASELINE,
    Figure,
    PolicyLine,
    amount,
    lines_of,
    notes,
    ours,
    percent,
    span,
    what_was_run,
)
from clients.charts import INK, svg
from domain.backtest.case import Case, RuleName
from domain.backtest.result import BacktestResult, RuleResult
from domain.forecast import Signal

WORDS: Mapping[RuleName, str] = MappingProxyType(
    {
        RuleName.RUN_AT_ONCE: "at home, at submission, without a room limit: the baseline",
        RuleName.STATIC_GREENEST: "at once, in the allowed region that is greenest by annual mean",
        RuleName.CHEAPEST: "at once, where it is cheapest",
        RuleName.LOWEST_POINT: "where and when the forecast has its lowest single value",
        RuleName.LOWEST_WINDOW: "at home, when the forecast is lowest over the run",
        RuleName.LOWTIDE: "carbon and cost as the scenario weighs them, looking again on the way",
        RuleName.LOWTIDE_ONCE: "carbon and cost as the scenario weighs them, decided once",
        RuleName.OPTIMUM: "what perfect knowledge of grid and jobs could have done",
    }
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lowtide backtest: {name}</title>
<style>
 :root {{ color-scheme: light; }}
 body {{ font: 15px/1.5 system-ui, sans-serif; color: {ink}; background: #fff; max-width: 1000px;
        margin: 2rem auto; padding: 0 1rem; }}
 h1 {{ font-size: 1.5rem; margin-bottom: 0; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
 .tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem;
          margin: 1rem 0; }}
 .tile {{ border: 1px solid #dde3e6; border-radius: 8px; padding: .7rem 1rem; }}
 .tile b {{ display: block; font-size: 1.4rem; }} .tile small {{ display: block; }}
 .tile span, .tile small, .note {{ color: #52616a; }} .note {{ font-size: 13px; }}
 .wide {{ overflow-x: auto; }} figure {{ margin: 0; }} svg {{ width: 100%; height: auto; }}
 figure.wide svg {{ min-width: 640px; }}
 table {{ border-collapse: collapse; width: 100%; font-size: 13px; white-space: nowrap; }}
 th, td {{ text-align: right; padding: .3rem .5rem; border-bottom: 1px solid #e6ebed; }}
 th:first-child {{ text-align: left; }} thead th {{ font-weight: 600; }}
 tr.ours {{ background: #eef7f2; }} tr.ours th {{ font-weight: 700; }}
 tbody th {{ font-weight: 400; }}
 dt {{ font-weight: 600; float: left; clear: left; width: 9.5rem; }} dd {{ margin-left: 9.5rem; }}
 @media (max-width: 500px) {{ dt {{ float: none; }} dd {{ margin-left: 1rem; }} }}
</style></head><body><main>
<h1>Backtest: {name}</h1>
<p>{run}</p>
{tiles}
{tables}
{notes}
<h2>Carbon and cost against the baseline</h2>{savings}
<h2>The dial between carbon and cost</h2>{frontier}
<h2>Where and when work ran</h2>{heat_maps}
<h2>How much later jobs ended</h2>{delays}
<h2>What the policies do</h2><dl>{words}</dl>
</main></body></html>
"""


def write_backtest(path: Path, result: BacktestResult, case: Case, dial: Dial) -> None:
    """Write the page; it opens offline. Raises ``OSError``."""
    lines, own = lines_of(result), ours(result.rules)
    page = _PAGE.format(
        name=html.escape(result.case),
        ink=INK,
        run=html.escape(what_was_run(result, case)),
        tiles=_tiles(lines, own),
        tables=_tables(lines, own),
        notes="".join(f'<p class="note">{html.escape(note)}</p>' for note in notes(result, case)),
        savings=_savings(lines),
        frontier=_frontier(dial, result.steering),
        heat_maps=_heat_maps(result.rules, case.policy.regions),
        delays=_delays(result.rules, lines),
        words="".join(f"<dt>{rule.value}<dd>{WORDS[rule]}" for rule in result.rules),
    )
    path.write_text(page, encoding="utf-8")


# ── figures ──────────────────────────────────────────────────────────────────────────────────


def _tiles(lines: Sequence[PolicyLine], own: RuleName | None) -> str:
    line = next((line for line in lines if line.policy is own), None)
    if line is None:
        return ""
    tiles = [
        *(_change(f"carbon, {signal.value}", item, "{} kg") for signal, item in _carbon(line)),
        _change("cost", line.cost_usd, "${}"),
        (percent(line.met_percent), "deadlines met", f"{line.deadlines_missed:,} missed"),
        (_share(line), "of the optimum's savings", "on the signal that steers"),
    ]
    shown = "".join(
        f"<div class=tile><b>{value or '–'}</b><span>{label}</span><small>{more}</small></div>"
        for value, label, more in tiles
    )
    return f"<div class=tiles>{shown}</div><p class=note>{line.policy.value}, against the baseline."


def _carbon(line: PolicyLine) -> list[tuple[Signal, Figure]]:
    return [(signal, line.carbon_kg[signal]) for signal in Signal]


def _change(what: str, figure: Figure, unit: str) -> tuple[str | None, str, str]:
    """In which direction, rather than a sign to think about."""
    below = figure.below_percent
    direction = "more" if below is not None and below < 0 else "less"
    size = None if below is None else percent(abs(below))
    return size, f"{direction} {what}", unit.format(amount(figure.value))


def _share(line: PolicyLine) -> str | None:
    return None if line.share_of_optimum is None else percent(100 * line.share_of_optimum)


_BOOKS = ("average, kg", "below", "marginal, kg", "below", "cost, $", "below")


def _books(line: PolicyLine) -> tuple[str | None, ...]:
    figures = (*(item for _, item in _carbon(line)), line.cost_usd)
    return (line.policy.value, *(cell for item in figures for cell in _pair(item)), _share(line))


_SERVICE = (
    *("deadlines met", "missed", "mean delay", "p95 delay", "reclaims", "wasted vCPUh"),
    "decisions/s",
)


def _service(line: PolicyLine) -> tuple[str | None, ...]:
    return (
        line.policy.value,
        percent(line.met_percent),
        f"{line.deadlines_missed:,}",
        span(line.mean_delay_s),
        span(line.p95_delay_s),
        f"{line.reclaims:,}",
        amount(line.wasted_vcpu_hours),
        None if line.decisions_per_s is None else f"{line.decisions_per_s:,.0f}",
    )


def _tables(lines: Sequence[PolicyLine], own: RuleName | None) -> str:
    marked = [line.policy is own for line in lines]
    parts = (
        ("Carbon and cost", ("policy", *_BOOKS, "of opt."), map(_books, lines)),
        ("Service", ("policy", *_SERVICE), map(_service, lines)),
    )
    return "".join(
        f"<h2>{told}</h2>" + _html_table(told, head, zip(marked, rows, strict=True))
        for told, head, rows in parts
    )


def _pair(figure: Figure) -> tuple[str | None, str | None]:
    return amount(figure.value), percent(figure.below_percent)


def _html_table(
    told: str, head: Iterable[str], rows: Iterable[tuple[bool, Sequence[str | None]]]
) -> str:
    """A table whose first column names the row; a row may be marked."""
    body = "".join(
        f'<tr{" class=ours" if marked else ""}><th scope="row">{cells[0]}'
        + "".join(f"<td>{'–' if cell is None else cell}" for cell in cells[1:])
        for marked, cells in rows
    )
    names = "".join(f'<th scope="col">{name}' for name in head)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{told}"><table>'
        f"<thead><tr>{names}</thead><tbody>{body}</tbody></table></div>"
    )


# ── charts, each with what it shows in words ─────────────────────────────────────────────────


def _chart(picture: str, note: str) -> str:
    return f'<figure class="wide">{picture}</figure><p class="note">{html.escape(note)}</p>'


def _savings(lines: Sequence[PolicyLine]) -> str:
    if not any(line.policy is BASELINE for line in lines):
        return (
            f'<p class="note">{BASELINE.value} was not among the policies: nothing to compare.</p>'
        )
    others = [line for line in lines if line.policy is not BASELINE]
    told = "; ".join(
        f"{line.policy.value}: carbon {percent(line.carbon_kg[Signal.AVERAGE].below_percent)}"
        f" average, {percent(line.carbon_kg[Signal.MARGINAL].below_percent)} marginal,"
        f" cost {percent(line.cost_usd.below_percent)}"
        for line in others
    )
    return _chart(
        svg(charts.savings(others), f"Below the baseline, {told}."),
        f"The line at 0 is {BASELINE.value}: doing nothing.",
    )


def _frontier(dial: Dial, steering: Signal) -> str:
    points = charts.dial_savings(dial)
    rows = [
        (
            False,
            (
                f"{weight:.1f} / {1 - weight:.1f}",
                *(cell for signal in Signal for cell in _pair(carbon[signal])),
                *_pair(cost),
            ),
        )
        for weight, carbon, cost in points
    ]
    (_, greenest, dearest), (_, dirtiest, cheapest) = points[0], points[-1]
    told = (
        f"With all weight on carbon: carbon {percent(greenest[steering].below_percent)} and cost"
        f" {percent(dearest.below_percent)} below the baseline; with all weight on cost:"
        f" {percent(dirtiest[steering].below_percent)} and {percent(cheapest.below_percent)}."
    )
    jobs = f"{'all' if dial.whole else 'a sample of'} {dial.jobs:,} jobs"
    return (
        _chart(
            svg(charts.frontier(dial, steering), told),
            f"Each point is {jobs} under {RULE.value} with another weight of carbon, as written"
            " beside it where there is space; cost has the rest.",
        )
        + "<details><summary>The points as a table</summary>"
        + _html_table("The dial between carbon and cost", ("carbon / cost", *_BOOKS), rows)
        + "</details>"
    )


def _heat_maps(rules: Mapping[RuleName, RuleResult], allowed: Iterable[str]) -> str:
    shown = {rule: rules[rule] for rule in (BASELINE, ours(rules)) if rule and rule in rules}
    if not shown:
        return f'<p class="note">Neither {BASELINE.value} nor {RuleName.LOWTIDE.value} was run.</p>'
    told = "; ".join(f"{rule.value}: {_where(found)}" for rule, found in shown.items())
    return _chart(
        svg(charts.heat_maps(shown, allowed), f"Share of vCPU-hours by region and hour. {told}."),
        "% of all vCPU-hours by region and hour of the day; beside each region, its whole share.",
    )


def _where(found: RuleResult) -> str:
    total = sum(float(hours.sum()) for hours in found.vcpu_hours.values()) or 1.0
    return ", ".join(
        f"{region} {100 * float(hours.sum()) / total:.0f} %"
        for region, hours in sorted(found.vcpu_hours.items())
    )


def _delays(rules: Mapping[RuleName, RuleResult], lines: Sequence[PolicyLine]) -> str:
    shown = {rule: found for rule, found in rules.items() if found.delays_s.size}
    told = "; ".join(
        f"{line.policy.value}: mean {span(line.mean_delay_s)}, 95 % under {span(line.p95_delay_s)}"
        for line in lines
        if line.policy in shown
    )
    return _chart(
        svg(charts.delays(shown), f"Distribution of delays. {told}."),
        "The share of jobs that ended no later than so many hours after they would have ended,"
        " undisturbed, had they been started at submission.",
    )
