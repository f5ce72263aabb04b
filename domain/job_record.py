"""When a job's row is opened, found or opened again: the same rules for every store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from domain.job import Outcome
from domain.ledger import EventKind, LedgerEvent
from domain.ports import JobRecord

FIRST_SEQ = 1
"""Place of a chain's first event; what it follows, the manifest, counts as place 0."""

FIRST_ATTEMPT = 1
"""Fencing number of a job's first run."""

_KINDS_WITH_ATTEMPT = frozenset({EventKind.DISPATCH, EventKind.ATTEMPT})


def opened(job: str, manifest_sha256: str, execution: str) -> JobRecord:
    """The row of a job that is admitted for the first time."""
    return JobRecord(
        job=job,
        manifest_sha256=manifest_sha256,
        execution=execution,
        first_seq=FIRST_SEQ,
        first_attempt=FIRST_ATTEMPT,
        outcome=None,
        settled=False,
    )


def is_reopened(record: JobRecord, execution: str, *, rerun: bool) -> bool:
    """Whether ``execution`` takes the row over, or merely reads what it says."""
    if record.execution == execution:
        return False
    if record.outcome is None:
        return True
    return rerun and record.outcome is not Outcome.SUCCEEDED


def reopened(record: JobRecord, execution: str, head_seq: int, last_attempt: int) -> JobRecord:
    """The row as ``execution`` continues it: after the chain's head, above every used attempt."""
    return replace(
        record,
        execution=execution,
        first_seq=head_seq + 1,
        first_attempt=last_attempt + 1,
        outcome=None,
        settled=False,
    )


def last_attempt_of(events: Iterable[LedgerEvent]) -> int:
    """Highest fencing number that a chain's events name; 0 where nothing was dispatched.

    An execution that was cut off never told its highest number, so its events must.
    """
    return max(
        (int(event.data["attempt"]) for event in events if event.kind in _KINDS_WITH_ATTEMPT),
        default=FIRST_ATTEMPT - 1,
    )
