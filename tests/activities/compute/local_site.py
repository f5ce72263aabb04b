"""Local compute under a test's hand: shell scripts that tell of themselves in files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

from activities.compute.local import LocalCompute, Reclaims
from activities.compute.supervisor import CLAIM, END, PROGRAM, is_held
from domain.job import RunSpec, RunState
from tests.activities.compute.held import Held
from tests.activities.compute.process_site import ProcessSite
from tests.contracts.compute_site import WITHIN_S

GRACE_S = 0.5


class LocalSite(ProcessSite):
    """A folder of runs, and one of what their programs tell."""

    def __init__(self, root: Path, reclaims: tuple[Reclaims, ...] = ()) -> None:
        self.root = root / "runs"
        self.told = root / "told"
        self.told.mkdir(parents=True)
        self.regions = ("aws:eu-north-1", "gcp:europe-west1")
        self._reclaims = reclaims
        self._workers: list[LocalCompute] = []
        self._held: list[Held] = []
        self.backend: LocalCompute = self.restarted()

    def restarted(self) -> LocalCompute:
        worker = LocalCompute(
            self.root, reclaims=self._reclaims, grace_s=GRACE_S, scan_every_s=0.02
        )
        self._workers.append(worker)
        return worker

    async def reclaim(self, spec: RunSpec) -> None:
        self.backend.reclaim(spec.region, spec.run)

    def close_queue(self) -> None:
        # As on a machine too busy to start one more process.
        self.backend._spawn = lambda _: None  # type: ignore[method-assign]

    async def submit_unanswered(self, spec: RunSpec) -> None:
        submission = asyncio.create_task(self.backend.submit(spec))
        await asyncio.sleep(0)
        submission.cancel()
        async with asyncio.timeout(WITHIN_S):
            while (await self.report(spec)).state is RunState.UNKNOWN:
                await asyncio.sleep(0.01)

    async def at_rest(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while any(self._is_starting(child.pid) for child in self._alive()):
                await asyncio.sleep(0.01)

    def folder(self, spec: RunSpec) -> Path:
        """Where a run's supervisor keeps its files."""
        return self.backend._folder(spec.region, spec.run)

    def hold_before_start(self, spec: RunSpec) -> Held:
        """Let the run's supervisor claim it and then wait, at the file of the program's output."""
        held = Held(self.folder(spec) / "stdout.log")
        self._held.append(held)
        return held

    async def claimed(self, spec: RunSpec) -> int:
        """Wait until a supervisor has the run; its pid."""
        claim = self.folder(spec) / CLAIM
        async with asyncio.timeout(WITHIN_S):
            while not claim.exists():
                await asyncio.sleep(0.01)
        return self.number(claim, "pid")

    async def group(self, spec: RunSpec) -> int:
        """Wait until the run's program is recorded; its process group."""
        program = self.folder(spec) / PROGRAM
        async with asyncio.timeout(WITHIN_S):
            while not program.exists():
                await asyncio.sleep(0.01)
        return self.number(program, "group")

    @staticmethod
    def number(file: Path, field: str) -> int:
        """A number that a run's file holds."""
        return int(json.loads(file.read_text())[field])

    def close(self) -> None:
        """End every process that a test left."""
        for program in self.root.glob(f"*/*/{PROGRAM}"):
            if is_held(program):
                os.killpg(self.number(program, "group"), signal.SIGKILL)
        for child in self._alive():
            child.kill()
            child.wait()
        for held in self._held:
            held.close()

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        return [
            child for worker in self._workers for child in worker._children if child.poll() is None
        ]

    def _is_starting(self, supervisor: int) -> bool:
        for claim in self.root.glob(f"*/*/{CLAIM}"):
            if json.loads(claim.read_text()).get("pid") == supervisor:
                folder = claim.parent
                return not ((folder / PROGRAM).exists() or (folder / END).exists())
        return True
