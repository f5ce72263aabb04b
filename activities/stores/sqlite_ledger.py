"""The ledger in SQLite: jobs, chains, blobs and roots, and room taken in the same transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from activities.stores import sqlite_room
from activities.stores.sqlite_database import OnDatabase
from domain.chain import first_try, require_next_place
from domain.errors import ManifestConflict, UnknownJob
from domain.job import Outcome
from domain.job_record import is_reopened, last_attempt_of, opened, reopened
from domain.ledger import ChainHead, EventKind, LedgerEvent, Root, link
from domain.ports import Commit, JobRecord
from domain.roots import require_next

_RECORD = "job, manifest_sha256, execution, first_seq, first_attempt, outcome, settled"


@dataclass(frozen=True, slots=True)
class _Head:
    """Where a job's chain stands."""

    seq: int
    hash: str
    outcome: Outcome | None


class SqliteLedger(OnDatabase):
    """The ``Ledger`` port."""

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

    def admit(self, job: str, manifest: bytes, execution: str, *, rerun: bool) -> JobRecord:
        """Open a job's row, find it, or open it again (rules: ``domain/job_record.py``).

        Raises:
            ManifestConflict: the name is taken by a manifest of another hash.
        """
        sha256 = hashlib.sha256(manifest).hexdigest()
        with self._database.write() as transaction:
            record = _record(transaction, job)
            if record is None:
                record = opened(job, sha256, execution)
                _put_blobs(transaction, {sha256: manifest})
                _insert(transaction, record)
                return record
            if record.manifest_sha256 != sha256:
                raise ManifestConflict(job, sha256, record.manifest_sha256)
            if is_reopened(record, execution, rerun=rerun):
                record = _reopen(transaction, record, execution)
            return record

    def record(self, job: str) -> JobRecord | None:
        """One job's row."""
        with self._database.read() as connection:
            return _record(connection, job)

    def records(self) -> tuple[JobRecord, ...]:
        """All jobs' rows, ordered by job."""
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_RECORD} FROM jobs ORDER BY job").fetchall()  # noqa: S608 - a constant
        return tuple(map(_to_record, rows))

    def unsettled(self) -> tuple[str, ...]:
        """Closed jobs that have a run which no settlement follows, ordered by name."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT job FROM jobs WHERE outcome IS NOT NULL AND settled = 0 AND"
                " (SELECT MAX(seq) FROM events WHERE job = jobs.job AND kind = ?) >"
                " (SELECT IFNULL(MAX(seq), 0) FROM events WHERE job = jobs.job AND kind = ?)"
                " ORDER BY job",
                (EventKind.ATTEMPT, EventKind.SETTLEMENT),
            ).fetchall()
        return tuple(job for (job,) in rows)

    # ── chains ───────────────────────────────────────────────────────────────────────────────

    def commit(self, commit: Commit) -> tuple[LedgerEvent, ...]:
        """Apply a commit whole or not at all, and return its events.

        Raises:
            RoomTaken: a claim does not fit its limit and is not ``over_room``.
            ChainBroken: ``first_seq`` is not the next free place, nor where a first try of this
                commit put the same kinds of events.
            UnknownJob: the job was never admitted.
            JobOpen: a settlement of a job that was opened again.
        """
        with self._database.write() as transaction:
            head = _head(transaction, commit.job)
            if commit.first_seq <= head.seq:
                return first_try(commit, head.seq, _events_at_its_places(transaction, commit))
            require_next_place(commit, head.seq, head.outcome)
            events = link(commit.job, commit.first_seq, head.hash, commit.drafts)
            _put_blobs(transaction, commit.blobs)
            newest = _append(transaction, events) or head.hash
            if commit.claims:
                sqlite_room.take(transaction, commit.job, commit.claims)
            elif commit.release_room:
                sqlite_room.release(transaction, commit.job)
            transaction.execute(
                "UPDATE jobs SET head_seq = ?, head_hash = ?, outcome = IFNULL(?, outcome),"
                " last_attempt = MAX(last_attempt, ?), settled = settled OR ? WHERE job = ?",
                (
                    head.seq + len(events),
                    newest,
                    commit.outcome,
                    commit.last_attempt or 0,
                    commit.settled,
                    commit.job,
                ),
            )
            return events

    def events(self, job: str) -> tuple[LedgerEvent, ...]:
        """One job's chain, in order."""
        with self._database.read() as connection:
            return _events(connection, job)

    def stored_events(self, job: str) -> tuple[tuple[str, bytes], ...]:
        """(recorded hash, stored canonical bytes) of one chain, in order.

        As they are: bytes that someone replaced by text must fail verification, not reading.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT hash, CAST(body AS BLOB) FROM events WHERE job = ? ORDER BY seq", (job,)
            ).fetchall()
        return tuple(rows)

    # ── blobs ────────────────────────────────────────────────────────────────────────────────

    def put_blob(self, content: bytes) -> str:
        """Store content under its hex SHA-256, which is returned. Idempotent."""
        sha256 = hashlib.sha256(content).hexdigest()
        with self._database.write() as transaction:
            _put_blobs(transaction, {sha256: content})
        return sha256

    def blob(self, sha256: str) -> bytes | None:
        """The content stored under a hash."""
        return self.blobs([sha256]).get(sha256)

    def blobs(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        """The contents stored under some hashes, of those that there are."""
        with self._database.read() as connection:
            # One parameter for all of them: SQLite takes a limited number.
            rows = connection.execute(
                "SELECT sha256, CAST(content AS BLOB) FROM blobs"
                " WHERE sha256 IN (SELECT value FROM json_each(?))",
                (json.dumps(list(hashes)),),
            ).fetchall()
        return dict(rows)

    # ── roots ────────────────────────────────────────────────────────────────────────────────

    def heads_since_last_root(self) -> tuple[ChainHead, ...]:
        """Heads of the chains that moved since the newest root, ordered by job."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT job, head_seq, head_hash FROM jobs WHERE head_seq > rooted_seq ORDER BY job"
            ).fetchall()
        return tuple(ChainHead(*row) for row in rows)

    def append_root(self, root: Root) -> None:
        """Append a root. Raises ``ChainBroken`` unless it follows the newest one."""
        heads = json.dumps([(head.job, head.seq, head.hash) for head in root.heads])
        with self._database.write() as transaction:
            require_next(root, _newest_root(transaction))
            transaction.execute(
                "INSERT INTO roots VALUES (?, ?, ?, ?, ?)",
                (root.number, root.recorded_at.isoformat(), root.previous, root.merkle, heads),
            )
            transaction.executemany(
                "UPDATE jobs SET rooted_seq = ? WHERE job = ?",
                [(head.seq, head.job) for head in root.heads],
            )

    def newest_root(self) -> Root | None:
        """The root that the next one must follow."""
        with self._database.read() as connection:
            return _newest_root(connection)

    def roots(self) -> tuple[Root, ...]:
        """All roots, in order."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT * FROM roots ORDER BY number").fetchall()
        return tuple(map(_to_root, rows))


def _record(connection: sqlite3.Connection, job: str) -> JobRecord | None:
    row = connection.execute(f"SELECT {_RECORD} FROM jobs WHERE job = ?", (job,)).fetchone()  # noqa: S608 - a constant
    return None if row is None else _to_record(row)


def _to_record(row: tuple[str, str, str, int, int, str | None, int]) -> JobRecord:
    job, manifest_sha256, execution, first_seq, first_attempt, outcome, settled = row
    return JobRecord(
        job=job,
        manifest_sha256=manifest_sha256,
        execution=execution,
        first_seq=first_seq,
        first_attempt=first_attempt,
        outcome=None if outcome is None else Outcome(outcome),
        settled=bool(settled),
    )


def _insert(transaction: sqlite3.Connection, record: JobRecord) -> None:
    transaction.execute(
        "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, NULL, FALSE, ?, ?, ?)",
        (
            record.job,
            record.manifest_sha256,
            record.execution,
            record.first_seq,
            record.first_attempt,
            record.first_attempt - 1,
            record.first_seq - 1,
            record.manifest_sha256,
            record.first_seq - 1,
        ),
    )


def _reopen(transaction: sqlite3.Connection, record: JobRecord, execution: str) -> JobRecord:
    """Open a row for another execution, after all that the ones before it recorded."""
    head_seq, told = transaction.execute(
        "SELECT head_seq, last_attempt FROM jobs WHERE job = ?", (record.job,)
    ).fetchone()
    last_attempt = max(told, last_attempt_of(_events(transaction, record.job)))
    record = reopened(record, execution, head_seq, last_attempt)
    transaction.execute(
        "UPDATE jobs SET execution = ?, first_seq = ?, first_attempt = ?, last_attempt = ?,"
        " outcome = NULL, settled = FALSE WHERE job = ?",
        (execution, record.first_seq, record.first_attempt, last_attempt, record.job),
    )
    return record


def _head(transaction: sqlite3.Connection, job: str) -> _Head:
    row = transaction.execute(
        "SELECT head_seq, head_hash, outcome FROM jobs WHERE job = ?", (job,)
    ).fetchone()
    if row is None:
        raise UnknownJob(job)
    seq, newest, outcome = row
    return _Head(seq, newest, None if outcome is None else Outcome(outcome))


def _events(connection: sqlite3.Connection, job: str) -> tuple[LedgerEvent, ...]:
    rows = connection.execute("SELECT body FROM events WHERE job = ? ORDER BY seq", (job,))
    return tuple(LedgerEvent.from_json(json.loads(body)) for (body,) in rows.fetchall())


def _events_at_its_places(
    transaction: sqlite3.Connection, commit: Commit
) -> tuple[LedgerEvent, ...]:
    rows = transaction.execute(
        "SELECT body FROM events WHERE job = ? AND seq >= ? ORDER BY seq LIMIT ?",
        (commit.job, commit.first_seq, len(commit.drafts)),
    )
    return tuple(LedgerEvent.from_json(json.loads(body)) for (body,) in rows.fetchall())


def _append(transaction: sqlite3.Connection, events: tuple[LedgerEvent, ...]) -> str | None:
    """Insert events and return the newest one's hash."""
    newest = None
    for event in events:
        body = event.canonical()
        newest = hashlib.sha256(body).hexdigest()
        transaction.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
            (event.job, event.seq, event.kind, newest, body),
        )
    return newest


def _put_blobs(transaction: sqlite3.Connection, blobs: Mapping[str, bytes]) -> None:
    for sha256, content in blobs.items():
        put = transaction.execute(
            "INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING", (sha256, content)
        )
        if put.rowcount and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"blob: the content's SHA-256 is not {sha256}")


def _newest_root(connection: sqlite3.Connection) -> Root | None:
    row = connection.execute("SELECT * FROM roots ORDER BY number DESC LIMIT 1").fetchone()
    return None if row is None else _to_root(row)


def _to_root(row: tuple[int, str, str, str, str]) -> Root:
    number, recorded_at, previous, merkle, heads = row
    return Root(
        number=number,
        recorded_at=datetime.fromisoformat(recorded_at),
        previous=previous,
        merkle=merkle,
        heads=tuple(ChainHead(*head) for head in json.loads(heads)),
    )
