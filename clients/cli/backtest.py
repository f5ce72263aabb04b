"""``lowtide backtest``: what placement would have saved on a recorded grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients.backtest_dial import SETTINGS, turn_dial
from clients.backtest_lines import (
    Figure,
    PolicyLine,
    amount,
    as_json,
    lines_of,
    notes,
    percent,
    span,
    what_was_run,
)
from clients.backtest_report import write_backtest
from clients.cli.output import JsonOption, err, faults_told, number, out, print_json, table, whole
from domain.backtest.build import Tables, build_case
from domain.backtest.case import Case, RuleName
from domain.backtest.result import BacktestResult, RuleResult
from domain.backtest.scenario import ANNUAL, parse_scenario
from domain.backtest.simulation import simulate
from domain.errors import InvalidInput
from domain.forecast import Signal
from workers.wiring import POLICIES, SHIPPED_FILES

SHIPPED = {f"shipped-{signal.value}": file for signal, file in SHIPPED_FILES.items()}
"""Names that stand for the traces which come with Lowtide."""

Follow = Callable[[str, int], Callable[[int], None]]
"""Opens a progress bar of so many steps; what it returns is told how many are done."""


@faults_told()
def backtest(
    scenario: Annotated[Path, typer.Argument(help="What to run: a scenario in YAML.")],
    *,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SIGNAL=]FILE",
            help="Instead of the scenario's: a CSV of time and one column a zone, of the average"
            " signal, or marginal=FILE.",
        ),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(metavar="START/END", help="When jobs are submitted: 2019-03-01/2019-06-01."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any field of the scenario: weights.carbon=0.5."
        ),
    ] = None,
    policies: Annotated[
        str | None, typer.Option(metavar="A,B", help="Which to compare: run-at-once,lowtide.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report with charts, too.")
    ] = None,
    as_document: JsonOption = False,
) -> None:
    """Show what would have been saved on a recorded grid.

    Runs a scenario's jobs under each of its policies, placed by the code that production places
    by, and compares them with running every job at once, at home, and with the best that perfect
    knowledge could do.

    Example: `lowtide backtest examples/backtests/two-weeks.yaml --html report.html` takes seconds;
    that file documents every field. More of them lie beside it.

    --trace, --period, --set and --policies override the scenario. What --set names is relative to
    the scenario's folder, as in the file.
    """
    case = read_case(scenario, trace or (), period, _overrides(settings or (), policies))
    if html is not None:
        _require_writable(html)
    with _bars(shown=err.is_terminal or not as_document) as follow:
        result = run(case, follow)
        if html is not None:
            dial = turn_dial(case, follow("weights", len(SETTINGS)))
            write_backtest(html, result, case, dial)
    if as_document:
        print_json(as_json(result, case))
        return
    _print(result, case)
    if html is not None:
        out.print(f"Report: {html}", soft_wrap=True)


def read_case(
    file: Path, traces: Iterable[str] = (), period: str | None = None, sets: Iterable[str] = ()
) -> Case:
    """The case of a scenario's file and of what overrides it.

    Raises:
        InvalidInput: the file cannot be read.
        InvalidScenario, TraceUnreadable: as ``build_case`` has it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput("SCENARIO", file, f"a readable file ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidInput("SCENARIO", file, "UTF-8 text in YAML") from None
    scenario = parse_scenario(
        text, traces=[_from_here(item) for item in traces], period=period, sets=tuple(sets)
    )
    tables = Tables(
        *((POLICIES / f"{name}.csv").read_text() for name in ("regions", "prices", "egress"))
    )
    return build_case(
        scenario,
        lambda name: SHIPPED.get(name, file.parent / name).read_bytes(),
        tables,
    )


def _from_here(trace: str) -> str:
    """A file of the command line is relative to where the command runs, not to the scenario."""
    signal, equals, file = trace.rpartition("=")
    if equals and signal not in set(Signal):
        signal, equals, file = "", "", trace
    here = file if file in {ANNUAL, *SHIPPED} else str(Path(file).absolute())
    return f"{signal}{equals}{here}"


def _overrides(settings: Iterable[str], policies: str | None) -> list[str]:
    """All that is set, ``--policies`` last."""
    return [*settings, *([] if policies is None else [f"policies=[{policies}]"])]


def _require_writable(path: Path) -> None:
    """Tell now, not after a long run. Raises ``InvalidInput``."""
    there = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        told = f"a file that can be written, in a folder that is there ({error.strerror})"
        raise InvalidInput("--html", path, told) from None
    if not there:
        path.unlink()


def run(case: Case, follow: Follow) -> BacktestResult:
    """Run every policy of the case."""
    rules = {rule: _run_one(case, rule, follow(rule.value, len(case.jobs))) for rule in case.rules}
    return BacktestResult.of(case, rules)


def _run_one(case: Case, rule: RuleName, done: Callable[[int], None]) -> RuleResult:
    if rule is RuleName.OPTIMUM:
        return _beside(lambda: _optimum(case, done))
    return simulate(case, rule, perf_counter, done)


def _optimum(case: Case, done: Callable[[int], None]) -> RuleResult:
    # Here, so that no other command loads the solver.
    from domain.backtest.optimum import optimum  # noqa: PLC0415

    return optimum(case, perf_counter, done)


def _beside(work: Callable[[], RuleResult]) -> RuleResult:
    """Do ``work`` beside the main thread, which Ctrl-C then reaches: a solver would not listen."""
    found: Future[RuleResult] = Future()

    def whole() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            found.set_exception(error)

    Thread(target=whole, daemon=True).start()
    return found.result()


@contextmanager
def _bars(*, shown: bool) -> Iterator[Follow]:
    """Progress bars on standard error."""
    columns = (
        TextColumn("{task.description:<15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=not shown) as progress:

        def follow(what: str, steps: int) -> Callable[[int], None]:
            task = progress.add_task(what, total=steps)
            return lambda done: progress.update(task, completed=done)

        yield follow


def _print(result: BacktestResult, case: Case) -> None:
    lines = lines_of(result)
    out.print(what_was_run(result, case), soft_wrap=True)
    out.print()
    table(
        f"{result.case}: carbon and cost",
        (
            *(whole("policy"), number("average kg"), number("below"), number("marginal kg")),
            *(number("below"), number("cost $"), number("below"), number("of opt.")),
        ),
        map(_books, lines),
    )
    out.print()
    table(
        f"{result.case}: service",
        (
            *(whole("policy"), number("deadlines met"), number("mean delay"), number("p95")),
            *(number("reclaims"), number("wasted"), number("decisions")),
        ),
        map(_service, lines),
        note="\n".join(notes(result, case)),
    )


def _books(line: PolicyLine) -> tuple[str | None, ...]:
    figures = (line.carbon_kg[Signal.AVERAGE], line.carbon_kg[Signal.MARGINAL], line.cost_usd)
    share = None if line.share_of_optimum is None else percent(100 * line.share_of_optimum)
    return (line.policy.value, *(cell for item in figures for cell in _pair(item)), share)


def _pair(figure: Figure) -> tuple[str | None, str | None]:
    return amount(figure.value), percent(figure.below_percent)


def _service(line: PolicyLine) -> tuple[str | None, ...]:
    speed = None if line.decisions_per_s is None else f"{line.decisions_per_s:,.0f}/s"
    return (
        line.policy.value,
        f"{line.deadlines_met:,} {percent(line.met_percent)}",
        span(line.mean_delay_s),
        span(line.p95_delay_s),
        f"{line.reclaims:,}",
        f"{amount(line.wasted_vcpu_hours)} vCPUh",
        speed,
    )
