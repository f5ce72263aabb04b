"""The demo's live table: each job's plan, the grid now against it, and the way to the deadline."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from clients.cli.output import number, plain_table, whole
from clients.scheduler import Client, JobSummary
from domain.capacity import CapacityType
from domain.forecast import Forecast
from domain.job import Outcome, Phase
from workers.wiring import Parts

CAPTION = "now→plan: g/kWh in that region now, and as planned for the start; * on-demand"

BAR = 8

_STYLE = {
    Phase.PLANNING: "dim",
    Phase.DEFERRED: "cyan",
    Phase.DISPATCHING: "yellow",
    Phase.QUEUED: "yellow",
    Phase.RUNNING: "bold green",
    Phase.STOPPING: "red",
    Phase.FINISHED: "dim",
}


class JobsTable:
    """Renders all jobs of the demo."""

    def __init__(self, client: Client, parts: Parts) -> None:
        """Hold the list of jobs and the store of signals."""
        self._client = client
        self._parts = parts
        self._planned: dict[tuple[str, datetime], float | None] = {}
        """What was last forecast for a planned start: once it has come, no forecast tells."""

    async def render(self) -> RenderableType:
        """All jobs as of now."""
        now = datetime.now(UTC)
        forecasts = self._parts.steering_forecasts()
        found = [job async for job in self._client.list('Tenant="demo"')]
        jobs = sorted(found, key=lambda job: job.job)
        table = plain_table(_columns())
        for job in jobs:
            on_demand = "*" if job.capacity_type == CapacityType.ON_DEMAND.value else ""
            table.add_row(
                job.job.removeprefix("job-demo-"),
                Text(_phase(job), style=_STYLE.get(job.phase or Phase.PLANNING, "")),
                f"{job.region or ''}{on_demand}",
                f"{job.planned_start:%H:%M:%S}" if job.planned_start else "",
                self._carbon(job, forecasts.get(job.region or ""), now),
                _to_deadline(job, now),
            )
        title = Text(f"{now:%H:%M:%S}Z  {_counts(jobs)}", style="bold")
        return Group(title, table, Text(CAPTION, style="dim"))

    def _carbon(self, job: JobSummary, forecast: Forecast | None, now: datetime) -> str:
        """Intensity now, while the job is open, and as planned."""
        if forecast is None or job.region is None or job.planned_start is None:
            return ""
        key = (job.region, job.planned_start)
        if key not in self._planned or job.planned_start > now:
            self._planned[key] = forecast.at(max(job.planned_start, now))
        current = None if job.closed_at else forecast.at(now)
        return f"{_rounded(current):>4}→{_rounded(self._planned[key]):>4}"


def _columns() -> tuple[Column, ...]:
    """With the demo's names they take 79 columns of the terminal."""
    return (
        *(whole("job"), whole("phase"), whole("region"), whole("start")),
        *(number("now→plan"), whole("to deadline")),
    )


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _counts(jobs: list[JobSummary]) -> str:
    phases = [job.phase for job in jobs]
    return "  ".join(
        f"{phase.value} {phases.count(phase)}" for phase in Phase if phases.count(phase)
    )


def _phase(job: JobSummary) -> str:
    if job.phase is Phase.FINISHED and job.outcome is not Outcome.SUCCEEDED:
        return job.outcome.value if job.outcome else "Finished"
    return job.phase.value if job.phase else job.status


def _to_deadline(job: JobSummary, now: datetime) -> str:
    """How much of the time from submission to deadline is used, and the seconds left."""
    if job.deadline is None:
        return ""
    total = (job.deadline - job.submitted_at).total_seconds()
    left = (job.deadline - (job.closed_at or now)).total_seconds()
    used = round(BAR * min(1.0, max(0.0, 1 - left / total)))
    return f"{'█' * used}{'░' * (BAR - used)} {left:3.0f} s"
