"""What a person reads of a job in the Temporal UI: summaries and current details."""

from __future__ import annotations

from datetime import datetime

from domain.job import Placement, SignalBasis
from domain.messages import JobStatus, OverrideRecord

MAX_SUMMARY = 200
"""Bytes that the server keeps of a summary."""

SHOWN_OVERRIDES = 10
"""How many of the last overrides current details show; the ledger has them all."""


def summary(text: str) -> str:
    """As much of a text as fits into ``MAX_SUMMARY`` bytes, with the quotes of its JSON form."""
    return text.encode()[: MAX_SUMMARY - 2].decode(errors="ignore")


def clock(instant: datetime) -> str:
    """``24 Nov 02:00:00Z``: short enough for a timer's bar, exact enough to act on."""
    return f"{instant:%d %b %H:%M:%S}Z"


def timer_summary(placement: Placement, until: datetime) -> str:
    """What a deferral's timer waits for."""
    cell = placement.cell
    if until < cell.start:
        return f"until a look at {clock(until)}; planned {cell.region} {clock(cell.start)}"
    return (
        f"until {cell.region} {cell.capacity_type.value} {clock(cell.start)}"
        f" (latest safe start {clock(placement.latest_safe_start)})"
    )


def saving(status: JobStatus) -> str | None:
    """What the placement promises against the counterfactual, on the steering signal.

    ``None`` where there is none, or for what is left of a job: the counterfactual is the whole.
    """
    placement = status.placement
    if placement is None or status.work_done_s:
        return None
    planned = placement.estimate.carbon_g(placement.basis)
    baseline = placement.counterfactual.estimate.carbon_g(placement.basis)
    if placement.basis is SignalBasis.COST_ONLY or planned is None or not baseline:
        return "no trustworthy carbon signal: chosen by cost"
    percent = 100 * (1 - planned / baseline)
    return (
        f"{planned:,.1f} g {placement.basis.value} carbon against {baseline:,.1f} g"
        f" in {placement.counterfactual.cell.region} at submission ({percent:+.0f} % saved)"
    )


def duration(seconds: float) -> str:
    """``1h30m``, as a manifest has it; below a minute in seconds."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes or not hours else "")


def chunks(status: JobStatus) -> tuple[str, ...]:
    """A line on each chunk that is planned; none of a job that runs, and ran, in one piece."""
    segments = status.placement.segments if status.placement else ()
    if status.outcome is not None or (not segments[1:] and not status.segment):
        return ()
    return tuple(
        f"{number}: {segment.cell.region} {segment.cell.capacity_type.value}"
        f" {clock(segment.cell.start)} for {duration(segment.duration_s)}"
        for number, segment in enumerate(segments, start=status.segment + 1)
    )


def work_done(status: JobStatus) -> str | None:
    """What the chunks so far have left; ``None`` before there is any."""
    if not status.segment and not status.work_done_s:
        return None
    count = f"{status.segment} chunk{'s' * (status.segment != 1)}"
    return f"{duration(status.work_done_s)} in a checkpoint, after {count}"


def override(record: OverrideRecord) -> str:
    """One line on what was asked and whether it was taken."""
    who = f" by {record.actor}" if record.actor else ""
    what = f"refused: {record.refused}" if record.refused else record.reason or "taken"
    return f"{clock(record.at)} {record.kind.value}{who}: {what}"


def cancelled_by(record: OverrideRecord) -> str:
    """Who cancelled, and why."""
    who = f" by {record.actor}" if record.actor else ""
    return f"cancelled{who}" + (f": {record.reason}" if record.reason else "")


def details(status: JobStatus, overrides: tuple[str, ...]) -> str:
    """Current details, in Markdown: where, when and why."""
    lines = [f"### {status.phase.value}" + (f": {status.outcome.value}" if status.outcome else "")]
    if status.message:
        lines.append(status.message)
    if status.placement is not None:
        cell = status.placement.cell
        lines += [
            "",
            "| | |",
            "|---|---|",
            f"| where | `{cell.region}` {cell.capacity_type.value} |",
            f"| start | {clock(cell.start)} |",
            f"| latest safe start | {clock(status.placement.latest_safe_start)} |",
            f"| deadline | {clock(status.deadline)} |",
            *([f"| promise | {promise} |"] if (promise := saving(status)) else []),
            f"| cost | ${status.placement.estimate.cost_usd:,.4f} |",
            f"| attempts | {status.attempts}, reclaims {status.reclaims},"
            f" failures {status.failures} |",
            f"| why | {status.placement.reason} |",
            *(f"| chunk | {line} |" for line in chunks(status)),
        ]
        if done := work_done(status):
            lines.append(f"| work done | {done} |")
        if status.placement.at_risk:
            lines.append("\n**At risk: even started at once, a slow run ends after the deadline.**")
    lines += [f"\n- {line}" for line in overrides]
    return "\n".join(lines)
