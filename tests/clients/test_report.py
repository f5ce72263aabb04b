from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clients.report import JobLine, summarise, write_report
from domain.forecast import Forecast, Signal
from domain.job import Outcome
from domain.ledger import EventKind, LedgerEvent
from domain.messages import JobResult

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def figures(average: float, marginal: float | None, cost: float) -> dict[str, float | None]:
    return {"average_carbon_g": average, "marginal_carbon_g": marginal, "cost_usd": cost}


SETTLED = JobLine(
    job="demo-align",
    outcome=Outcome.SUCCEEDED,
    deadline_met=True,
    region="aws:eu-north-1",
    attempts=2,
    reclaims=1,
    runs=(
        ("aws:eu-west-3", "reclaimed", NOW, NOW + timedelta(seconds=2)),
        ("aws:eu-north-1", "succeeded", NOW + timedelta(seconds=5), NOW + timedelta(seconds=9)),
    ),
    actual=figures(25.0, 90.0, 0.5),
    counterfactual=figures(100.0, 60.0, 0.4),
)
WITHOUT_MARGINAL = replace(SETTLED, job="demo-qc", reclaims=0, actual=figures(5.0, None, 0.1))
LATE = replace(SETTLED, job="demo-late", deadline_met=False, outcome=Outcome.FAILED, reclaims=0)
UNSETTLED = replace(SETTLED, job="demo-new", actual=None, counterfactual=None, reclaims=0)
UNFINISHED = replace(UNSETTLED, job="demo-open", outcome=None, deadline_met=False, runs=())

LINES = (SETTLED, WITHOUT_MARGINAL, LATE, UNSETTLED, UNFINISHED)
FORECASTS = tuple(
    Forecast(f"Z{n}", signal, "p", "m", NOW, NOW, 2.0, tuple(float(n + k) for k in range(48)))
    for n in range(25)
    for signal in Signal
)


class TestSummary:
    def test_jobs_are_counted_by_what_became_of_them(self) -> None:
        """An open job is unfinished, not missed."""
        summary = summarise(LINES)
        assert (summary.jobs, summary.met, summary.missed, summary.unfinished) == (5, 3, 1, 1)
        assert (summary.reclaims, summary.settled) == (1, 3)

    def test_totals_are_over_the_jobs_for_which_both_sides_are_known(self) -> None:
        """A job without a marginal figure would make the marginal saving look larger."""
        summary = summarise(LINES)
        assert (summary.average_g.actual, summary.average_g.counterfactual) == (55.0, 300.0)
        assert (summary.average_g.jobs, summary.marginal_g.jobs) == (3, 2)
        assert (summary.marginal_g.actual, summary.marginal_g.counterfactual) == (180.0, 120.0)

    def test_a_saving_may_be_negative(self) -> None:
        """More by marginal and dearer: both are told as they are."""
        summary = summarise([SETTLED])
        assert summary.average_g.percent == pytest.approx(75)
        assert summary.marginal_g.saved == pytest.approx(-30)
        assert summary.marginal_g.percent == pytest.approx(-50)
        assert summary.cost_usd.percent == pytest.approx(-25)

    def test_nothing_settled_saves_nothing(self) -> None:
        """And divides by nothing."""
        assert summarise([UNFINISHED]).average_g.percent == 0
        assert summarise([]).jobs == 0

    def test_json_has_savings_in_it(self) -> None:
        """As ``lowtide demo --json`` prints it."""
        data = json.loads(json.dumps(summarise(LINES).as_json()))
        assert data["average_g"] == {
            "actual": 55.0,
            "counterfactual": 300.0,
            "jobs": 3,
            "saved": 245.0,
            "percent": pytest.approx(81.667, abs=0.001),
        }


def event(seq: int, kind: EventKind, data: dict[str, object]) -> LedgerEvent:
    return LedgerEvent("job-demo-align", seq, kind, NOW, "0" * 64, data)


class TestJobLine:
    def test_a_line_is_read_from_result_and_chain(self) -> None:
        """The newest settlement counts; a run that never began is none."""
        report = {
            "region": "aws:eu-north-1",
            "state": "succeeded",
            "started_at": None,
            "ended_at": None,
        }
        began = report | {"started_at": NOW.isoformat(), "ended_at": NOW.isoformat()}
        events = [
            event(1, EventKind.ATTEMPT, {"report": report}),
            event(2, EventKind.ATTEMPT, {"report": began}),
            event(3, EventKind.SETTLEMENT, {"actual": {"x": 1}, "counterfactual": {"x": 2}}),
            event(4, EventKind.SETTLEMENT, {"actual": {"x": 3}, "counterfactual": {"x": 4}}),
        ]
        result = JobResult(
            job="job-demo-align",
            outcome=Outcome.SUCCEEDED,
            message="",
            deadline=NOW,
            finished_at=NOW,
            deadline_met=True,
            attempts=2,
            reclaims=0,
            region="aws:eu-north-1",
        )
        line = JobLine.of("job-demo-align", result, events)
        assert line.job == "demo-align"
        assert line.runs == (("aws:eu-north-1", "succeeded", NOW, NOW),)
        assert (line.actual, line.counterfactual) == ({"x": 3}, {"x": 4})

    def test_an_open_job_has_no_outcome(self) -> None:
        """Whatever its chain holds so far."""
        line = JobLine.of("job-demo-align", None, [])
        assert (line.outcome, line.deadline_met, line.actual, line.runs) == (None, False, None, ())


class Page(HTMLParser):
    """What a browser would fetch, and the text that it shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            value or ""
            for name, value in attrs
            if name in {"src", "href", "xlink:href", "srcset", "data", "action"}
        ]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(tmp_path: Path, *lines: JobLine) -> tuple[str, Page]:
    file = tmp_path / "new" / "report.html"
    write_report(file, summarise(lines), lines, FORECASTS)
    html = file.read_text(encoding="utf-8")
    return html, Page(html)


class TestThePage:
    def test_it_opens_offline(self, tmp_path: Path) -> None:
        """Nothing is fetched: every reference stays within the page."""
        html, read = page(tmp_path, *LINES)
        assert read.fetched
        assert all(target.startswith("#") for target in read.fetched)
        assert not {"script", "link", "iframe", "img"} & set(read.tags)
        assert not re.search(r"@import|url\((?!#)", html)
        addresses = set(re.findall(r"https?://[^\"'<>\s]+", html))
        assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}

    def test_it_has_its_plots_and_every_job(self, tmp_path: Path) -> None:
        """Three plots, a row a job, and figures that are not known as dashes."""
        _, read = page(tmp_path, *LINES)
        assert read.tags.count("svg") == 3
        assert read.tags.count("tr") == 2 + len(LINES)
        text = "\n".join(read.words)
        for line in LINES:
            assert line.job in text
        for words in ("3 / 5", "deadlines met", "55.0 g instead of 300.0 g, 3 jobs", "82 %"):
            assert words in text
        assert "–" in text
        assert "unfinished" in text

    def test_a_page_without_jobs_is_a_page(self, tmp_path: Path) -> None:
        """Nothing ran, nothing is settled."""
        _, read = page(tmp_path)
        assert read.tags.count("svg") == 3

    def test_the_same_books_are_the_same_page(self, tmp_path: Path) -> None:
        """To the byte, so that two reports can be compared."""
        first, _ = page(tmp_path / "a", *LINES)
        second, _ = page(tmp_path / "b", *LINES)
        assert first == second

    def test_names_are_no_markup(self, tmp_path: Path) -> None:
        """Whatever a region is called."""
        html, _ = page(tmp_path, replace(SETTLED, region="<script>alert(1)</script>", runs=()))
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
