"""What an auditor reads, whether the ledger itself or an exported bundle holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from domain.ledger import ChainHead, Root
from domain.ports import JobRecord

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Auditable(Protocol):
    """The part of ``Ledger`` that verification and export need; ``Ledger`` has it all.

    Read in the order roots, heads, records, events, a ledger may be written meanwhile: whatever
    an answer names is there when it is looked for, since nothing is ever taken away.
    """

    def roots(self) -> tuple[Root, ...]:
        """All roots, in order."""

    def heads_since_last_root(self) -> tuple[ChainHead, ...]:
        """Heads of the chains that moved since the newest root, ordered by job."""

    def records(self) -> tuple[JobRecord, ...]:
        """All jobs' rows, ordered by job."""

    def stored_events(self, job: str) -> tuple[tuple[str, bytes], ...]:
        """(recorded hash, stored canonical bytes) of one chain, in order."""

    def blobs(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        """The contents stored under some hashes, of those that there are."""


def hashes_in(data: object) -> Iterator[str]:
    """Every hex SHA-256 that stands as a value anywhere in an event's data, in order."""
    match data:
        case str():
            if _SHA256.fullmatch(data):
                yield data
        case Mapping():
            for value in data.values():
                yield from hashes_in(value)
        case Sequence():
            for value in data:
                yield from hashes_in(value)
