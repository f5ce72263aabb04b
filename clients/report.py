"""The report: what jobs emitted and cost, by the ledger, as a self-contained HTML page."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from clients.charts import GREEN, GREY, INK, RED, blank, svg
from domain.forecast import Forecast, Signal
from domain.job import Outcome
from domain.ledger import EventKind, LedgerEvent
from domain.messages import JobResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Books = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job as the ledger has it."""

    job: str
    outcome: Outcome | None
    """``None``: not finished."""
    deadline_met: bool
    region: str | None
    attempts: int
    reclaims: int
    runs: tuple[tuple[str, str, datetime, datetime], ...]
    """(region, end state, start, end) of each run that began."""
    actual: Books | None
    """The settlement's figures; ``None`` while hours are not published."""
    counterfactual: Books | None

    @classmethod
    def of(cls, job: str, result: JobResult | None, events: Sequence[LedgerEvent]) -> Self:
        """Read one job's chain."""
        settlements = [item.data for item in events if item.kind is EventKind.SETTLEMENT]
        settled = settlements[-1] if settlements else None
        return cls(
            job=job.removeprefix("job-"),
            outcome=result.outcome if result else None,
            deadline_met=bool(result and result.deadline_met),
            region=result.region if result else None,
            attempts=result.attempts if result else 0,
            reclaims=result.reclaims if result else 0,
            runs=tuple(_runs(events)),
            actual=settled["actual"] if settled else None,
            counterfactual=settled["counterfactual"] if settled else None,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def _runs(events: Sequence[LedgerEvent]) -> Iterator[tuple[str, str, datetime, datetime]]:
    for event in events:
        if event.kind is EventKind.ATTEMPT:
            report = event.data["report"]
            if report["started_at"] and report["ended_at"]:
                yield (
                    report["region"],
                    report["state"],
                    datetime.fromisoformat(report["started_at"]),
                    datetime.fromisoformat(report["ended_at"]),
                )


@dataclass(frozen=True, slots=True)
class Total:
    """Actual against counterfactual, over the jobs for which both are known."""

    actual: float
    counterfactual: float
    jobs: int

    @property
    def saved(self) -> float:
        """Counterfactual less actual; may be negative."""
        return self.counterfactual - self.actual

    @property
    def percent(self) -> float:
        """Saved, of the counterfactual."""
        return 100 * self.saved / self.counterfactual if self.counterfactual else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """All jobs together. The two signals are two questions and are never added up."""

    jobs: int
    met: int
    missed: int
    unfinished: int
    reclaims: int
    settled: int
    average_g: Total
    marginal_g: Total
    cost_usd: Total

    def as_json(self) -> dict[str, Any]:
        """Plain data, percentages included."""
        data = asdict(self)
        for name in ("average_g", "marginal_g", "cost_usd"):
            total: Total = getattr(self, name)
            data[name] |= {"saved": total.saved, "percent": total.percent}
        return data


def summarise(lines: Sequence[JobLine]) -> Summary:
    """Add the jobs up."""
    done = [line for line in lines if line.outcome is not None]
    met = sum(line.deadline_met for line in done)
    return Summary(
        jobs=len(lines),
        met=met,
        missed=len(done) - met,
        unfinished=len(lines) - len(done),
        reclaims=sum(line.reclaims for line in lines),
        settled=sum(line.actual is not None for line in lines),
        average_g=_total(lines, "average_carbon_g"),
        marginal_g=_total(lines, "marginal_carbon_g"),
        cost_usd=_total(lines, "cost_usd"),
    )


def _total(lines: Sequence[JobLine], figure: str) -> Total:
    pairs = [
        (line.actual[figure], line.counterfactual[figure])
        for line in lines
        if line.actual is not None and line.counterfactual is not None
    ]
    known = [(left, right) for left, right in pairs if left is not None and right is not None]
    return Total(sum(left for left, _ in known), sum(right for _, right in known), len(known))


# ── the page ─────────────────────────────────────────────────────────────────────────────────

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lowtide: {title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; color: {ink}; max-width: 1000px;
        margin: 2rem auto; padding: 0 1rem; }}
 h1 {{ font-size: 1.5rem; margin-bottom: 0; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
 .tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem;
          margin: 1rem 0; }}
 .tile {{ border: 1px solid #dde3e6; border-radius: 8px; padding: .7rem 1rem; }}
 .tile b {{ display: block; font-size: 1.4rem; }} .tile span {{ color: #5c6b73; }}
 .tile small {{ display: block; color: #5c6b73; }}
 table {{ border-collapse: collapse; width: 100%; font-size: 13px; }}
 th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e6ebed; }}
 td.n, th.n {{ text-align: right; }}
 th.g {{ text-align: center; border-bottom: 0; }} svg {{ width: 100%; height: auto; }}
 .note {{ color: #5c6b73; font-size: 13px; }}
</style></head><body>
<h1>Lowtide: {title}</h1>
<p class="note">Settled with observed intensity; reclaimed attempts are charged. Baseline: each job
at once in its home region, same capacity type, undisturbed. Average answers an inventory's
question, marginal an impact's; they are never added up. Where a grid has no marginal signal, its
jobs are left out of the marginal figures.</p>
<div class="tiles">{tiles}</div>
<h2>Carbon by job, average signal: actual against baseline</h2>{bars}
<h2>Where and when work ran</h2>{timeline}
<h2>Carbon intensity that the newest forecasts see</h2>{intensity}
<h2>Jobs</h2>{table}
</body></html>
"""


def write_report(
    path: Path, summary: Summary, lines: Sequence[JobLine], forecasts: Sequence[Forecast]
) -> None:
    """Write the page; it opens offline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        _PAGE.format(
            title=f"{summary.jobs} jobs in the cleanest legal region and hour",
            ink=INK,
            tiles=_tiles(summary),
            bars=svg(_bars(lines)),
            timeline=svg(_timeline(lines)),
            intensity=svg(_intensity(forecasts)),
            table=_table(lines),
        ),
        encoding="utf-8",
    )


def _tiles(summary: Summary) -> str:
    tiles = [
        (f"{summary.met} / {summary.jobs}", "deadlines met", f"{summary.missed} missed"),
        (str(summary.reclaims), "reclaims survived", "their lost work is charged"),
        (f"{summary.settled} / {summary.jobs}", "jobs settled", "the rest waits for observations"),
        _saving("less carbon, average", summary.average_g, "{:,.1f} g"),
        _saving("less carbon, marginal", summary.marginal_g, "{:,.1f} g"),
        _saving("less cost", summary.cost_usd, "${:,.4f}"),
    ]
    return "".join(
        f'<div class="tile"><b>{value}</b><span>{label}</span><small>{more}</small></div>'
        for value, label, more in tiles
    )


def _saving(label: str, total: Total, unit: str) -> tuple[str, str, str]:
    actual, baseline = unit.format(total.actual), unit.format(total.counterfactual)
    return f"{total.percent:.0f} %", label, f"{actual} instead of {baseline}, {total.jobs} jobs"


def _bars(lines: Sequence[JobLine]) -> Figure:
    known = [line for line in lines if line.actual and line.counterfactual]
    figure, axes = blank(max(2.0, 0.32 * len(known) + 0.8))
    rows = range(len(known))
    baseline = [line.counterfactual["average_carbon_g"] or 0 for line in known]  # type: ignore[index]
    actual = [line.actual["average_carbon_g"] or 0 for line in known]  # type: ignore[index]
    axes.barh(rows, baseline, height=0.75, color=GREY, label="baseline")
    axes.barh(rows, actual, height=0.4, color=GREEN, label="actual")
    axes.set_yticks(rows, [line.job for line in known])
    axes.invert_yaxis()
    axes.set_xlabel("gCO2eq")
    if known:
        axes.legend(frameon=False)
    return figure


def _timeline(lines: Sequence[JobLine]) -> Figure:
    runs = [(line.job, *run) for line in lines for run in line.runs]
    regions = sorted({region for _, region, *_ in runs})
    figure, axes = blank(max(2.0, 0.4 * len(regions) + 0.8))
    first = min((start for *_, start, _ in runs), default=None)
    for _, region, state, start, end in runs:
        offset = (start - first).total_seconds() if first else 0.0
        colour = GREEN if state == "succeeded" else RED
        axes.barh(
            regions.index(region),
            (end - start).total_seconds(),
            left=offset,
            height=0.6,
            color=colour,
            alpha=0.55,
            edgecolor="white",
        )
    axes.set_yticks(range(len(regions)), regions)
    axes.invert_yaxis()
    axes.set_xlabel(
        "seconds since the first run began; red: taken back or failed; darker: several runs"
    )
    return figure


COLOURS = 10
"""Of Matplotlib's cycle; beyond them the lines differ."""

_LINES = ("-", "--", ":", "-.")


def _intensity(forecasts: Sequence[Forecast]) -> Figure:
    figure, axes = blank(3.2)
    shown = [item for item in forecasts if item.signal is Signal.AVERAGE]
    for index, forecast in enumerate(shown):
        axes.step(
            range(len(forecast.values)),
            forecast.values,
            where="post",
            label=forecast.zone,
            color=f"C{index}",
            linestyle=_LINES[index // COLOURS % len(_LINES)],
            linewidth=1.3,
        )
    axes.set_xlabel("steps of the forecast ahead")
    axes.set_ylabel("gCO2eq/kWh, average")
    if shown:
        axes.legend(frameon=False, ncols=2, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    return figure


_BOOKS = (
    ("average, g", "average_carbon_g"),
    ("marginal, g", "marginal_carbon_g"),
    ("cost, $", "cost_usd"),
)


def _table(lines: Sequence[JobLine]) -> str:
    groups = "".join(f"<th class=g colspan=2>{book}" for book, _ in _BOOKS)
    figures = "<th class=n>actual<th class=n>baseline" * len(_BOOKS)
    head = (
        f"<tr><th colspan=5>{groups}</tr><tr><th>job<th>outcome<th>deadline<th>region"
        f"<th class=n>attempts{figures}</tr>"
    )
    return "<table>" + head + "".join(map(_row, lines)) + "</table>"


def _row(line: JobLine) -> str:
    cells = [
        html.escape(line.job),
        line.outcome.value if line.outcome else "unfinished",
        "" if line.outcome is None else "met" if line.deadline_met else "missed",
        html.escape(line.region or ""),
    ]
    numbers = [str(line.attempts)]
    for _, figure in _BOOKS:
        numbers += [
            _number((books or {}).get(figure)) for books in (line.actual, line.counterfactual)
        ]
    return (
        "<tr>"
        + "".join(f"<td>{cell}" for cell in cells)
        + "".join(f"<td class=n>{cell}" for cell in numbers)
        + "</tr>"
    )


def _number(value: float | None) -> str:
    """Three digits that mean something, or all before the point."""
    if value is None:
        return "–"
    return f"{value:#.3g}" if abs(value) < _THREE_DIGITS else f"{value:,.1f}"


_THREE_DIGITS = 100.0
