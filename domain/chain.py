"""Where a commit may stand in a job's chain: the same rules for every store."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import ChainBroken, JobOpen
from domain.job import Outcome
from domain.ledger import LedgerEvent
from domain.ports import Commit


def require_next_place(commit: Commit, head_seq: int, outcome: Outcome | None) -> None:
    """Check a new commit against its job's row.

    Raises:
        ChainBroken: its first place is not the next free one.
        JobOpen: it settles a job that was opened again.
    """
    if commit.first_seq != head_seq + 1:
        raise ChainBroken(commit.job, head_seq + 1, commit.first_seq)
    if commit.settled and outcome is None and commit.outcome is None:
        raise JobOpen(commit.job)


def first_try(
    commit: Commit, head_seq: int, there: Sequence[LedgerEvent]
) -> tuple[LedgerEvent, ...]:
    """What an earlier try of a commit left ``there``, in its places of the chain.

    Raises:
        ChainBroken: these are the events of another step.
    """
    if [event.kind for event in there] != [draft.kind for draft in commit.drafts]:
        raise ChainBroken(commit.job, head_seq + 1, commit.first_seq)
    return tuple(there)
