"""Local compute: processes on this machine that stand in for the regions of a cloud.

Each region is a folder, each run a folder in it; nothing is isolated and the image is not used.
A run's supervisor outlives the worker, and a restarted worker adopts it by what it wrote
(``supervisor.py``). Reclaims are injected by rule, with a real SIGTERM, a grace time and SIGKILL.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from activities.compute import supervisor
from activities.compute.supervisor import CLAIM, END, PROGRAM, RECLAIM, SPEC, STOP, ended, put
from activities.errors import SpecConflict
from domain.capacity import CapacityType
from domain.job import RunReport, RunSpec, RunState
from domain.ports import ChangeBatch

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a program gets of the worker's environment: never its secrets."""

LIVE = "live"
"""Folder of a region that names the runs whose end is not told yet: all that a scan looks at, so
that its cost goes with live runs, not with all there ever were."""


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
        self,
        root: Path,
        reclaims: tuple[Reclaims, ...] = (),
        *,
        grace_s: float = 10.0,
        scan_every_s: float = 0.2,
    ) -> None:
        """Keep runs under ``root``; ``grace_s`` lies between SIGTERM and SIGKILL."""
        self._root = root.resolve()
        self._reclaims = reclaims
        self._grace_s = grace_s
        self._scan_every_s = scan_every_s
        self._children: list[subprocess.Popen[bytes]] = []
        """Supervisors that this process started. Kept only to be reaped."""
        self._spawning = threading.Lock()

    def name_in(self, region: str) -> str:
        """As watchers and ledger events name it, in every region."""
        del region
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
        """Batches of changes. A run leaves the scan once its end was told, at the next round; so
        what is in the scan is what may not have been told, and no cursor is needed.
        """
        del cursor
        told: dict[str, RunState] = {}
        while True:
            reports = await asyncio.to_thread(self._scan, region)
            yield ChangeBatch(
                tuple(item for item in reports if told.get(item.run) is not item.state), ""
            )
            told = {item.run: item.state for item in reports}
            over = [item.run for item in reports if item.state.is_final]
            await asyncio.to_thread(self._put_away, region, over)
            await asyncio.sleep(self._scan_every_s)

    # ── one run ──────────────────────────────────────────────────────────────────────────────

    def _submit(self, spec: RunSpec) -> None:
        folder, live = self._folder(spec.region, spec.run), self._live(spec.region)
        folder.mkdir(parents=True, exist_ok=True)
        wanted = self._program(spec)
        put(folder / SPEC, wanted)
        if _read(folder / SPEC)["spec"] != wanted["spec"]:
            raise SpecConflict(spec.run)
        live.mkdir(exist_ok=True)
        (live / spec.run).touch()
        if not (folder / CLAIM).exists():
            # Two supervisors of one run may start; the claim lets one of them go on.
            self._spawn(folder)

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
            "grace_s": rule.grace_s if rule else self._grace_s,
        }

    def _spawn(self, folder: Path) -> None:
        with self._spawning, (folder / "supervisor.log").open("ab") as log:
            self._children = [child for child in self._children if child.poll() is None]
            self._children.append(
                subprocess.Popen(  # noqa: S603 - our own supervisor
                    [sys.executable, "-I", supervisor.__file__, str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _terminate(self, region: str, run: str, reason: str) -> None:
        folder = self._folder(region, run)
        folder.mkdir(parents=True, exist_ok=True)
        if not put(folder / CLAIM, {"end": ended("terminated", reason)}):
            put(folder / STOP, {"reason": reason})

    def _describe(self, region: str, run: str) -> RunReport:
        folder = self._folder(region, run)
        claim = _read(folder / CLAIM)
        end = claim.get("end") or _read(folder / END)
        if claim and not end and not supervisor.is_held(folder / CLAIM):
            end = _bury(folder)
        program, spec = _read(folder / PROGRAM), _read(folder / SPEC).get("spec", {})
        if end:
            state = RunState(end["state"])
        elif program:
            state = RunState.RUNNING
        else:
            state = RunState.QUEUED if spec else RunState.UNKNOWN
        return RunReport(
            run=run,
            region=region,
            workflow_id=spec.get("workflow_id", ""),
            state=state,
            started_at=_instant(program.get("started_at")),
            ended_at=_instant(end.get("ended_at")),
            exit_code=end.get("exit_code"),
            detail=end.get("detail", ""),
        )

    # ── a region ─────────────────────────────────────────────────────────────────────────────

    def _scan(self, region: str) -> tuple[RunReport, ...]:
        try:
            runs = sorted(entry.name for entry in self._live(region).iterdir())
        except FileNotFoundError:
            return ()
        return tuple(self._describe(region, run) for run in runs)

    def _put_away(self, region: str, runs: Sequence[str]) -> None:
        for run in runs:
            (self._live(region) / run).unlink(missing_ok=True)

    def _live(self, region: str) -> Path:
        return self._folder(region, LIVE)

    def _folder(self, region: str, run: str) -> Path:
        return self._root / region.replace(":", "_") / run


def _bury(folder: Path) -> Mapping[str, Any]:
    """The end of a run whose supervisor is gone, perhaps after it wrote one; none yet while its
    program lives.

    That program is killed: nobody is left to learn its exit code, so that its work is lost, and
    nobody would keep it to ``max_runtime``.
    """
    if supervisor.end_orphan(folder):
        return {}
    put(folder / END, ended("reclaimed", "its supervisor was lost"))
    return _read(folder / END)


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return data


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
