"""The supervisor of one local run: a process of its own, so that a run outlives the worker.

Started by file path with a run's folder as its only argument, in a session of its own. It takes
the run's claim (made complete, then linked: exclusive and never half-written), starts the
program in a process group of its own, and writes what becomes of it by atomic rename. Only the
standard library and psutil: it starts in a few tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

CLAIM, STATUS, SPEC, STOP, RECLAIM = "claim", "status.json", "spec.json", "stop", "reclaim"
POLL_S = 0.05


def write_atomically(path: Path, data: dict[str, Any]) -> None:
    """Replace a file whole: a reader sees the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(data))
    partial.replace(path)


def take_claim(folder: Path, owner: dict[str, Any]) -> bool:
    """Claim a run exclusively; ``False`` when it is taken."""
    partial = folder / f".claim.{os.getpid()}"
    partial.write_text(json.dumps(owner))
    try:
        os.link(partial, folder / CLAIM)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True


def identity(pid: int) -> dict[str, Any]:
    """A process by pid and start time, so that a reused pid is not taken for it."""
    return {"pid": pid, "created": psutil.Process(pid).create_time()}


def main(folder: Path) -> None:
    """Run the program of ``folder`` once, unless another supervisor has it or it was stopped."""
    spec = json.loads((folder / SPEC).read_text())
    if not take_claim(folder, {"kind": "supervisor", **identity(os.getpid())}):
        return
    started = time.time()
    status: dict[str, Any] = {"state": "running", "started_at": started}
    try:
        program = _start(folder, spec)
    except OSError as error:
        status |= {"state": "failed", "ended_at": time.time(), "exit_code": 127}
        write_atomically(
            folder / STATUS, status | {"detail": f"{error.strerror}: {error.filename}"}
        )
        return
    status["program"] = identity(program.pid)
    write_atomically(folder / STATUS, status)
    ended_as, detail = _follow(program, folder, spec, started)
    code = program.returncode
    if not ended_as:
        ended_as, detail = ("succeeded", "") if code == 0 else ("failed", f"exit code {code}")
    write_atomically(
        folder / STATUS,
        status | {"state": ended_as, "ended_at": time.time(), "exit_code": code, "detail": detail},
    )


def _start(folder: Path, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    with (folder / "stdout.log").open("ab") as out, (folder / "stderr.log").open("ab") as err:
        return subprocess.Popen(  # noqa: S603 - the user's command is what a run is
            spec["command"],
            cwd=folder,
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def _follow(
    program: subprocess.Popen[bytes], folder: Path, spec: dict[str, Any], started: float
) -> tuple[str, str]:
    """Wait for the program's end; end it on request. ("", "") when it ended by itself."""
    while program.poll() is None:
        now = time.time()
        reclaim_after = spec["reclaim_after_s"]
        if (folder / STOP).exists():
            _end(program, spec["grace_s"])
            return "terminated", (folder / STOP).read_text()
        if (folder / RECLAIM).exists() or (reclaim_after and now >= started + reclaim_after):
            _end(program, spec["grace_s"])
            return "reclaimed", "Spot capacity taken back (simulated)"
        if now >= started + spec["max_runtime_s"]:
            _end(program, spec["grace_s"])
            return "failed", f"over max_runtime ({spec['max_runtime_s']:g} s)"
        time.sleep(POLL_S)
    return "", ""


def _end(program: subprocess.Popen[bytes], grace_s: float) -> None:
    """SIGTERM to the program's group, a grace time, SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)
    try:
        program.wait(grace_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
