"""A job's program that tells of itself: ``python -I -S cloud_job.py FOLDER SECONDS``.

It works for some seconds and commits one result under a name that must not exist yet. As long as it
lives, it holds a lock that the kernel lets go with it, however it dies: so whoever starts beside it
sees it. Each line in ``FOLDER/told`` is one thing that happened.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

TOLD, RESULTS, ALIVE = "told", "results", "alive"


def main(folder: Path, seconds: float) -> int:
    """Run once; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    job, attempt = os.environ["LOWTIDE_JOB"], int(os.environ["LOWTIDE_ATTEMPT"])
    run = {"job": job, "attempt": attempt, "region": os.environ["LOWTIDE_REGION"]}
    begun = time.time()
    mine = os.open(folder / ALIVE / f"{job}.{attempt}", os.O_CREAT | os.O_RDWR)
    is_alone = locks(mine, fcntl.LOCK_EX)
    others = [path for path in (folder / ALIVE).glob(f"{job}.*") if lives(path, mine)]
    beside = [int(path.suffix[1:]) for path in others] + [attempt] * (not is_alone)
    tell(folder, run | {"what": "began", "at": begun, "beside": beside})
    try:
        time.sleep(seconds)
        what = commit(folder, job, run)
    except SystemExit:
        tell(folder, run | {"what": "cut short", "at": time.time()})
        raise
    tell(folder, run | {"what": what, "at": time.time()})
    return 0


def commit(folder: Path, job: str, result: dict[str, object]) -> str:
    """Write the result, whole or not at all, unless one stands."""
    partial = folder / RESULTS / f".{job}.{os.getpid()}"
    partial.write_text(json.dumps(result))
    try:
        (folder / RESULTS / job).hardlink_to(partial)
    except FileExistsError:
        return "found a result"
    else:
        return "committed"
    finally:
        partial.unlink()


def lives(lock: Path, mine: int) -> bool:
    """Whether another program holds this lock."""
    file = os.open(lock, os.O_RDWR)
    try:
        return not os.path.sameopenfile(file, mine) and not locks(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def locks(file: int, kind: int) -> bool:
    """Take a lock, unless another program has it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def tell(folder: Path, line: dict[str, object]) -> None:
    """One line, written at once: other programs write to the same file."""
    with (folder / TOLD).open("ab", buffering=0) as told:
        told.write(json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
