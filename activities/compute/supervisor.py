"""The supervisor of one local run: a process of its own, so that a run outlives the worker.

Started by file path with a run's folder as its only argument, in a session of its own. All that is
known of a run stands in files of that folder, each put there whole, once, and never changed:

    spec.json       what to run
    claim           taken by one supervisor, or by a stop that came before any
    program         process group and start of the program
    end.json        what became of it
    stop, reclaim   requests to end it

Who lives holds a lock: the supervisor on ``claim``, the program on ``program``. The system frees
a lock with its last holder, however that ends, so that neither a reused pid nor a clock that was
set can pass for a life. Only the standard library: it starts in some tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SPEC, CLAIM, PROGRAM, END, STOP, RECLAIM = (
    *("spec.json", "claim", "program", "end.json"),
    *("stop", "reclaim"),
)
POLL_S = 0.05
NOT_STARTED = 127
"""Exit code of a command that cannot be started, as shells have it."""


def hold(path: Path, data: Mapping[str, Any]) -> int | None:
    """Put a file there, whole and locked from its first moment, unless there is one.

    Returns:
        The descriptor that holds the lock; ``None`` where there was a file.
    """
    file, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        with open(file, "w", closefd=False) as content:
            json.dump(data, content)
        os.link(partial, path)
    except BaseException as error:
        os.close(file)
        if isinstance(error, FileExistsError):
            return None
        raise
    finally:
        Path(partial).unlink()
    return file


def put(path: Path, data: Mapping[str, Any]) -> bool:
    """Put a file there, whole, unless there is one; whether there was none."""
    held = hold(path, data)
    if held is not None:
        os.close(held)
    return held is not None


def is_held(path: Path) -> bool:
    """Whether a process lives that holds the file."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: two that ask at once must not take each other for the holder.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def end_orphan(folder: Path) -> bool:
    """Kill what lives of a program that nobody follows any more; ``False`` once nothing does.

    What has left its process group is beyond reach, and not waited for.
    """
    if not is_held(folder / PROGRAM):
        return False
    try:
        os.killpg(json.loads((folder / PROGRAM).read_text())["group"], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def ended(state: str, detail: str = "", exit_code: int | None = None) -> dict[str, Any]:
    """What became of a run, as of now."""
    return {"state": state, "ended_at": time.time(), "exit_code": exit_code, "detail": detail}


def main(folder: Path) -> None:
    """Run the program of ``folder`` once, unless another supervisor has it or it was stopped."""
    spec = json.loads((folder / SPEC).read_text())
    if hold(folder / CLAIM, {"pid": os.getpid()}) is not None:
        put(folder / END, _run(folder, spec))


def _run(folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    try:
        program = _start(folder, spec)
    except OSError as error:
        return ended("failed", f"{error.strerror}: {error.filename}", NOT_STARTED)
    cut_off = _follow(program, folder, spec)
    # What is left of its process group ends with it, as in a container.
    _signal(program, signal.SIGKILL)
    code = program.wait()
    while end_orphan(folder):
        time.sleep(POLL_S)
    if code < 0:
        code = 128 - code  # as shells and containers tell a death by signal
    if cut_off is not None:
        state, detail = cut_off
        return ended(state, detail, code)
    return ended("failed", f"exit code {code}", code) if code else ended("succeeded", "", code)


def _start(folder: Path, spec: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    supervisor = os.getpid()

    def enter() -> None:
        """Between fork and exec: the program is never there unrecorded, or without a supervisor.

        Until exec this process holds the claim too, so that the run is not given up meanwhile.
        """
        held = hold(folder / PROGRAM, {"group": os.getpid(), "started_at": time.time()})
        assert held is not None  # noqa: S101 - whoever has the claim comes here once
        os.set_inheritable(held, True)
        if os.getppid() != supervisor:
            os._exit(NOT_STARTED)

    with (folder / "stdout.log").open("ab") as out, (folder / "stderr.log").open("ab") as err:
        return subprocess.Popen(  # noqa: S603 - the user's command is what a run is
            spec["command"],
            cwd=folder,
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            close_fds=False,  # the program's lock; all else here closes by itself
            preexec_fn=enter,  # noqa: PLW1509 - this process has one thread
        )


def _signal(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, number)


def _follow(
    program: subprocess.Popen[bytes], folder: Path, spec: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Wait for the program's end. Cut it off where it must end: state and detail of that."""
    started = time.monotonic()
    while program.poll() is None:
        cut_off = _must_end(folder, spec, time.monotonic() - started)
        if cut_off is not None:
            _signal(program, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(spec["grace_s"])
            return cut_off
        time.sleep(POLL_S)
    return None


def _must_end(folder: Path, spec: Mapping[str, Any], age_s: float) -> tuple[str, str] | None:
    if (folder / STOP).exists():
        return "terminated", json.loads((folder / STOP).read_text())["reason"]
    reclaim_after_s = spec["reclaim_after_s"]
    if (folder / RECLAIM).exists() or (reclaim_after_s is not None and age_s >= reclaim_after_s):
        return "reclaimed", "Spot capacity taken back (simulated)"
    if age_s >= spec["max_runtime_s"]:
        return "failed", f"over max_runtime ({spec['max_runtime_s']:g} s)"
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
