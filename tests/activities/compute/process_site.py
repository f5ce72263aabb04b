"""Sites whose programs are processes here: shell scripts that tell of themselves in files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from domain.job import RunSpec
from tests.contracts.compute_site import EXIT_CODE, Program, Site

SCRIPTS = {
    Program.SUCCEED: "exit 0",
    Program.FAIL: f"exit {EXIT_CODE}",
    Program.LAST: (
        'trap "touch $me.termed; exit 0" TERM; while [ ! -e $me.go ]; do sleep 0.05; done'
    ),
    Program.DEFY: 'trap "" TERM; while :; do sleep 0.05; done',
}

PREFACE = "me={told}/$LOWTIDE_JOB-$LOWTIDE_ATTEMPT; env > $me.env; echo $$ >> $me.starts; "


def group_lives(group: int) -> bool:
    """Whether a process group has a member that is no zombie."""
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


class ProcessSite(Site):
    """What all such sites know of their programs, whoever starts them."""

    told: Path
    """Where programs tell of themselves."""

    def command(self, program: Program) -> tuple[str, ...]:
        if program is Program.MISSING:
            return ("no-such-command",)
        return self.script(SCRIPTS[program])

    def script(self, script: str) -> tuple[str, ...]:
        """A shell script that tells of its start; ``$me`` begins the names of what it tells."""
        return ("sh", "-c", PREFACE.format(told=self.told) + script)

    async def let_go(self, spec: RunSpec) -> None:
        self.of(spec, "go").touch()

    def starts(self, spec: RunSpec) -> int:
        return len(self._pids(spec))

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        lines = self.of(spec, "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def lives(self, spec: RunSpec) -> bool:
        return any(group_lives(group) for group in self._pids(spec))

    def of(self, spec: RunSpec, what: str) -> Path:
        """A file in which a run's program tells something, or is told."""
        return self.told / f"{spec.workflow_id}-{spec.attempt}.{what}"

    def _pids(self, spec: RunSpec) -> list[int]:
        try:
            return [int(line) for line in self.of(spec, "starts").read_text().split()]
        except FileNotFoundError:
            return []
