"""Local compute: processes on this machine that stand in for the regions of a cloud.

Each region is a folder, each run a folder in it; nothing is isolated and the image is not used.
A run's supervisor outlives the worker, and a restarted worker adopts it by what it wrote. Reclaims
are injected by rule, with a real SIGTERM, a grace time and SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from activities.compute import supervisor
from activities.compute.supervisor import CLAIM, RECLAIM, SPEC, STATUS, STOP, take_claim
from activities.errors import SpecConflict
from domain.capacity import CapacityType
from domain.job import RunReport, RunSpec, RunState
from domain.ports import ChangeBatch

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a program gets of the worker's environment: never its secrets."""

DONE = "done"
"""Folder of a region's runs whose end is known and told; never scanned again."""


@dataclass(frozen=True, slots=True)
class Reclaims:
    """Take back the first Spot runs of some jobs."""

    pattern: str
    """Shell pattern of workflow ids."""
    attempts: int
    """How many of a job's first runs."""
    after_s: float
    grace_s: float

    def hits(self, spec: RunSpec) -> bool:
        """Whether this rule takes a run back."""
        return (
            spec.capacity_type is CapacityType.SPOT
            and spec.attempt <= self.attempts
            and fnmatch.fnmatch(spec.workflow_id, self.pattern)
        )


class LocalCompute:
    """A ``ComputeBackend`` of processes."""

    def __init__(
        self, root: Path, reclaims: tuple[Reclaims, ...] = (), scan_every_s: float = 0.2
    ) -> None:
        """Keep runs under ``root``."""
        self._root = root.resolve()
        self._reclaims = reclaims
        self._scan_every_s = scan_every_s
        self._children: list[subprocess.Popen[bytes]] = []
        """Kept only to be reaped; a run does not need its worker."""

    @property
    def name(self) -> str:
        """As watchers and ledger events name it."""
        return "local"

    async def submit(self, spec: RunSpec) -> None:
        """Start a run once.

        Raises:
            SpecConflict: the name is taken by a run of another specification.
        """
        await asyncio.to_thread(self._submit, spec)

    async def describe(self, region: str, run: str) -> RunReport:
        """A run's state, by what its supervisor wrote and whether that still lives."""
        return await asyncio.to_thread(self._describe, region, run)

    async def terminate(self, region: str, run: str, reason: str) -> None:
        """Ask a run to end; what has no supervisor yet never gets one."""
        await asyncio.to_thread(self._terminate, region, run, reason)

    def reclaim(self, region: str, run: str) -> None:
        """Take a run's machine back now."""
        (self._folder(region, run) / RECLAIM).touch()

    async def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        """Batches of changes. A run whose end was told moves out of the scan at the next round,
        so that the cost goes with live runs, not with all there ever were; the cursor is empty,
        since what is left in the scan is what may not have been told.
        """
        del cursor
        told: dict[str, RunState] = {}
        while True:
            reports = await asyncio.to_thread(self._scan, region)
            changed = tuple(item for item in reports if told.get(item.run) is not item.state)
            yield ChangeBatch(changed, "")
            told = {item.run: item.state for item in reports}
            over = [item.run for item in reports if item.state.is_final]
            await asyncio.to_thread(self._put_away, region, over)
            await asyncio.sleep(self._scan_every_s)

    # ── one run ──────────────────────────────────────────────────────────────────────────────

    def _submit(self, spec: RunSpec) -> None:
        folder = self._folder(spec.region, spec.run)
        folder.mkdir(parents=True, exist_ok=True)
        if (self._region(spec.region) / DONE / spec.run).exists():
            # Over and put away, perhaps this very moment: the folder just made is nobody's.
            folder.rmdir()
            return
        wanted = self._program(spec)
        try:
            held = json.loads((folder / SPEC).read_text())
        except FileNotFoundError:
            supervisor.write_atomically(folder / SPEC, wanted)
            held = wanted
        if held["spec"] != wanted["spec"]:
            raise SpecConflict(spec.run)
        if not (folder / CLAIM).exists():
            # Two supervisors of one run may start; the claim lets one of them go on.
            self._children = [child for child in self._children if child.poll() is None]
            self._children.append(_spawn(folder))

    def _program(self, spec: RunSpec) -> dict[str, Any]:
        """What the supervisor reads."""
        rule = next((rule for rule in self._reclaims if rule.hits(spec)), None)
        base = self._root.parent / "data" / spec.workflow_id
        environment = {key: os.environ[key] for key in INHERITED if key in os.environ}
        environment |= spec.environment | {
            "LOWTIDE_JOB": spec.workflow_id,
            "LOWTIDE_ATTEMPT": str(spec.attempt),
            "LOWTIDE_REGION": spec.region,
            "LOWTIDE_CHECKPOINT_URI": (base / "checkpoint").as_uri(),
            "LOWTIDE_OUTPUT_URI": (base / "output").as_uri(),
        }
        return {
            "spec": spec.model_dump(mode="json"),
            "command": list(spec.command) or ["true"],
            "environment": environment,
            "max_runtime_s": spec.max_runtime_s,
            "reclaim_after_s": rule.after_s if rule else None,
            "grace_s": rule.grace_s if rule else 5.0,
        }

    def _terminate(self, region: str, run: str, reason: str) -> None:
        folder = self._folder(region, run)
        if (self._region(region) / DONE / run).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOP).write_text(reason)
        if take_claim(folder, {"kind": "stopped"}):
            return
        # A supervisor that is gone cannot act on the request; its program may live on.
        status = _read(folder / STATUS)
        if not _lives(_read(folder / CLAIM)) and _lives(status.get("program")):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(status["program"]["pid"]).kill()

    def _describe(self, region: str, run: str) -> RunReport:
        folder = self._folder(region, run)
        if not folder.exists():
            folder = self._region(region) / DONE / run
        claim, status = _read(folder / CLAIM), _read(folder / STATUS)
        spec = _read(folder / SPEC).get("spec", {})
        report = RunReport(
            run=run,
            region=region,
            workflow_id=spec.get("workflow_id", ""),
            state=_state(spec, claim, status),
            started_at=_instant(status.get("started_at")),
            ended_at=_instant(status.get("ended_at")),
            exit_code=status.get("exit_code"),
            detail=status.get("detail", ""),
        )
        if report.state is RunState.RECLAIMED and "ended_at" not in status:
            return report.model_copy(
                update={"ended_at": datetime.now(UTC), "detail": "its supervisor was lost"}
            )
        return report

    # ── a region ─────────────────────────────────────────────────────────────────────────────

    def _scan(self, region: str) -> tuple[RunReport, ...]:
        try:
            names = sorted(entry.name for entry in os.scandir(self._region(region)))
        except FileNotFoundError:
            return ()
        return tuple(
            report
            for name in names
            if name != DONE and (report := self._describe(region, name)).workflow_id
        )

    def _put_away(self, region: str, runs: list[str]) -> None:
        done = self._region(region) / DONE
        for run in runs:
            done.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self._folder(region, run).rename(done / run)

    def _region(self, region: str) -> Path:
        return self._root / region.replace(":", "_")

    def _folder(self, region: str, run: str) -> Path:
        return self._region(region) / run


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own supervisor
        [sys.executable, "-I", supervisor.__file__, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _state(
    spec: Mapping[str, Any], claim: Mapping[str, Any], status: Mapping[str, Any]
) -> RunState:
    if status and status["state"] != "running":
        return RunState(status["state"])
    if claim.get("kind") == "stopped":
        return RunState.TERMINATED
    if not claim:
        return RunState.QUEUED if spec else RunState.UNKNOWN
    if _lives(claim) or _lives(status.get("program")):
        return RunState.RUNNING if status else RunState.QUEUED
    return RunState.RECLAIMED


def _lives(process: Mapping[str, Any] | None) -> bool:
    """Whether this very process runs, and not another that got its pid."""
    if not process or "pid" not in process:
        return False
    try:
        found = psutil.Process(process["pid"])
        return bool(
            found.create_time() == process["created"] and found.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return data


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
