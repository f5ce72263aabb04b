"""``lowtide demo``: the main job, whole, in about a minute."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.live import Live

from clients.cli.live import JobsTable
from clients.cli.output import EXIT_FAILED, JsonOption, command, err, fail, out, print_json
from clients.report import JobLine, Summary, summarise, write_report
from clients.scheduler import Client, JobHandle
from domain.manifest import JobManifest, parse_manifest, resolve_deadline
from domain.messages import JobResult
from workers.wiring import POLICIES, Parts, dev_server, load_parts, running, set_up

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
    """Run twenty jobs on a replayed European grid and account for them.

    Real Temporal dev server, real processes, real SIGTERMs; the grid is a trace of 2019 in which
    one hour takes 2 s. Exit 1 if a deadline is missed or a job does not finish.
    """
    shutil.rmtree(state, ignore_errors=True)
    parts = load_parts(state_dir=state, **SETTINGS)
    async with dev_server(state) as server:
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
        raise typer.Exit(EXIT_FAILED)


def read_jobs(text: str, now: datetime) -> tuple[JobManifest, ...]:
    """The manifests of a multi-document YAML file, deadlines counted from ``now``."""
    documents = list(yaml.safe_load_all(text))
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
    with Live(console=out, refresh_per_second=4, transient=True) as screen:
        while not all(wait.done() for wait in waits.values()):
            if asyncio.get_running_loop().time() > ends:
                break
            if live:
                screen.update(await shown.render())
            await asyncio.wait(waits.values(), timeout=0.7)
        if live:
            screen.update(await shown.render())
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
    out.print()
    out.print(
        f"[bold]{summary.jobs} jobs[/], {summary.met} deadlines met, {summary.missed} missed,"
        f" {summary.unfinished} unfinished; {summary.reclaims} reclaims survived"
    )
    for label, saving in summary.savings():
        out.print(f"  {label:<18} {saving}", markup=False)
    out.print(
        f"  settled with observed intensity: {summary.settled} of {summary.jobs} jobs;"
        " reclaimed attempts charged; baseline: at once, at home"
    )
    out.print(f"  report: {report}")
    if summary.missed or summary.unfinished:
        fail("a deadline was missed or a job did not finish", EXIT_FAILED)
