"""The fake Batch's containers: processes of this machine. Their image is not used.

A container's process group ends with it, as its namespace would.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.servers.batch_jobs import BatchJob, Ending

NOT_THERE = 127


class Container:
    """One program, started in a session of its own with nothing but its job's environment."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, job: BatchJob, folder: Path) -> Container:
        """Raises ``OSError`` where the command cannot be started."""
        folder.mkdir(parents=True, exist_ok=True)
        environment = {"PATH": os.environ["PATH"]} | job.environment
        with (folder / "stdout.log").open("ab") as out, (folder / "stderr.log").open("ab") as err:
            process = await asyncio.create_subprocess_exec(
                *job.command,
                env=environment,
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return cls(process)

    async def exit_code(self) -> int:
        """Wait until it ends; 128 and the number after a death by signal."""
        code = await self._process.wait()
        self._signal(signal.SIGKILL)
        return 128 - code if code < 0 else code

    async def end(self, ending: Ending) -> None:
        """SIGTERM, the grace, SIGKILL."""
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), ending.grace_s)
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """At once, when the whole server ends."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
