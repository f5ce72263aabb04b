"""Commands on jobs: submit, list, show, and the overrides."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from clients.cli.carbon_now import carbon_now
from clients.cli.output import (
    EXIT_FAILED,
    JsonOption,
    command,
    dollars,
    grams,
    moment,
    number,
    out,
    plain,
    print_json,
    table,
    text,
    whole,
)
from clients.scheduler import Client, JobSummary
from domain.errors import InvalidInput
from domain.job import Outcome
from domain.manifest import (
    MAX_FILE_BYTES,
    Deadline,
    JobManifest,
    read_manifest,
    resolve_deadline,
)
from domain.messages import JobResult, JobStatus
from workflows import narrate

Name = Annotated[str, typer.Argument(help="The job's name, or its full id (job-TENANT-NAME).")]
Tenant = Annotated[str, typer.Option(help="The tenant that the name belongs to.")]
NOW = "carbon_now_g_per_kwh"

Reason = Annotated[str, typer.Option(help="Why; it stands in the ledger.")]


def read_file(path: Path, deadline: str | None = None) -> JobManifest:
    """The manifest in a file, or on standard input for ``-``."""
    try:
        if str(path) == "-":
            text = typer.get_text_stream("stdin").read(MAX_FILE_BYTES + 1)
        else:
            with path.open(encoding="utf-8") as file:
                text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput("FILE", path, f"a readable file ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidInput("FILE", path, "UTF-8 text in YAML or JSON") from None
    return read_manifest(text, now=datetime.now(UTC), deadline=deadline)


@command
async def submit(
    file: Annotated[Path, typer.Argument(help="Manifest in YAML or JSON; - for standard input.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end.")] = False,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Run a failed or cancelled job again.")
    ] = False,
    deadline: Annotated[
        str | None,
        typer.Option(help="Instead of the file's: 2026-11-25T06:00:00Z, or +8h from now."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Submit a job and print its plan.

    The same manifest again attaches to the job that is there (a relative deadline, as +12h, makes
    it another manifest). examples/manifest.yaml documents every field. With --wait, exit 1 unless
    the job succeeds.
    """
    manifest = read_file(file, deadline)
    client = await Client.connect()
    job = await client.submit(manifest, rerun=rerun)
    if wait:
        if not as_json:
            _print_status(await job.status())
        _end(await job.wait(), as_json=as_json)
        return
    status = await job.status()
    print_json(status) if as_json else _print_status(status)


@command
async def list_jobs(
    *,
    query: Annotated[
        str, typer.Option(help='Temporal list filter, as: Phase="Deferred" AND Tenant="genomics"')
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first, with their plans.

    Phase (or outcome), place, planned start over deadline, planned carbon over what it saves
    against running at once at home, and the grid there now (where this machine has the signals).
    """
    client = await Client.connect()
    jobs = [job async for job in client.list(query, limit)]
    now = carbon_now()
    if as_json:
        print_json([plain(job) | {NOW: _now(job, now)} for job in jobs])
        return
    table(
        f"{len(jobs)} jobs",
        (
            text("job"),
            whole("phase"),
            whole("region\ncapacity"),
            whole("start\ndeadline"),
            whole("carbon\nsaved"),
            number("now\ng/kWh"),
        ),
        (
            (
                job.job.removeprefix("job-"),
                _phase(job),
                _over(job.region, job.capacity_type),
                _over(moment(job.planned_start), moment(job.deadline)),
                _over(grams(job.carbon_planned_g), _saved(job)),
                None if (current := _now(job, now)) is None else f"{current:.0f}",
            )
            for job in jobs
        ),
    )


@command
async def show(name: Name, *, tenant: Tenant = "default", as_json: JsonOption = False) -> None:
    """Show one job: where, when, why, and what was asked of it."""
    client = await Client.connect()
    status = await client.job(name, tenant).status()
    region = status.placement.cell.region if status.placement and not status.outcome else None
    current = carbon_now().get(region or "")
    if as_json:
        print_json(plain(status) | {NOW: current})
        return
    _print_status(status)
    if current is not None:
        out.print(f"  {'grid now':<18} {current:.0f} g/kWh in {region}", markup=False)


@command
async def run_now(
    name: Name, *, reason: Reason, tenant: Tenant = "default", as_json: JsonOption = False
) -> None:
    """Start a waiting job at once, in the best cell now."""
    client = await Client.connect()
    status = await client.job(name, tenant).run_now(reason, getpass.getuser())
    print_json(status) if as_json else out.print(f"{status.job}: starting now")


@command
async def cancel(
    name: Name,
    *,
    reason: Reason,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until its run has ended.")] = False,
    tenant: Tenant = "default",
    as_json: JsonOption = False,
) -> None:
    """Cancel a job; its run is stopped, and the end confirmed."""
    client = await Client.connect()
    job = client.job(name, tenant)
    status = await job.cancel(reason, getpass.getuser())
    if wait:
        result = await job.wait()
        print_json(result) if as_json else out.print(f"{result.job}: {result.message}")
        return
    print_json(status) if as_json else out.print(f"{status.job}: cancelling")


@command
async def change_deadline(
    name: Name,
    deadline: Annotated[str, typer.Argument(help="2026-11-25T06:00:00Z, or +8h from now.")],
    *,
    reason: Reason,
    tenant: Tenant = "default",
    as_json: JsonOption = False,
) -> None:
    """Give a job another deadline, and plan it again."""
    client = await Client.connect()
    status = await client.job(name, tenant).change_deadline(
        _instant(deadline), reason, getpass.getuser()
    )
    print_json(status) if as_json else _print_status(status)


def _instant(value: str) -> datetime:
    try:
        return TypeAdapter(Deadline).validate_python(resolve_deadline(value, datetime.now(UTC)))
    except ValidationError:
        allowed = "an instant with a time zone, as 2026-11-25T06:00:00Z, or +8h from now"
        raise InvalidInput("deadline", value, allowed) from None


def _phase(job: JobSummary) -> str:
    if job.phase is None:
        return job.status
    return job.outcome.value if job.outcome else job.phase.value


def _now(job: JobSummary, by_region: Mapping[str, float]) -> float | None:
    """The grid now where an open job is planned."""
    return None if job.closed_at else by_region.get(job.region or "")


def _over(above: str | None, below: str | None) -> str | None:
    return None if above is None and below is None else f"{above or '–'}\n{below or '–'}"


def _saved(job: JobSummary) -> str | None:
    if job.carbon_planned_g is None or job.carbon_avoided_g is None:
        return None
    baseline = job.carbon_planned_g + job.carbon_avoided_g
    return f"{100 * job.carbon_avoided_g / baseline:.0f} %" if baseline else None


def _print_status(status: JobStatus) -> None:
    outcome = f", {status.outcome.value}" if status.outcome else ""
    out.print(f"[bold]{status.job}[/]  {status.phase.value}{outcome}")
    lines = [("deadline", moment(status.deadline))]
    if status.placement is not None:
        cell = status.placement.cell
        lines += [
            ("where", f"{cell.region} {cell.capacity_type.value}"),
            ("start", moment(cell.start)),
            ("latest safe start", moment(status.placement.latest_safe_start)),
            *([("promise", promise)] if (promise := narrate.saving(status)) else []),
            ("cost", dollars(status.placement.estimate.cost_usd)),
            ("why", status.placement.reason),
        ]
        lines += [("chunk", line) for line in narrate.chunks(status)]
        if done := narrate.work_done(status):
            lines.append(("work done", done))
        if status.placement.at_risk:
            lines.append(("at risk", "even started at once, a slow run ends after the deadline"))
    attempts = f"{status.attempts} ({status.reclaims} reclaimed, {status.failures} failed)"
    lines.append(("attempts", attempts))
    if status.placement is None or status.message != status.placement.reason:
        lines.append(("message", status.message))
    for label, value in lines:
        out.print(f"  {label:<18} {value}", soft_wrap=True, markup=False)


def _end(result: JobResult, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        met = "deadline met" if result.deadline_met else "deadline not met"
        out.print(
            f"{result.job}: {result.outcome.value} ({met}), {result.message};"
            f" attempts {result.attempts}, reclaims {result.reclaims}",
            soft_wrap=True,
            markup=False,
        )
    if result.outcome is not Outcome.SUCCEEDED:
        raise typer.Exit(EXIT_FAILED)
