"""A process of its own that uses a store file: run with ``-m``, by tests that kill it or race it.

chain FILE JOB           commits event after event until killed, and prints each place
race FILE PREFIX COUNT   takes room for COUNT jobs, and prints how many got it
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from pathlib import Path

from activities.stores.sqlite import SqliteStore
from domain.errors import RoomTaken
from domain.ports import Commit
from tests.contracts.room import HOUR, claim, draft

RACE_LIMIT = 50


def blob_of(job: str, seq: int) -> bytes:
    """A different blob for each event, of some pages."""
    return f"{job}/{seq} ".encode() * 2000


def chain(store: SqliteStore, job: str) -> None:
    """Commit event, blob and a moved claim together, again and again."""
    store.admit(job, job.encode(), "e1", rerun=False)
    for seq in itertools.count(len(store.events(job)) + 1):
        content = blob_of(job, seq)
        sha256 = hashlib.sha256(content).hexdigest()
        moved = claim(seq % 7 + 1, hours=range(HOUR + seq % 5, HOUR + seq % 5 + 3))
        store.commit(Commit(job, seq, (draft(),), {sha256: content}, (moved,)))
        print(seq, flush=True)  # noqa: T201 - read by the test


def race(store: SqliteStore, prefix: str, count: int, limit: int = RACE_LIMIT) -> None:
    """Take one vCPU for each job, as long as there is room."""
    took = 0
    for n in range(count):
        job = f"{prefix}-{n}"
        store.admit(job, job.encode(), "e1", rerun=False)
        try:
            store.commit(Commit(job, 1, (draft(),), claims=(claim(1, limit_vcpus=limit),)))
        except RoomTaken:
            continue
        took += 1
    print(took)  # noqa: T201 - read by the test


if __name__ == "__main__":
    what, file, name, *rest = sys.argv[1:]
    with SqliteStore(Path(file)) as opened:
        if what == "chain":
            chain(opened, name)
        else:
            race(opened, name, int(*rest))
