"""Commits that may come after a step which was given up.

A look and a dispatch have bounded patience: their workflow goes on without an answer, and cannot
know whether their event was written. The step after them may find it at its own place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from domain.errors import ChainBroken
from domain.job import DecisionReason
from domain.ledger import Draft, EventKind, LedgerEvent
from domain.ports import Commit, Ledger


def commit_next(ledger: Ledger, commit: Commit) -> tuple[LedgerEvent, ...]:
    """Commit at its place, or past the event that a step given up left there.

    Raises:
        ChainBroken, RoomTaken, JobOpen, UnknownJob: as ``Ledger.commit``.
    """
    while True:
        try:
            return ledger.commit(commit)
        except ChainBroken:
            there = ledger.events(commit.job)[commit.first_seq - 1 :]
            if not there or not _was_given_up(there[0], commit.drafts):
                raise
        commit = replace(commit, first_seq=commit.first_seq + 1)


def _was_given_up(event: LedgerEvent, drafts: Sequence[Draft]) -> bool:
    """Whether ``event`` is of a step that the one of ``drafts`` knows it has left behind.

    One that was itself given up, and comes late, must not pass what was written in its stead: so
    a dispatch is passed only by what records the end of its attempt.
    """
    match event.kind:
        case EventKind.DECISION:
            return bool(event.data["reason"] == DecisionReason.LOOK)
        case EventKind.DISPATCH:
            return any(
                draft.kind is EventKind.ATTEMPT and draft.data["attempt"] == event.data["attempt"]
                for draft in drafts
            )
        case _:
            return False
