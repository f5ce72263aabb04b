"""Fences in an SQLite file of their own, for workers on one machine."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

from activities.compute.aws_batch_fence import Claim, FenceRow
from activities.stores.sqlite_database import BUSY_TIMEOUT_S, EPOCH, MICROSECOND, micros

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fences (
    region      TEXT NOT NULL,
    run         TEXT NOT NULL,
    spec_sha256 TEXT NOT NULL DEFAULT '',
    queue       TEXT NOT NULL DEFAULT '',
    holder      TEXT NOT NULL DEFAULT '',
    held_until  INTEGER,
    claims      INTEGER NOT NULL DEFAULT 0,
    job_id      TEXT NOT NULL DEFAULT '',
    stop_reason TEXT NOT NULL DEFAULT '',
    stopped_at  INTEGER,
    PRIMARY KEY (region, run)
) WITHOUT ROWID
"""

_READ = """
SELECT spec_sha256, queue, holder, held_until, claims, job_id, stop_reason, stopped_at
FROM fences WHERE region = ? AND run = ?
"""

_CLAIM = """
INSERT INTO fences (region, run, spec_sha256, queue, holder, held_until, claims)
VALUES (:region, :run, :spec_sha256, :queue, :holder, :until, 1)
ON CONFLICT DO UPDATE
SET holder = excluded.holder, held_until = excluded.held_until, claims = claims + 1
WHERE spec_sha256 = excluded.spec_sha256
  AND job_id = '' AND stopped_at IS NULL
  AND (holder = excluded.holder OR held_until <= :now)
"""

_KEEP = """
UPDATE fences SET job_id = :job_id
WHERE region = :region AND run = :run AND job_id = '' AND spec_sha256 <> ''
"""

_STOP = """
INSERT INTO fences (region, run, stop_reason, stopped_at) VALUES (:region, :run, :reason, :now)
ON CONFLICT DO UPDATE
SET stop_reason = excluded.stop_reason, stopped_at = excluded.stopped_at
WHERE stopped_at IS NULL
"""


class SqliteFence:
    """A ``RunFence``. Threads and processes of one machine may share the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it."""
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        # A fence must outlive a loss of power: what it fences runs elsewhere and goes on.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def read(self, region: str, run: str) -> FenceRow | None:
        """A run's row."""
        return self.read_all(region, [run]).get(run)

    def read_all(self, region: str, runs: Collection[str]) -> Mapping[str, FenceRow]:
        """The rows of those of the runs that have one."""
        with self._lock:
            found = {run: self._connection.execute(_READ, (region, run)).fetchone() for run in runs}
        return {run: _row(columns) for run, columns in found.items() if columns}

    def claim(self, region: str, run: str, claim: Claim) -> FenceRow:
        """Take or renew the right to submit a run; returns what stands there then."""
        values: dict[str, str | int] = {
            "spec_sha256": claim.spec_sha256,
            "queue": claim.queue,
            "holder": claim.holder,
            "now": micros(claim.now),
            "until": micros(claim.until),
        }
        return self._step(region, run, _CLAIM, values)

    def keep(self, region: str, run: str, job_id: str) -> FenceRow:
        """Remember the job of a claimed run, unless one is remembered; returns what stands then."""
        return self._step(region, run, _KEEP, {"job_id": job_id})

    def stop(self, region: str, run: str, reason: str, now: datetime) -> FenceRow:
        """Mark that a run must not start; returns what stands then."""
        return self._step(region, run, _STOP, {"reason": reason, "now": micros(now)})

    def _step(
        self, region: str, run: str, statement: str, values: dict[str, str | int]
    ) -> FenceRow:
        """One transaction: a change of the run's row, and a look at what stands there then."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.execute(statement, {"region": region, "run": run} | values)
                found = self._connection.execute(_READ, (region, run)).fetchone()
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        return _row(found) if found else FenceRow()


def _row(columns: tuple[str, str, str, int | None, int, str, str, int | None]) -> FenceRow:
    spec_sha256, queue, holder, held_until, claims, job_id, stop_reason, stopped_at = columns
    return FenceRow(
        spec_sha256,
        queue,
        holder,
        _instant(held_until),
        claims,
        job_id,
        stop_reason,
        _instant(stopped_at),
    )


def _instant(number: int | None) -> datetime | None:
    return None if number is None else EPOCH + number * MICROSECOND
