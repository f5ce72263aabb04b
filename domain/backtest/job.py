"""A job of a backtest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.manifest import Interruptible, JobManifest, Resources


@dataclass(frozen=True, slots=True)
class BacktestJob:
    """One deferrable job, with the time that it really takes."""

    number: int
    """Its place in the stream, which is ordered by submission."""
    submitted: datetime
    vcpus: float
    memory_gib: float
    runtime_s: float
    """Both what was expected and what it takes undisturbed."""
    p95_s: float
    """What the deadline wall reckons with."""
    deadline: datetime
    residency: str
    home_region: str
    job_class: str = "batch"
    interruptible: Interruptible | None = None

    def manifest(self) -> JobManifest:
        """What a person would have submitted."""
        runtime, p95 = timedelta(seconds=self.runtime_s), timedelta(seconds=self.p95_s)
        return JobManifest(
            name=f"job{self.number}",
            job_class=self.job_class,
            image="backtest",
            resources=Resources(vcpus=self.vcpus, memory_gib=self.memory_gib),
            deadline=self.deadline,
            runtime=runtime,
            p95_runtime=p95,
            max_runtime=p95,
            residency=self.residency,
            home_region=self.home_region,
            interruptible=self.interruptible,
        )
