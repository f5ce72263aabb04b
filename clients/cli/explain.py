"""``lowtide explain``: a decision made dry, with all that it weighed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from clients.cli.jobs import read_file
from clients.cli.output import (
    JsonOption,
    command,
    dollars,
    grams,
    moment,
    number,
    out,
    print_json,
    table,
    text,
    whole,
)
from domain.admission import admit_check
from domain.job import Segment
from domain.placement import Decision, decide
from workers.wiring import inputs_for, load_parts
from workflows import narrate


@command
async def explain(
    file: Annotated[Path, typer.Argument(help="Manifest in YAML or JSON; - for standard input.")],
    *,
    deadline: Annotated[
        str | None, typer.Option(help="Instead of the file's: an instant, or +8h from now.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide without submitting; show what was cut.

    Reads the signals and the room of this machine's state folder (LOWTIDE_STATE_DIR), as a
    worker there would.
    """
    now = datetime.now(UTC)
    manifest = read_file(file, deadline)
    inputs = inputs_for(load_parts(), manifest, now)
    admit_check(manifest, inputs.world, now)
    decision = decide(inputs)
    if as_json:
        print_json(as_data(decision))
        return
    placement = decision.placement
    out.print(f"[bold]{placement.reason}[/]", soft_wrap=True)
    if len(placement.segments) > 1:
        _print_chunks(placement.segments)
    table(
        f"{decision.considered} cells, {decision.feasible} within every wall; "
        + ", ".join(f"{wall.value} cut {count}" for wall, count in decision.cuts.items() if count),
        (
            whole("region"),
            whole("capacity"),
            text("best start"),
            number("carbon"),
            number("cost"),
            number("score"),
        ),
        (
            (
                option.region,
                option.capacity_type.value,
                f"none: {option.cut_by.value}" if option.cut_by else moment(option.start),
                grams(option.carbon_g),
                dollars(option.cost_usd),
                None if option.score is None else f"{option.score:.4f}",
            )
            for option in decision.options
        ),
    )
    baseline = placement.counterfactual
    out.print(
        f"without Lowtide: {baseline.cell.region} {baseline.cell.capacity_type.value} now,"
        f" {grams(baseline.estimate.average_carbon_g) or 'unknown'} average,"
        f" {grams(baseline.estimate.marginal_carbon_g) or 'unknown'} marginal,"
        f" {dollars(baseline.estimate.cost_usd)}",
        soft_wrap=True,
    )


def _print_chunks(segments: Sequence[Segment]) -> None:
    table(
        f"{len(segments)} chunks",
        (number("chunk"), whole("region"), whole("capacity"), whole("start"), number("for")),
        (
            (
                place,
                segment.cell.region,
                segment.cell.capacity_type.value,
                moment(segment.cell.start),
                narrate.duration(segment.duration_s),
            )
            for place, segment in enumerate(segments, start=1)
        ),
    )


def as_data(decision: Decision) -> dict[str, object]:
    """The decision as JSON knows it."""
    return {
        "placement": decision.placement,
        "cells": {"considered": decision.considered, "feasible": decision.feasible},
        "cut": {wall.name.lower(): count for wall, count in decision.cuts.items()},
        "options": [
            {
                "region": option.region,
                "capacity_type": option.capacity_type.value,
                "start": option.start,
                "carbon_g": option.carbon_g,
                "cost_usd": option.cost_usd,
                "score": option.score,
                "cut_by": option.cut_by.name.lower() if option.cut_by else None,
            }
            for option in decision.options
        ],
    }
