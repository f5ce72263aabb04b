"""``lowtide backtest`` on a grid whose answers can be reckoned by hand.

Germany stands at 400 g/kWh and France at 100, but for 50 at 02:00 to 04:00 of each day; the jobs'
home is Germany, and each may wait a day.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from clients.backtest_dial import BLOCK, MOST_JOBS, sample_of
from clients.cli import app
from domain.backtest.case import RuleName
from domain.backtest.job import BacktestJob
from tests.clients.site import LOWTIDE

START = datetime(2022, 3, 1, tzinfo=UTC)
DAYS = 10
CLEAN_HOURS = (2, 3)

SCENARIO = """\
name: by-hand
traces: {average: grid.csv}
period: 2022-03-02/2022-03-06
regions:
  aws:eu-central-1:
    {on_demand_vcpus: unlimited, pue: 1.0, usd_per_vcpu_hour: {on_demand: 0.01}}
  aws:eu-west-3: {on_demand_vcpus: unlimited, pue: 1.0}
residency: {eu: {countries: [DE, FR]}}
weights: {carbon: 1.0, cost: 0.0}
start_up: 0s
safety_margin: 0s
forecast: perfect
jobs: {csv: jobs.csv}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario and the files that it names."""
    made = tmp_path_factory.mktemp("backtest")
    (made / "by-hand.yaml").write_text(SCENARIO)
    (made / "grid.csv").write_text(grid(germany=400))
    (made / "jobs.csv").write_text("\n".join(jobs()) + "\n")
    return made


def grid(germany: float) -> str:
    rows = ["time,DE,FR"]
    for hour in range(24 * DAYS):
        at = START + timedelta(hours=hour)
        rows.append(f"{at.isoformat()},{germany},{50 if at.hour in CLEAN_HOURS else 100}")
    return "\n".join(rows) + "\n"


def jobs() -> Iterator[str]:
    """Three a day for four days, of one hour each."""
    yield "submitted,vcpus,memory_gib,runtime_s,p95_s,deadline,residency,home_region"
    for day in range(1, 5):
        for hour in (8, 14, 20):
            at = START + timedelta(days=day, hours=hour)
            until = at + timedelta(days=1)
            yield f"{at.isoformat()},2,8,3600,3600,{until.isoformat()},eu,aws:eu-central-1"


def backtest(folder: Path, *arguments: str) -> Result:
    runner = CliRunner(env={"COLUMNS": "80"})
    return runner.invoke(app, ["backtest", str(folder / "by-hand.yaml"), *arguments])


def figures(folder: Path, *arguments: str) -> dict[str, Any]:
    done = backtest(folder, *arguments, "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    data: dict[str, Any] = json.loads(done.stdout)
    return data


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, Any]:
    """All policies."""
    return figures(folder)


class TestJson:
    def test_it_names_what_was_run(self, whole: dict[str, Any]) -> None:
        """Scenario, jobs and policies, and what is needed to read the figures right."""
        assert (whole["scenario"], whole["jobs"]) == ("by-hand", 12)
        assert list(whole["policies"]) == [rule.value for rule in RuleName]
        assert (whole["steering_signal"], whole["forecast"]) == ("average", "perfect")
        assert whole["published_means"] == ["marginal"]
        assert whole["period"] == {
            "start": "2022-03-02T00:00:00+00:00",
            "end": "2022-03-06T00:00:00+00:00",
        }

    def test_every_policy_has_every_figure(self, whole: dict[str, Any]) -> None:
        """Under the names that programs rely on, both signals in each."""
        for found in whole["policies"].values():
            assert set(found["carbon_kg"]) == {"average", "marginal"}
            assert set(found["delay_s"]) == {"mean", "p95"}
            assert found.keys() >= {
                *("cost_usd", "deadlines_missed", "share_of_optimum", "decisions_per_s"),
                *("carbon_below_baseline_percent", "cost_below_baseline_percent"),
                *("deadlines_met_percent", "reclaims", "wasted_vcpu_hours", "gap", "is_bound"),
            }
            assert (found["deadlines_met"], found["deadlines_missed"]) == (12, 0)

    def test_figures_are_those_reckoned_by_hand(self, whole: dict[str, Any]) -> None:
        """France at once is a quarter of Germany; in its clean hours, an eighth."""
        below = {
            name: found["carbon_below_baseline_percent"]["average"]
            for name, found in whole["policies"].items()
        }
        assert below["run-at-once"] == 0
        assert below["static-greenest"] == pytest.approx(75)
        assert below["lowest-window"] == pytest.approx(0)
        assert below["lowtide"] == pytest.approx(87.5)
        assert below["optimum"] == pytest.approx(87.5)

    def test_shares_are_of_the_optimum(self, whole: dict[str, Any]) -> None:
        """On the signal that steers."""
        share = {name: found["share_of_optimum"] for name, found in whole["policies"].items()}
        assert share["run-at-once"] == 0
        assert share["static-greenest"] == pytest.approx(75 / 87.5)
        assert share["lowtide"] == pytest.approx(1)

    def test_delays_are_those_reckoned_by_hand(self, whole: dict[str, Any]) -> None:
        """From 08:00, 14:00 and 20:00 to 02:00, or to 03:00, which is as clean."""
        delay = whole["policies"]["lowtide"]["delay_s"]
        assert delay["mean"] == pytest.approx((18 + 12 + 6) / 3 * 3600)
        assert delay["p95"] == pytest.approx(18 * 3600)
        assert whole["policies"]["run-at-once"]["delay_s"] == {"mean": 0, "p95": 0}

    def test_without_a_baseline_nothing_is_compared(self, folder: Path) -> None:
        """Null where a figure is unknown."""
        found = figures(folder, "--policies", "lowtide")["policies"]
        assert list(found) == ["lowtide"]
        assert found["lowtide"]["carbon_below_baseline_percent"]["average"] is None
        assert found["lowtide"]["share_of_optimum"] is None


class TestOverrides:
    def test_policies_and_period(self, folder: Path) -> None:
        """Only what was asked for, in that order."""
        chosen = ("--policies", "cheapest, run-at-once", "--period", "2022-03-02/2022-03-03")
        data = figures(folder, *chosen)
        assert (list(data["policies"]), data["jobs"]) == (["cheapest", "run-at-once"], 3)

    def test_set_reaches_every_field(self, folder: Path) -> None:
        """By its dotted key; a region has its own colon."""
        closed = ("--set", "regions.aws:eu-west-3.on_demand_vcpus=0", "--set", "name=closed")
        data = figures(folder, *closed, "--policies", "run-at-once,static-greenest")
        assert data["scenario"] == "closed"
        below = data["policies"]["static-greenest"]["carbon_below_baseline_percent"]
        assert below["average"] == pytest.approx(0)

    @pytest.mark.parametrize("signal", ["", "average="])
    def test_a_trace_is_relative_to_where_the_command_runs(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str
    ) -> None:
        """Not to the scenario; the average signal's, unless it says."""
        (tmp_path / "other.csv").write_text(grid(germany=200))
        monkeypatch.chdir(tmp_path)
        chosen = ("--trace", f"{signal}other.csv", "--policies", "run-at-once,static-greenest")
        below = figures(folder, *chosen)["policies"]["static-greenest"]
        assert below["carbon_below_baseline_percent"]["average"] == pytest.approx(50)

    def test_a_trace_of_the_other_signal(self, folder: Path, tmp_path: Path) -> None:
        """Then no figure rests on a published mean."""
        (tmp_path / "other.csv").write_text(grid(germany=200))
        chosen = ("--trace", f"marginal={tmp_path / 'other.csv'}")
        data = figures(folder, *chosen, "--policies", "run-at-once,static-greenest")
        assert data["published_means"] == []
        below = data["policies"]["static-greenest"]["carbon_below_baseline_percent"]
        assert (below["average"], below["marginal"]) == pytest.approx((75, 50))


class TestTables:
    def test_they_fit_and_tell_all(self, folder: Path) -> None:
        """Two tables within 80 columns, every policy in both."""
        done = backtest(folder)
        assert done.exit_code == 0, done.output
        rows = [line for line in done.stdout.splitlines() if line.split(" ")[0] in set(RuleName)]
        tables = [line for line in rows if not re.match(r"\S+ (is|emits|was) ", line)]
        assert len(tables) == 2 * len(RuleName)
        assert max(map(len, tables)) <= 80
        assert "…" not in done.stdout
        [books, service] = (line for line in tables if line.startswith("lowtide "))
        assert books.split()[2:4] == ["87.5", "%"]
        assert service.split()[1:5] == ["12", "100.0", "%", "12.0"]

    def test_notes_tell_what_figures_rest_on(self, folder: Path) -> None:
        """Signal, forecast, jobs, period, published means, the optimum's exactness."""
        told = backtest(folder, "--policies", "run-at-once,optimum").stdout
        for words in (
            "12 jobs submitted from 2022-03-02 to 2022-03-06",
            "steered by the average signal, forecasts: perfect",
            "The marginal figures rest on published annual means",
            "optimum is exact",
        ):
            assert words in told

    def test_it_says_so_where_the_simple_rule_does_better(self, folder: Path) -> None:
        """With all weight on cost, the greenest region emits less."""
        chosen = ("--set", "weights={carbon: 0, cost: 1}", "--policies", "lowtide,static-greenest")
        assert "static-greenest emits less than lowtide here by the average" in (
            backtest(folder, *chosen).stdout
        )
        assert "emits less than lowtide here by the average" not in (
            backtest(folder, "--policies", "lowtide,static-greenest").stdout
        )


BAD = {
    "no such policy": (("--policies", "lowtide,greenest"), "policies.1: 'greenest'"),
    "a policy twice": (("--policies", "lowtide,lowtide"), "policies once"),
    "no such field": (("--set", "weigths.carbon=1"), "perhaps weights"),
    "no value": (("--set", "weights.carbon"), "KEY=VALUE"),
    "a value out of range": (("--set", "weights.carbon=-1"), "weights.carbon: -1"),
    "a period backwards": (("--period", "2022-03-06/2022-03-02"), "START before END"),
    "a period without end": (("--period", "2022-03-06"), "START/END"),
    "a period beyond the trace": (("--period", "2022-03-02/2023-01-01"), "grid.csv covers"),
    "no such trace": (("--trace", "absent.csv"), "traces.average: "),
    "a page in no folder": (("--html", "{folder}/none/x.html"), "--html: {folder}/none/x.html"),
    "a page over a folder": (("--html", "{folder}"), "--html: {folder} is not allowed"),
}


class TestBadInput:
    @pytest.mark.parametrize("name", BAD)
    def test_it_is_told_in_one_line(self, folder: Path, name: str) -> None:
        """Exit code 2; field, value and remedy; nothing done."""
        arguments, told = BAD[name]
        before = sorted(folder.iterdir())
        done = backtest(folder, *(item.format(folder=folder) for item in arguments))
        assert_told(done, told.format(folder=folder))
        assert sorted(folder.iterdir()) == before

    def test_a_faulty_file_is_told_in_one_line(self, tmp_path: Path) -> None:
        """Absent, no text, no YAML, and an unknown field."""
        scenario = tmp_path / "by-hand.yaml"
        assert_told(backtest(tmp_path), f"SCENARIO: {scenario}", "a readable file (No such file")
        scenario.write_bytes(b"\xff\xfe\x00")
        assert_told(backtest(tmp_path), "UTF-8 text in YAML")
        scenario.write_text("name: [")
        assert_told(backtest(tmp_path), "scenario: the text at line", "well-formed YAML")
        scenario.write_text(SCENARIO + "regoins: {}\n")
        assert_told(backtest(tmp_path), "regoins: a mapping is not allowed", "perhaps regions")


def assert_told(done: Result, *told: str) -> None:
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    for words in told:
        assert words in line


class Page(HTMLParser):
    """What a browser would fetch, and what a screen reader would tell of the pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures: list[str] = []
        self.rows: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "svg" and "role" in found:
            self.pictures.append(found["aria-label"] or "")
        self.fetched += [
            value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}
        ]


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of three policies."""
    file = tmp_path_factory.mktemp("page") / "out.html"
    names = "run-at-once,static-greenest,lowtide,optimum"
    done = backtest(folder, "--html", str(file), "--policies", names)
    assert done.exit_code == 0, done.output
    assert f"Report: {file}" in done.stdout
    return file.read_text(encoding="utf-8")


class TestThePage:
    def test_it_opens_offline(self, page: str) -> None:
        """No address but the names of SVG's own."""
        assert all(target.startswith("#") for target in Page(page).fetched)
        addresses = set(re.findall(r"https?://[^\"'<>\s]+", page))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert not re.search(r"<script|<link|<img|@import|url\((?!#)", page)

    def test_each_chart_is_told_in_words(self, page: str) -> None:
        """Savings, dial, heat maps, delays: with figures, both signals."""
        savings, dial, heat, delays = Page(page).pictures
        assert "lowtide: carbon 87.5 % average" in savings
        assert "marginal" in savings
        assert "run-at-once" not in savings
        assert "With all weight on carbon: carbon 87.5 %" in dial
        assert "run-at-once: aws:eu-central-1 100 %; lowtide: aws:eu-west-3 100 %" in heat
        assert "lowtide: mean 12.0 h, 95 % under 18.0 h" in delays

    def test_it_has_every_figure(self, page: str) -> None:
        """Tables of books and of service, the dial as a table, and the notes."""
        assert page.count('<th scope="row">lowtide') == 2
        assert page.count(" / 0.") + page.count(" / 1.0") == 11
        assert "all 12 jobs" in page
        assert "rest on published annual means" in page

    def test_a_page_without_the_baseline_says_what_it_lacks(
        self, folder: Path, tmp_path: Path
    ) -> None:
        """And is a page."""
        file = tmp_path / "out.html"
        done = backtest(folder, "--html", str(file), "--policies", "cheapest")
        assert done.exit_code == 0, done.output
        page = file.read_text(encoding="utf-8")
        assert "run-at-once was not among the policies" in page
        assert "Neither run-at-once nor lowtide was run" in page


def job(number: int) -> BacktestJob:
    at = START + timedelta(seconds=number)
    return BacktestJob(number, at, 1, 4, 60, 60, at + timedelta(days=1), "eu", "aws:eu-west-3")


@pytest.mark.parametrize("count", [1, MOST_JOBS, MOST_JOBS + 1, 3 * MOST_JOBS + 7])
def test_the_dial_takes_all_jobs_or_blocks_of_neighbours(count: int) -> None:
    """Never one twice; from the first to the last; neighbours, so that they compete for room."""
    drawn = [job(number) for number in range(count)]
    numbers = [item.number for item in sample_of(drawn)]
    assert len(numbers) == min(count, MOST_JOBS)
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    neighbours = sum(b - a == 1 for a, b in pairwise(numbers))
    assert neighbours >= len(numbers) - MOST_JOBS // BLOCK


def test_a_terminal_sees_the_bar_and_may_interrupt() -> None:
    """The first policy's bar appears while it runs; Ctrl-C ends quietly with 130."""
    scenario = Path(__file__).parents[2] / "examples" / "backtests" / "two-weeks.yaml"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [LOWTIDE, "backtest", scenario, "--set", "jobs.generate.jobs=20000"],
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = _read_until(ours, b"run-at-once")
    assert b"0/20000" in seen
    process.send_signal(signal.SIGINT)
    rest = _read_until(ours, None)
    printed, _ = process.communicate(timeout=30)
    os.close(ours)
    assert (process.returncode, printed) == (130, b"")
    assert b"Traceback" not in seen + rest


def _read_until(terminal: int, words: bytes | None) -> bytes:
    """What a terminal shows until these words are there, or until its program has ended."""
    seen = b""
    while words is None or words not in seen:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not more:
            break
        seen += more
    return seen
