"""``lowtide ledger``: what auditors read, verify and take away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from clients.cli.jobs import Name, Tenant
from clients.cli.output import (
    EXIT_FAILED,
    JsonOption,
    command,
    dollars,
    err,
    grams,
    moment,
    number,
    out,
    print_json,
    table,
    text,
    whole,
)
from clients.errors import JobNotFound
from domain.export import export_lines
from domain.forecast import Signal
from domain.ledger import EventKind, LedgerEvent
from domain.manifest import workflow_id
from domain.verify import VerifyReport
from workers.wiring import load_parts, open_bundle, verify

app = typer.Typer(
    help="Show a job's chain, verify all chains, export them.",
    no_args_is_help=True,
)


@app.command("show")
@command
async def show(name: Name, *, tenant: Tenant = "default", as_json: JsonOption = False) -> None:
    """Show one job's chain of events, oldest first."""
    job = name if name.startswith("job-") else workflow_id(tenant, name)
    events = load_parts().ledger.events(job)
    if not events:
        raise JobNotFound(job)
    if as_json:
        print_json([event.as_json() | {"hash": event.hash} for event in events])
        return
    table(
        job,
        (number("seq"), whole("recorded"), whole("event"), text("what"), whole("hash")),
        (
            (
                event.seq,
                moment(event.recorded_at),
                event.kind.value,
                _what(event),
                event.hash[:12],
            )
            for event in events
        ),
    )


@app.command("verify")
@command
async def verify_ledger(
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="Verify an exported bundle instead of the store.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute chains, roots, decisions and settlements from inputs.

    Exit 1 when something does not hold; the first event that does not is named.
    """
    ledger = open_bundle(bundle) if bundle else load_parts().ledger
    report = verify(ledger)
    if as_json:
        print_json(_as_data(report))
    else:
        _print(report)
    if not report.holds:
        raise typer.Exit(EXIT_FAILED)


@app.command("export")
@command
async def export(
    file: Annotated[Path, typer.Argument(help="Where the bundle (JSON lines) goes.")],
) -> None:
    """Write chains, roots and inputs into a file for verify --bundle."""
    lines = 0
    with file.open("w", encoding="utf-8") as bundle:
        for line in export_lines(load_parts().ledger):
            bundle.write(line + "\n")
            lines += 1
    err.print(f"{lines} lines in {file}")


def _as_data(report: VerifyReport) -> dict[str, object]:
    return {
        "holds": report.holds,
        "jobs": report.jobs,
        "events": report.events,
        "roots": report.roots,
        "blobs": report.blobs,
        "recomputed": {kind.value: count for kind, count in report.recomputed.items()},
        "cannot_verify": dict(report.cannot_verify),
        "faults": [
            {"chain": item.chain, "seq": item.seq, "what": item.what} for item in report.faults
        ],
    }


def _print(report: VerifyReport) -> None:
    out.print(
        f"{report.jobs} jobs, {report.events} events, {report.roots} roots,"
        f" {report.blobs} blobs hashed"
    )
    for kind, count in report.recomputed.items():
        out.print(f"  {count} {kind.value} events recomputed from their inputs, and agree")
    for reason, count in report.cannot_verify.items():
        out.print(f"  {count} events cannot be recomputed here: {reason}", markup=False)
    for fault in report.faults:
        out.print(Text.assemble(("does not hold ", "red"), str(fault)), soft_wrap=True)
    out.print("[green]the ledger holds[/]" if report.holds else "[red]the ledger does not hold[/]")


def _what(event: LedgerEvent) -> str:
    data = event.data
    match event.kind:
        case EventKind.DECISION:
            return f"{data['reason']}: {data['placement']['reason']}"
        case EventKind.DISPATCH:
            return f"attempt {data['attempt']} to {data['cell']['region']} as {data['run']}"
        case EventKind.ATTEMPT:
            report = data["report"]
            return f"attempt {data['attempt']} {report['state']} {report['detail']}".strip()
        case EventKind.OVERRIDE:
            return f"{data['kind']} {data['refused'] or data['reason']}".strip()
        case EventKind.COMPLETION:
            return f"{data['outcome']}: {data['message']}"
        case EventKind.SETTLEMENT:
            actual, baseline = data["actual"], data["counterfactual"]
            figures = [
                f"{signal} {grams(actual[key])} against {grams(baseline[key])}"
                for signal in Signal
                if actual[key := f"{signal}_carbon_g"] is not None and baseline[key] is not None
            ]
            cost = f"{dollars(actual['cost_usd'])} against {dollars(baseline['cost_usd'])}"
            return ", ".join((*figures, cost))
        case EventKind.CORRECTION:
            return str(data)
