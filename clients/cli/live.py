"""The demo's live table: what is planned, where each job stands, the grid now against the plan."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clients.scheduler import Client, JobSummary
from domain.forecast import Signal
from domain.job import Outcome, Phase
from workers.wiring import Parts

COLUMNS = ("job", "phase", "region", "start", "to deadline", "plan g", "saves", "now g/kWh")

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

    async def render(self) -> Table:
        """The table as of now."""
        now = datetime.now(UTC)
        intensity = self._intensity_now(now)
        jobs = sorted([job async for job in self._client.list()], key=lambda job: job.job)
        table = Table(title=f"{now:%H:%M:%S}Z  {_counts(jobs)}", title_justify="left")
        for column in (
            "job",
            "phase",
            "region",
            "start",
            "to deadline",
            "plan g",
            "saves",
            "now g/kWh",
        ):
            table.add_column(column, no_wrap=True)
        for job in jobs:
            region = job.region or ""
            table.add_row(
                job.job.removeprefix("job-demo-"),
                Text(_phase(job), style=_STYLE.get(job.phase or Phase.PLANNING, "")),
                f"{region} {'od' if job.capacity_type == 'on_demand' else ''}",
                f"{job.planned_start:%H:%M:%S}" if job.planned_start else "",
                _progress(job, now),
                f"{job.carbon_planned_g:,.0f}" if job.carbon_planned_g is not None else "",
                _saves(job),
                f"{intensity.get(region, float('nan')):.0f}" if region in intensity else "",
            )
        return table

    def _intensity_now(self, now: datetime) -> dict[str, float]:
        """Average intensity of each region at this moment, by the newest forecast."""
        catalogue = self._parts.catalogue
        by_zone = {
            item.zone: item
            for item in self._parts.signals.forecasts()
            if item.signal is Signal.AVERAGE
        }
        found = {}
        for region in self._parts.policy.regions:
            forecast = by_zone.get(catalogue.get(region).grid_zone or "")
            if forecast is not None and forecast.start <= now < forecast.end:
                index = int((now - forecast.start).total_seconds() // forecast.step_s)
                found[region] = forecast.values[index]
        return found


def _counts(jobs: list[JobSummary]) -> str:
    phases = [job.phase for job in jobs]
    return "  ".join(
        f"{phase.value} {phases.count(phase)}" for phase in Phase if phases.count(phase)
    )


def _phase(job: JobSummary) -> str:
    if job.phase is Phase.FINISHED and job.outcome is not Outcome.SUCCEEDED:
        return job.outcome.value if job.outcome else "Finished"
    return job.phase.value if job.phase else job.status


def _saves(job: JobSummary) -> str:
    if job.carbon_planned_g is None or job.carbon_avoided_g is None:
        return ""
    baseline = job.carbon_planned_g + job.carbon_avoided_g
    return f"{100 * job.carbon_avoided_g / baseline:.0f} %" if baseline else ""


def _progress(job: JobSummary, now: datetime) -> ProgressBar | str:
    if job.deadline is None:
        return ""
    total = (job.deadline - job.submitted_at).total_seconds()
    done = ((job.closed_at or now) - job.submitted_at).total_seconds()
    return ProgressBar(total=total, completed=min(done, total), width=16)
