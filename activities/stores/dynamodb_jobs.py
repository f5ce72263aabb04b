"""A job's row in DynamoDB, and the lists that it stands in while something is still to do.

The row is written whole, on the condition that it still has the version that was read: one
condition that covers chain, outcome and room. A list is a partition of small items, each put and
taken away in the transaction that changes the row. So it is exact, it is read with strong
consistency, and reading it costs what is in it; a global secondary index would be eventually
consistent, and lag behind the row it points to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from activities.stores.dynamodb_claims import HeldRoom, held_by
from activities.stores.dynamodb_table import (
    ABSENT,
    SHARDS,
    Delete,
    Item,
    Key,
    Put,
    Table,
    Write,
    key_of,
    keyed,
    shard_of,
)
from domain.job import Outcome
from domain.job_record import FIRST_ATTEMPT, FIRST_SEQ, reopened
from domain.ledger import ChainHead, EventKind, LedgerEvent
from domain.ports import Commit, JobRecord

JOBS = "jobs"
"""All rows."""
MOVED = "moved"
"""Heads of chains that no root covers, by job and place."""
UNSETTLED = "unsettled"
"""Closed jobs that have a run which no settlement follows."""
EXPIRING = "expiring"
"""Jobs that hold room, by the claim's expiry."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """What DynamoDB holds of a job beside its events."""

    record: JobRecord
    version: int
    head_seq: int
    head_hash: str
    last_attempt: int
    """Highest fencing number that an execution told when it ended."""
    to_settle: bool
    """Whether a run has ended since the newest settlement."""
    held: tuple[HeldRoom, ...]

    @classmethod
    def opened(cls, record: JobRecord) -> JobRow:
        """The row of a job that is admitted for the first time."""
        return cls(
            record=record,
            version=1,
            head_seq=FIRST_SEQ - 1,
            head_hash=record.manifest_sha256,
            last_attempt=FIRST_ATTEMPT - 1,
            to_settle=False,
            held=(),
        )

    def reopened(self, execution: str, last_attempt: int) -> JobRow:
        """The row as another execution continues it."""
        last_attempt = max(self.last_attempt, last_attempt)
        record = reopened(self.record, execution, self.head_seq, last_attempt)
        return self._changed(record=record, last_attempt=last_attempt)

    def committed(self, commit: Commit, events: Sequence[LedgerEvent]) -> JobRow:
        """The row after a commit."""
        to_settle, held = self.to_settle, self.held
        for event in events:
            if event.kind in {EventKind.ATTEMPT, EventKind.SETTLEMENT}:
                to_settle = event.kind is EventKind.ATTEMPT
        if commit.claims:
            held = held_by(commit.claims)
        elif commit.release_room:
            held = ()
        return self._changed(
            record=replace(
                self.record,
                outcome=commit.outcome or self.record.outcome,
                settled=self.record.settled or commit.settled,
            ),
            head_seq=self.head_seq + len(events),
            head_hash=events[-1].hash if events else self.head_hash,
            last_attempt=max(self.last_attempt, commit.last_attempt or 0),
            to_settle=to_settle,
            held=held,
        )

    def without_room(self) -> JobRow:
        """The row after its room was given back."""
        return self._changed(held=())

    @property
    def expires_at(self) -> str | None:
        """When the last of its room may be given back, as ``stamp`` writes it."""
        return max((item.expires_at for item in self.held), default=None)

    def _changed(self, **fields: object) -> JobRow:
        return replace(self, version=self.version + 1, **fields)  # type: ignore[arg-type]

    def entries(self) -> dict[Key, Item]:
        """The items of the lists that the row stands in."""
        job, record = self.record.job, self.record
        items = []
        if self.head_seq >= FIRST_SEQ:
            head = ChainHead(job, self.head_seq, self.head_hash)
            items.append(keyed(moved_key(head), job=job, seq=head.seq, hash=head.hash))
        if self.to_settle and record.outcome is not None and not record.settled:
            items.append(keyed((partition_of(UNSETTLED, job), job), job=job))
        if self.expires_at is not None:
            key = partition_of(EXPIRING, job), f"{self.expires_at}#{job}"
            items.append(keyed(key, job=job))
        return {key_of(item): item for item in items}

    def as_item(self) -> Item:
        """The row's item; ``from_item`` is the inverse."""
        record = self.record
        return keyed(
            row_key(record.job),
            job=record.job,
            manifest_sha256=record.manifest_sha256,
            execution=record.execution,
            first_seq=record.first_seq,
            first_attempt=record.first_attempt,
            outcome=record.outcome,
            settled=record.settled,
            version=self.version,
            head_seq=self.head_seq,
            head_hash=self.head_hash,
            last_attempt=self.last_attempt,
            to_settle=self.to_settle,
            stretches={str(n): item.as_item() for n, item in enumerate(self.held)} or None,
        )

    @classmethod
    def from_item(cls, item: Item) -> JobRow:
        """The row that ``as_item`` wrote."""
        return cls(
            record=JobRecord(
                job=item["job"],
                manifest_sha256=item["manifest_sha256"],
                execution=item["execution"],
                first_seq=item["first_seq"],
                first_attempt=item["first_attempt"],
                outcome=Outcome(item["outcome"]) if "outcome" in item else None,
                settled=item["settled"],
            ),
            version=item["version"],
            head_seq=item["head_seq"],
            head_hash=item["head_hash"],
            last_attempt=item["last_attempt"],
            to_settle=item["to_settle"],
            held=_held(item),
        )


def _held(item: Item) -> tuple[HeldRoom, ...]:
    if "held" in item:
        # A build before this one held one stretch at most.
        return (HeldRoom.from_item(item["held"]),)
    stretches = item.get("stretches", {})
    return tuple(HeldRoom.from_item(stretches[number]) for number in sorted(stretches, key=int))


def read_row(table: Table, job: str) -> JobRow | None:
    """One job's row. One request."""
    item = table.get(row_key(job))
    return None if item is None else JobRow.from_item(item)


def read_list(table: Table, name: str, last: str = "") -> list[Item]:
    """All items of a list, or those up to a sort key. ``SHARDS`` requests, and more beyond MBs."""
    return [
        item for shard in range(SHARDS) for item in table.query(_partition(name, shard), last=last)
    ]


def writes(before: JobRow | None, after: JobRow) -> list[Write]:
    """What turns ``before`` into ``after``, lists included; the first is the row's own.

    That one is refused where the row is no longer ``before``.
    """
    if before is None:
        return [Put(after.as_item(), ABSENT)]
    row = Put(after.as_item(), "version = :read", {":read": before.version})
    old, new = before.entries(), after.entries()
    entered = [Put(item) for key, item in new.items() if key not in old]
    return [row, *entered, *(Delete(key) for key in old if key not in new)]


def row_key(job: str) -> Key:
    """Key of a job's row."""
    return partition_of(JOBS, job), job


def moved_key(head: ChainHead) -> Key:
    """Key of a head's item in ``MOVED``. Its place is in it: a chain that moves on while a root is
    made gets another item, which the root does not take away.
    """
    return partition_of(MOVED, head.job), f"{head.job}#{head.seq:010}"


def partition_of(name: str, job: str) -> str:
    """The partition of a list in which a job stands."""
    return _partition(name, shard_of(job))


def _partition(name: str, shard: int) -> str:
    return f"{name}#{shard}"
