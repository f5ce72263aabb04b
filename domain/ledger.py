"""The ledger's arithmetic: hash chains per job, Merkle roots over all chains.

An event's hash covers its canonical JSON (RFC 8785), the previous event's hash included; the
first event follows the job's manifest hash. A root covers the head of every chain that moved
since the root before it, so that a removed job breaks a root and a removed event breaks a chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import rfc8785

SCHEMA = "lowtide.ledger/1"


class EventKind(StrEnum):
    """What an event records."""

    DECISION = "decision"
    OVERRIDE = "override"
    DISPATCH = "dispatch"
    ATTEMPT = "attempt"
    """A run that ended, whatever its end."""
    COMPLETION = "completion"
    SETTLEMENT = "settlement"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a place in a chain."""

    kind: EventKind
    recorded_at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """One link of a job's chain."""

    job: str
    seq: int
    kind: EventKind
    recorded_at: datetime
    previous: str
    """Hash of the event before it, or the manifest hash for the first."""
    data: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``from_json`` is its inverse."""
        return {
            "schema": SCHEMA,
            "job": self.job,
            "seq": self.seq,
            "kind": self.kind.value,
            "recorded_at": self.recorded_at.isoformat(),
            "previous": self.previous,
            "data": dict(self.data),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LedgerEvent:
        """The event that ``as_json`` wrote."""
        return cls(
            job=data["job"],
            seq=int(data["seq"]),
            kind=EventKind(data["kind"]),
            recorded_at=datetime.fromisoformat(data["recorded_at"]),
            previous=data["previous"],
            data=data["data"],
        )

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON: the bytes that are stored and hashed."""
        return rfc8785.dumps(self.as_json())

    @property
    def hash(self) -> str:
        """Hex SHA-256 of the canonical form."""
        return hashlib.sha256(self.canonical()).hexdigest()


def link(
    job: str, first_seq: int, previous: str, drafts: Sequence[Draft]
) -> tuple[LedgerEvent, ...]:
    """Give each draft its place after ``previous``."""
    events: list[LedgerEvent] = []
    for offset, draft in enumerate(drafts):
        event = LedgerEvent(
            job=job,
            seq=first_seq + offset,
            kind=draft.kind,
            recorded_at=draft.recorded_at,
            previous=previous,
            data=draft.data,
        )
        events.append(event)
        previous = event.hash
    return tuple(events)


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest event of one job's chain."""

    job: str
    seq: int
    hash: str

    def leaf(self) -> bytes:
        """The bytes that a root covers."""
        return rfc8785.dumps({"job": self.job, "seq": self.seq, "hash": self.hash})


@dataclass(frozen=True, slots=True)
class Root:
    """A Merkle root over the heads that moved since the root before it."""

    number: int
    recorded_at: datetime
    previous: str
    """Hash of root ``number - 1``; 64 zeros for the first."""
    merkle: str
    heads: tuple[ChainHead, ...]

    @property
    def hash(self) -> str:
        """Hex SHA-256 over number, time, previous and Merkle root."""
        body: dict[str, Any] = {
            "schema": SCHEMA,
            "number": self.number,
            "recorded_at": self.recorded_at.isoformat(),
            "previous": self.previous,
            "merkle": self.merkle,
        }
        return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


FIRST_ROOT_FOLLOWS = "0" * 64


def merkle_root(leaves: Sequence[bytes]) -> str:
    """Hex Merkle tree hash of RFC 6962, section 2.1 (SHA-256, leaves and nodes told apart)."""
    return _tree_hash(leaves).hex()


def _tree_hash(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = _tree_hash(leaves[:split]), _tree_hash(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()
