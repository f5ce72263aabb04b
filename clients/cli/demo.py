"""``lowtide demo``: the main job, whole, in about a minute."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from clients.cli.dev import local_server
from clients.cli.live import JobsTable
from clients.cli.output import (
    EXIT_FAILED,
    JsonOption,
    command,
    dollars,
    err,
    fail,
    grams,
    number,
    out,
    print_json,
    table,
    text,
)
from clients.report import JobLine, Summary, Total, summarise, write_report
from clients.scheduler import Client, JobHandle
from domain.documents import read_documents
from domain.errors import InvalidInput
from domain.manifest import JobManifest, parse_manifest, resolve_deadline
from domain.messages import JobResult
from workers.wiring import POLICIES, Parts, load_parts, running, set_up

JOBS = POLICIES.parent / "examples" / "demo" / "jobs.yaml"
TRACE_HOUR_S = 2.0
TRACE_AT = "2019-06-04T04:00:00Z"
"""A Tuesday in June: solar noon and the evening peak both fall into the demo's forecast."""

END_WITHIN_S = 80.0
SETTLE_WITHIN_S = 12.0

SETTINGS = {
    "policy": POLICIES / "demo.yaml",
    "refresh_every": "2s",
    "settle_every": "2s",
    "log_level": "error",
    "trace": {"hour_s": TRACE_HOUR_S, "trace_at": TRACE_AT},
    "reclaims": [
        {"pattern": "job-demo-reclaimed-*", "attempts": 1, "after_s": 1.5, "grace_s": 1.0},
    ],
}


MADE_HERE = "made-by-lowtide-demo"
"""A file that tells a demo's state from other state of ours."""


@command
async def demo(
    *,
    state: Annotated[
        Path, typer.Option(help="Where the demo keeps its state; emptied first.")
    ] = Path(".lowtide/demo"),
    report: Annotated[
        Path | None, typer.Option(help="Where the HTML report goes; into --state when left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show it all in a minute, on a replayed grid.

    Real Temporal dev server, real processes, real SIGTERMs; the grid is a trace of 2019 in which
    one hour takes 2 s. Exit 1 if a deadline is missed or a job does not finish.
    """
    _empty(state)
    parts = load_parts(state_dir=state, **SETTINGS)
    async with local_server(state) as server:
        err.print(f"Temporal UI: {server.ui_url}/namespaces/default/workflows")
        await set_up(server.client, parts)
        async with running(server.client, parts):
            await _signals_there(parts)
            client = Client(server.client)
            jobs = await _submit(client)
            results = await _follow(client, parts, jobs, live=not as_json)
            lines = await _settled(parts, results)
    summary = summarise(lines)
    report = report or state / "report.html"
    write_report(report, summary, lines, parts.signals.forecasts())
    if as_json:
        print_json({"summary": summary.as_json(), "jobs": [line.as_json() for line in lines]})
    else:
        _print_summary(summary, report)
    if summary.missed or summary.unfinished:
        fail("a deadline was missed or a job did not finish", EXIT_FAILED)


def _empty(state: Path) -> None:
    """Start afresh, but never delete what no demo has left: not even ``lowtide dev``'s folder."""
    if state.exists() and any(state.iterdir()) and not (state / MADE_HERE).exists():
        raise InvalidInput("--state", state, "a new or empty folder, or an earlier demo's")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    (state / MADE_HERE).touch()


def read_jobs(text: str, now: datetime) -> tuple[JobManifest, ...]:
    """The manifests of a multi-document YAML file, deadlines counted from ``now``."""
    documents = read_documents(text)
    return tuple(
        parse_manifest(data | {"deadline": resolve_deadline(data["deadline"], now)})
        for data in documents
    )


async def _signals_there(parts: Parts) -> None:
    """Wait for the first refresh: a decision without signals would go by cost alone."""
    async with asyncio.timeout(20):
        while not parts.signals.forecasts():
            await asyncio.sleep(0.1)


async def _submit(client: Client) -> Sequence[JobHandle]:
    manifests = read_jobs(JOBS.read_text(), datetime.now(UTC))
    return await asyncio.gather(*(client.submit(manifest) for manifest in manifests))


async def _follow(
    client: Client, parts: Parts, jobs: Sequence[JobHandle], *, live: bool
) -> dict[str, JobResult | None]:
    """Show the jobs until all are finished, or time is up."""
    waits = {job.id: asyncio.create_task(job.wait()) for job in jobs}
    shown = JobsTable(client, parts)
    ends = asyncio.get_running_loop().time() + END_WITHIN_S
    screen = Live(console=out, refresh_per_second=4, transient=True) if live else None
    with screen or nullcontext():
        while not all(wait.done() for wait in waits.values()):
            if asyncio.get_running_loop().time() > ends:
                break
            if screen:
                screen.update(await shown.render())
            await asyncio.wait(waits.values(), timeout=0.7)
    if live:
        out.print(await shown.render())
    for wait in waits.values():
        wait.cancel()
    return {
        job: wait.result() if wait.done() and not wait.cancelled() else None
        for job, wait in waits.items()
    }


async def _settled(parts: Parts, results: dict[str, JobResult | None]) -> list[JobLine]:
    """Wait until observed intensity has replaced forecasts in every finished job's books."""
    ends = asyncio.get_running_loop().time() + SETTLE_WITHIN_S
    while parts.ledger.unsettled() and asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(0.3)
    return [JobLine.of(job, result, parts.ledger.events(job)) for job, result in results.items()]


def _print_summary(summary: Summary, report: Path) -> None:
    def row(label: str, total: Total, unit: Callable[[float | None], str | None]) -> list[object]:
        figures = (total.actual, total.counterfactual, total.saved)
        return [label, *map(unit, figures), f"{total.percent:.1f} %", total.jobs]

    out.print()
    table(
        f"{summary.jobs} jobs: {summary.met} deadlines met, {summary.missed} missed,"
        f" {summary.unfinished} unfinished; {summary.reclaims} reclaims survived",
        (
            *(text(""), number("actual"), number("baseline")),
            *(number("saved"), number("saved"), number("jobs")),
        ),
        (
            row("carbon, average", summary.average_g, grams),
            row("carbon, marginal", summary.marginal_g, grams),
            row("cost", summary.cost_usd, dollars),
        ),
        note=f"{summary.settled} of {summary.jobs} jobs settled with observed intensity, reclaimed"
        f" attempts charged.\nBaseline: each job at once, at home.\nReport: {report}",
    )
