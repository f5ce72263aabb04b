"""The SQLite file behind the embedded stores: schema, connection, transactions.

Several processes use the file at once (worker, CLI), and any of them may be killed at any time.
WAL mode lets readers go on beside one writer, and after a kill the next to open finds every
transaction whole or not there.

``synchronous=NORMAL`` under WAL calls fsync at checkpoints only. Death of a process loses nothing;
loss of power, or of the operating system, may undo the newest transactions, in order and never
half (https://www.sqlite.org/pragma.html#pragma_synchronous). That is chosen: the embedded Temporal
server keeps its histories in SQLite with the same setting, so a ledger on FULL beside it would pay
an fsync for each commit and still stand beside a history that lost its newest steps.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from activities.errors import StoreVersion

BUSY_TIMEOUT_S = 30.0
"""How long a transaction waits for another process's; longer than any commit by far."""

_OPEN_RETRY_S = 0.02

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(instant: datetime) -> int:
    """Microseconds since the Unix epoch: exact, and ordered as the instants are."""
    return (instant - EPOCH) // MICROSECOND


_FIRST = """
CREATE TABLE blobs (
    sha256  TEXT PRIMARY KEY,
    content BLOB NOT NULL
);
CREATE TABLE jobs (
    job             TEXT PRIMARY KEY,
    manifest_sha256 TEXT NOT NULL REFERENCES blobs,
    execution       TEXT NOT NULL,
    first_seq       INTEGER NOT NULL,
    first_attempt   INTEGER NOT NULL,
    last_attempt    INTEGER NOT NULL,
    outcome         TEXT,
    settled         INTEGER NOT NULL,
    head_seq        INTEGER NOT NULL,
    head_hash       TEXT NOT NULL,
    rooted_seq      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX jobs_not_rooted ON jobs (job) WHERE head_seq > rooted_seq;
CREATE INDEX jobs_not_settled ON jobs (job) WHERE outcome IS NOT NULL AND settled = 0;
CREATE TABLE events (
    job  TEXT NOT NULL REFERENCES jobs,
    seq  INTEGER NOT NULL,
    kind TEXT NOT NULL,
    hash TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (job, seq)
);
CREATE TABLE roots (
    number      INTEGER PRIMARY KEY,
    recorded_at TEXT NOT NULL,
    previous    TEXT NOT NULL,
    merkle      TEXT NOT NULL,
    heads       TEXT NOT NULL
);
CREATE TABLE claims (
    job           TEXT PRIMARY KEY REFERENCES jobs,
    region        TEXT NOT NULL,
    capacity_type TEXT NOT NULL,
    first_hour    INTEGER NOT NULL,
    last_hour     INTEGER NOT NULL,
    micro_vcpus   INTEGER NOT NULL,
    gpus          INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX claims_by_expiry ON claims (expires_at);
CREATE TABLE room (
    region        TEXT NOT NULL,
    capacity_type TEXT NOT NULL,
    hour          INTEGER NOT NULL,
    micro_vcpus   INTEGER NOT NULL,
    gpus          INTEGER NOT NULL,
    PRIMARY KEY (region, capacity_type, hour)
) WITHOUT ROWID;
CREATE TABLE forecasts (
    zone      TEXT NOT NULL,
    signal    TEXT NOT NULL,
    issued_at INTEGER NOT NULL,
    body      BLOB NOT NULL,
    PRIMARY KEY (zone, signal)
) WITHOUT ROWID;
CREATE TABLE forecast_revision (revision INTEGER NOT NULL);
INSERT INTO forecast_revision VALUES (0);
CREATE TABLE observations (
    zone      TEXT NOT NULL,
    signal    TEXT NOT NULL,
    start     INTEGER NOT NULL,
    step_us   INTEGER NOT NULL,
    g_per_kwh REAL NOT NULL,
    provider  TEXT NOT NULL,
    PRIMARY KEY (zone, signal, start)
) WITHOUT ROWID;
CREATE INDEX observations_by_step ON observations (step_us)
"""

_DOCUMENTS = """
CREATE TABLE documents (
    name    TEXT PRIMARY KEY,
    content BLOB NOT NULL
) WITHOUT ROWID
"""

_CLAIMS = """
ALTER TABLE claims RENAME TO single_claims;
CREATE TABLE claims (
    job           TEXT NOT NULL REFERENCES jobs,
    number        INTEGER NOT NULL,
    region        TEXT NOT NULL,
    capacity_type TEXT NOT NULL,
    first_hour    INTEGER NOT NULL,
    last_hour     INTEGER NOT NULL,
    micro_vcpus   INTEGER NOT NULL,
    gpus          INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
INSERT INTO claims SELECT job, 0, region, capacity_type, first_hour, last_hour,
    micro_vcpus, gpus, expires_at FROM single_claims;
DROP TABLE single_claims;
CREATE INDEX claims_by_expiry ON claims (expires_at)
"""

_LAYOUTS = (_FIRST, _DOCUMENTS, _CLAIMS)
"""What each version adds to the one before it."""

SCHEMA_VERSION = len(_LAYOUTS)
"""``PRAGMA user_version`` of the files that this build reads and writes. It takes an older file
further."""


class Database:
    """One file, one connection, one transaction at a time in this process.

    A statement takes microseconds, so threads queue at a lock rather than each keep a connection
    and meet in SQLite's busy handler, which polls.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and lay out a new one.

        Raises:
            StoreVersion: a later build of Lowtide laid it out in another way.
        """
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._enter_wal()
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._lay_out(path)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements that change nothing; fetch within the block."""
        with self._lock:
            yield self._connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed whole at the end of the block, or undone by its exception."""
        with self._lock:
            # IMMEDIATE takes the write lock first: a read that turned into a write could only
            # fail, and no wait would help it.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _enter_wal(self) -> None:
        """SQLite refuses at once, without its time-out, while another process does the same."""
        give_up = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(_OPEN_RETRY_S)
            else:
                return

    def _lay_out(self, path: Path) -> None:
        with self.write() as transaction:
            [version] = transaction.execute("PRAGMA user_version").fetchone()
            if version == SCHEMA_VERSION:
                return
            if not 0 <= version < SCHEMA_VERSION:
                raise StoreVersion(path.name, version, SCHEMA_VERSION)
            for layout in _LAYOUTS[version:]:
                for statement in layout.split(";"):
                    transaction.execute(statement)
            transaction.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


class OnDatabase:
    """Base of the stores: each is the statements of one port on a database that they share."""

    def __init__(self, database: Database) -> None:
        """Hold the database."""
        self._database = database
