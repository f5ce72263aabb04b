"""Processes that die at a chosen moment of a run: run with ``-m``, by tests.

spec ROOT SPEC      a worker: by SIGKILL, once the run is known and before it has a supervisor
claim ROOT SPEC     a worker that submits, and then waits to be killed
fork FOLDER         a supervisor: by SIGKILL, between fork and exec of its program
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activities.compute import supervisor
from activities.compute.local import LocalCompute
from domain.job import RunSpec


def submit(root: str, spec: str, *, die: bool) -> None:
    worker = LocalCompute(Path(root))
    if die:
        worker._spawn = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    asyncio.run(worker.submit(RunSpec.model_validate_json(spec)))
    signal.pause()


def supervise(folder: str) -> None:
    hold = supervisor.hold

    def orphaned(path: Path, data: Mapping[str, Any]) -> int | None:
        if path.name == supervisor.PROGRAM:
            parent = os.getppid()
            os.kill(parent, signal.SIGKILL)
            while os.getppid() == parent:
                pass
        return hold(path, data)

    supervisor.hold = orphaned
    supervisor.main(Path(folder))


if __name__ == "__main__":
    where, *arguments = sys.argv[1:]
    if where == "fork":
        supervise(*arguments)
    else:
        submit(*arguments, die=where == "spec")
