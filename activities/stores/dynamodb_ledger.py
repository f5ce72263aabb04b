"""The ledger in DynamoDB: jobs, chains, blobs and roots, and room taken in the same transaction.

A commit reads the job's row, puts the blobs that are missing, and writes row, lists, events and
days of room in one ``TransactWriteItems``. What that tells when it is cancelled decides what
follows: a row that moved is read again (and then shows the first try of this commit, or another
step), a transaction under way is waited for, an hour that is full is ``RoomTaken``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from activities.contention import tries
from activities.errors import StepTooLarge, StoreContended
from activities.stores.dynamodb_blobs import Blobs
from activities.stores.dynamodb_claims import DayChange, day_changes
from activities.stores.dynamodb_jobs import (
    JOBS,
    MOVED,
    UNSETTLED,
    JobRow,
    moved_key,
    read_list,
    read_row,
    writes,
)
from activities.stores.dynamodb_table import (
    ABSENT,
    ITEM_BYTES,
    Cancelled,
    Item,
    Put,
    Table,
    key_of,
    keyed,
)
from domain.chain import first_try, require_next_place
from domain.errors import ChainBroken, ManifestConflict, RoomTaken, UnknownJob
from domain.job_record import is_reopened, last_attempt_of, opened
from domain.ledger import ChainHead, LedgerEvent, Root, link
from domain.ports import Commit, JobRecord
from domain.roots import require_next

EVENT_BYTES = ITEM_BYTES - 10 * 1024
"""What an event's canonical form may come to. Inputs of any size belong in blobs."""

_ROOTS = "roots"
_OPEN_ROOTS = "open-roots"
"""Numbers of roots whose heads may still stand in ``MOVED``: an append that was cut short."""


class DynamoLedger:
    """The ``Ledger`` port."""

    def __init__(self, table: Table) -> None:
        """Hold the ledger's table: of one region, since its transactions reach no further."""
        self._table = table
        self._blobs = Blobs(table)

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

    def admit(self, job: str, manifest: bytes, execution: str, *, rerun: bool) -> JobRecord:
        """Open a job's row, find it, or open it again (rules: ``domain/job_record.py``).

        Four requests for a new job, one for a row that is only read.

        Raises:
            ManifestConflict: the name is taken by a manifest of another hash.
        """
        sha256 = hashlib.sha256(manifest).hexdigest()
        for _ in tries():
            row = read_row(self._table, job)
            if row is None:
                self._blobs.put({sha256: manifest})
                after = JobRow.opened(opened(job, sha256, execution))
            elif row.record.manifest_sha256 != sha256:
                raise ManifestConflict(job, sha256, row.record.manifest_sha256)
            elif is_reopened(row.record, execution, rerun=rerun):
                after = row.reopened(execution, last_attempt_of(self.events(job)))
            else:
                return row.record
            try:
                self._table.transact(writes(row, after))
            except Cancelled:
                continue
            return after.record
        raise StoreContended(self._table.name, f"the admission of {job}")

    def record(self, job: str) -> JobRecord | None:
        """One job's row. One request."""
        row = read_row(self._table, job)
        return None if row is None else row.record

    def records(self) -> tuple[JobRecord, ...]:
        """All jobs' rows, ordered by job. ``SHARDS`` requests, more beyond some 15,000 jobs."""
        rows = [JobRow.from_item(item).record for item in read_list(self._table, JOBS)]
        return tuple(sorted(rows, key=lambda record: record.job))

    def unsettled(self) -> tuple[str, ...]:
        """Closed jobs that have a run which no settlement follows, ordered by name."""
        return tuple(sorted(item["job"] for item in read_list(self._table, UNSETTLED)))

    # ── chains ───────────────────────────────────────────────────────────────────────────────

    def commit(self, commit: Commit) -> tuple[LedgerEvent, ...]:
        """Apply a commit whole or not at all, and return its events.

        Two requests, and two more where it brings a new blob (see ``Blobs.put``).

        Raises:
            RoomTaken: a claim does not fit its limit and is not ``over_room``.
            ChainBroken: ``first_seq`` is not the next free place, nor where a first try of this
                commit put the same kinds of events.
            UnknownJob: the job was never admitted.
            JobOpen: a settlement of a job that was opened again.
            StepTooLarge: the claims touch more than ``MOST_DAYS``, an event is over
                ``EVENT_BYTES``, or all of it more than a transaction takes.
            StoreContended: other transactions held the same items for too long.
        """
        for _ in tries():
            row = read_row(self._table, commit.job)
            if row is None:
                raise UnknownJob(commit.job)
            if commit.first_seq <= row.head_seq:
                return first_try(commit, row.head_seq, self._events_at_its_places(commit))
            require_next_place(commit, row.head_seq, row.record.outcome)
            events = link(commit.job, commit.first_seq, row.head_hash, commit.drafts)
            after = row.committed(commit, events)
            days = day_changes(row.held, after.held, commit.claims)
            self._blobs.put(commit.blobs)
            changes = [*writes(row, after), *map(_event_put, events)]
            try:
                self._table.transact([*changes, *(day.update() for day in days)])
            except Cancelled as cancelled:
                if cancelled.passing or cancelled.reasons[0].unmet:
                    continue
                raise _why(commit, row, days, cancelled) from None
            return events
        raise StoreContended(self._table.name, f"the commit {commit.job}/{commit.first_seq}")

    def events(self, job: str) -> tuple[LedgerEvent, ...]:
        """One job's chain, in order. One request for each MB."""
        return tuple(map(_to_event, self._table.query(_chain(job))))

    def stored_events(self, job: str) -> tuple[tuple[str, bytes], ...]:
        """(recorded hash, stored canonical bytes) of one chain, in order."""
        return tuple((item["hash"], item["body"]) for item in self._table.query(_chain(job)))

    # ── blobs ────────────────────────────────────────────────────────────────────────────────

    def put_blob(self, content: bytes) -> str:
        """Store content under its hex SHA-256, which is returned. Idempotent."""
        sha256 = hashlib.sha256(content).hexdigest()
        self._blobs.put({sha256: content})
        return sha256

    def blob(self, sha256: str) -> bytes | None:
        """The content stored under a hash. One request, unless this process holds it."""
        return self.blobs([sha256]).get(sha256)

    def blobs(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        """The contents that are there of those hashes.

        One request for 100 of them, and one for 100 further parts of those over 390 KB; none for
        what this process holds.
        """
        return self._blobs.read(hashes)

    # ── roots ────────────────────────────────────────────────────────────────────────────────

    def heads_since_last_root(self) -> tuple[ChainHead, ...]:
        """Heads of the chains that moved since the newest root, ordered by job.

        ``SHARDS`` requests and one, and more only after an append of a root was cut short.
        """
        covered = {head for root in self._open_roots() for head in root.heads}
        moved = (
            ChainHead(item["job"], item["seq"], item["hash"])
            for item in read_list(self._table, MOVED)
        )
        return tuple(sorted(set(moved) - covered, key=lambda head: head.job))

    def append_root(self, root: Root) -> None:
        """Append a root. Raises ``ChainBroken`` unless it follows the newest one.

        Root and a note that it is open are one transaction; then its heads leave ``MOVED``, 25 a
        request, and the note goes. An append that was cut short is finished by the next.
        """
        for unfinished in self._open_roots():
            self._close_root(unfinished)
        heads = json.dumps([(head.job, head.seq, head.hash) for head in root.heads]).encode()
        item = keyed(
            (_ROOTS, _place(root.number)),
            number=root.number,
            recorded_at=root.recorded_at.isoformat(),
            previous=root.previous,
            merkle=root.merkle,
            heads=self.put_blob(heads),
        )
        self._append(root, item)
        self._close_root(root)

    def newest_root(self) -> Root | None:
        """The root that the next one must follow. Two requests, and more for many heads."""
        newest = self._table.last(_ROOTS)
        return None if newest is None else self._with_heads([newest])[0]

    def roots(self) -> tuple[Root, ...]:
        """All roots, in order. One request for each MB of them and for 100 lists of heads."""
        return self._with_heads(self._table.query(_ROOTS))

    def _events_at_its_places(self, commit: Commit) -> list[LedgerEvent]:
        items = self._table.query(_chain(commit.job), _place(commit.first_seq))
        return list(map(_to_event, islice(items, len(commit.drafts))))

    def _append(self, root: Root, item: Item) -> None:
        note = keyed((_OPEN_ROOTS, _place(root.number)))
        for number in tries():
            newest = self._table.last(_ROOTS)
            if number and newest == item:
                return  # an earlier try stands: its answer was lost
            require_next(root, None if newest is None else _to_root(newest))
            try:
                self._table.transact([Put(item, ABSENT), Put(note)])
            except Cancelled:
                continue
            return
        raise StoreContended(self._table.name, f"root {root.number}")

    def _open_roots(self) -> tuple[Root, ...]:
        notes = [key_of(note) for note in self._table.query(_OPEN_ROOTS)]
        return self._with_heads(self._table.get_all((_ROOTS, place) for _, place in notes))

    def _close_root(self, root: Root) -> None:
        self._table.delete_all(map(moved_key, root.heads))
        self._table.delete_all([(_OPEN_ROOTS, _place(root.number))])

    def _with_heads(self, items: Iterable[Item]) -> tuple[Root, ...]:
        items = list(items)
        heads = self._blobs.read(item["heads"] for item in items)
        return tuple(_to_root(item, heads.get(item["heads"], b"")) for item in items)


def _why(
    commit: Commit, row: JobRow, days: Sequence[DayChange], cancelled: Cancelled
) -> ChainBroken | RoomTaken:
    """Why a commit did not go through although its job's row stood still."""
    of_days = zip(reversed(days), reversed(cancelled.reasons), strict=False)
    full = [day.taken(reason.found) for day, reason in of_days if reason.unmet]
    return full[-1] if full else ChainBroken(commit.job, row.head_seq + 1, commit.first_seq)


def _event_put(event: LedgerEvent) -> Put:
    body = event.canonical()
    if len(body) > EVENT_BYTES:
        raise StepTooLarge(f"bytes of event {event.job}/{event.seq}", len(body), EVENT_BYTES)
    digest = hashlib.sha256(body).hexdigest()
    return Put(keyed((_chain(event.job), _place(event.seq)), hash=digest, body=body), ABSENT)


def _to_event(item: Item) -> LedgerEvent:
    return LedgerEvent.from_json(json.loads(item["body"]))


def _to_root(item: Item, heads: bytes = b"") -> Root:
    """A root; without heads where their content is gone or another, which verification finds."""
    sound = hashlib.sha256(heads).hexdigest() == item["heads"]
    return Root(
        number=item["number"],
        recorded_at=datetime.fromisoformat(item["recorded_at"]),
        previous=item["previous"],
        merkle=item["merkle"],
        heads=tuple(ChainHead(*head) for head in json.loads(heads)) if sound else (),
    )


def _chain(job: str) -> str:
    return f"events#{job}"


def _place(number: int) -> str:
    """A place in a chain as a sort key."""
    return f"{number:010}"
