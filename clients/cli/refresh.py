"""``lowtide refresh``: one refresh of the signals, without Temporal."""

from __future__ import annotations

from typing import Annotated

import typer

from clients.cli.output import EXIT_FAILED, JsonOption, command, complain, out, print_json
from workers.wiring import load_parts, refresh_once


@command
async def refresh(
    *,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing unless it failed.")] = False,
) -> None:
    """Fetch the newest carbon signals once, without Temporal.

    What the schedule in Temporal does every few minutes, for a second clock: a Kubernetes CronJob,
    cron, EventBridge. Clocks may strike at once: the same forecast is stored once.
    Exit code 1 when no forecast came at all.
    """
    report = await refresh_once(load_parts())
    if as_json:
        print_json(report)
    elif not quiet:
        out.print(f"{report.forecasts} forecasts, {report.observations} observations stored")
        for line in report.refused:
            complain(f"refused: {line}")
        if report.history:
            complain(f"history: {report.history}")
    if not report.forecasts:
        if not as_json:
            complain("no forecast came; decisions go by what is stored while it is fresh")
        raise typer.Exit(EXIT_FAILED)
