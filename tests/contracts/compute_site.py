"""One compute adapter's system under a test's hand: real processes, a simulated Batch or cluster.

It says which command makes a run behave in some way, and brings about what a cloud does by itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import Enum, auto

from domain.capacity import CapacityType
from domain.job import RunReport, RunSpec, RunState, run_name
from domain.ports import ChangeBatch, ComputeBackend

WITHIN_S = 30
"""Bound of every wait; a backend that needs it fails."""

EXIT_CODE = 3
"""Of programs that fail."""


class Program(Enum):
    """What a run's program does. Each start of it is counted by its site."""

    SUCCEED = auto()
    FAIL = auto()
    """End with ``EXIT_CODE``."""
    MISSING = auto()
    """A command that the image does not have."""
    LAST = auto()
    """Go on until it is let go, then succeed; end at once on SIGTERM."""
    DEFY = auto()
    """Go on, SIGTERM or not."""


class Site(ABC):
    """One adapter's system, and the adapter on it."""

    backend: ComputeBackend
    regions: tuple[str, str]
    """Two regions."""

    @abstractmethod
    def restarted(self) -> ComputeBackend:
        """Another adapter on the same system, as a restarted worker has it."""

    @abstractmethod
    def command(self, program: Program) -> tuple[str, ...]:
        """The command of a program that behaves so."""

    @abstractmethod
    async def let_go(self, spec: RunSpec) -> None:
        """Let a run of ``Program.LAST`` end by itself."""

    @abstractmethod
    async def reclaim(self, spec: RunSpec) -> None:
        """Take a run's machine back."""

    @abstractmethod
    def close_queue(self) -> None:
        """From now on runs are accepted and stay queued."""

    @abstractmethod
    async def submit_unanswered(self, spec: RunSpec) -> None:
        """Submit a run whose backend takes it, while the caller never gets the answer."""

    @abstractmethod
    async def at_rest(self) -> None:
        """Wait until whatever the system was about to start has been started or given up."""

    @abstractmethod
    def starts(self, spec: RunSpec) -> int:
        """How often the run's program was started."""

    @abstractmethod
    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        """What the run's program, once started, was given as its environment."""

    @abstractmethod
    def lives(self, spec: RunSpec) -> bool:
        """Whether any process of the run's program lives."""

    def spec(self, name: str, program: Program = Program.LAST, **changed: object) -> RunSpec:
        """A run of a job of that name."""
        job = f"job-default-{name}"
        attempt = int(str(changed.get("attempt", 1)))
        fields: dict[str, object] = {
            "run": run_name(job, segment=0, attempt=attempt),
            "workflow_id": job,
            "attempt": attempt,
            "region": self.regions[0],
            "capacity_type": CapacityType.SPOT,
            "image": "registry.example/genomics/align:1.4.2",
            "command": self.command(program),
            "environment": {},
            "vcpus": 1.0,
            "memory_gib": 2.0,
            "gpus": 0,
            "gpu_model": None,
            "max_runtime_s": 600.0,
        }
        return RunSpec.model_validate(fields | changed)

    async def report(self, spec: RunSpec) -> RunReport:
        """What the backend says of a run."""
        return await self.backend.describe(spec.region, spec.run)

    async def until(self, spec: RunSpec, state: RunState) -> RunReport:
        """Wait until a run is in ``state``; another end of it fails the test at once."""
        async with asyncio.timeout(WITHIN_S):
            while (report := await self.report(spec)).state is not state:
                assert not report.state.is_final, report
                await asyncio.sleep(0.02)
        return report

    async def started(self, spec: RunSpec) -> RunReport:
        """Submit a run and wait until its program runs."""
        await self.backend.submit(spec)
        report = await self.until(spec, RunState.RUNNING)
        async with asyncio.timeout(WITHIN_S):
            while not self.starts(spec):
                await asyncio.sleep(0.02)
        return report

    async def terminated(self, spec: RunSpec, reason: str = "cancelled by a test") -> None:
        """Ask a run to end."""
        await self.backend.terminate(spec.region, spec.run, reason)


async def told(
    watch: AsyncIterator[ChangeBatch], enough: Callable[[Sequence[RunReport]], bool]
) -> tuple[list[RunReport], str]:
    """What a watch tells until it is ``enough``, and its cursor then. The watch can go on."""
    reports: list[RunReport] = []
    async with asyncio.timeout(WITHIN_S):
        async for batch in watch:
            reports += batch.reports
            if enough(reports):
                return reports, batch.cursor
    raise AssertionError("the watch came to an end")


def tells(spec: RunSpec, state: RunState) -> Callable[[Sequence[RunReport]], bool]:
    """Whether a run was told to be in ``state``."""
    return lambda reports: any(item.run == spec.run and item.state is state for item in reports)
