"""Blobs in DynamoDB: immutable content under its SHA-256, in one part or more.

An item takes 400 KB. Content beyond that is not refused but cut: the room view of a large fleet
passes it, and a job whose decision cannot be recorded could not be placed. The first part tells
how many there are and is written after the others, so that where it stands all of them do.

A blob is written before the transaction that names it. A process that dies in between leaves one
that nothing names, which is harmless; one that is named and missing would not be.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping

from activities.stores.dynamodb_table import (
    ITEM_BYTES,
    PARTITION,
    Item,
    Key,
    Table,
    key_of,
    keyed,
)

PART_BYTES = ITEM_BYTES - 10 * 1024
"""What a part holds, with room to spare for its key and count."""

HELD_BYTES = 64 * 1024 * 1024
"""Content that a process keeps: the worlds of some refreshes, which most decisions share."""


class Blobs:
    """Content by hex SHA-256. Nothing here changes or removes any.

    What a process put or read it keeps for a while, since it cannot change. To audit a table, read
    it with a process of its own.
    """

    def __init__(self, table: Table) -> None:
        """Hold the table."""
        self._table = table
        self._held = _Held(HELD_BYTES)

    def put(self, blobs: Mapping[str, bytes]) -> None:
        """Store what is not there yet.

        One request for 100 blobs tells which are missing, one writes 25 parts of them; none for
        blobs that this process holds. Two who write one blob at once write the same.

        Raises:
            ValueError: content has another hash than it is put under.
        """
        unknown = {sha256: blobs[sha256] for sha256 in blobs if self._held.get(sha256) is None}
        for sha256, content in unknown.items():
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError(f"blob: the content's SHA-256 is not {sha256}")
        firsts = [_part_key(sha256, 0) for sha256 in unknown]
        stored = {item[PARTITION] for item in self._table.get_all(firsts, [PARTITION])}
        missing = [
            list(_parts(sha256, content))
            for sha256, content in unknown.items()
            if _partition(sha256) not in stored
        ]
        self._table.put_all(part for _, *further in missing for part in further)
        self._table.put_all(first for first, *_ in missing)
        for sha256, content in unknown.items():
            self._held.add(sha256, content)

    def read(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """The content of those that are there: as stored, whatever it hashes to.

        One request for 100 blobs, and one for 100 further parts; none for what is held.
        """
        held = {sha256: self._held.get(sha256) for sha256 in hashes}
        found = {sha256: content for sha256, content in held.items() if content is not None}
        unknown = [sha256 for sha256 in held if sha256 not in found]
        firsts = self._parts_at(_part_key(sha256, 0) for sha256 in unknown)
        further = self._parts_at(
            (partition, _sort(number))
            for (partition, _), first in firsts.items()
            for number in range(1, first["parts"])
        )
        for sha256 in unknown:
            first = firsts.get(_part_key(sha256, 0))
            if first is None:
                continue
            rest = [further.get(_part_key(sha256, number)) for number in range(1, first["parts"])]
            if None not in rest:
                found[sha256] = b"".join(part["content"] for part in (first, *rest) if part)
                self._held.add(sha256, found[sha256])
        return found

    def _parts_at(self, keys: Iterable[Key]) -> dict[Key, Item]:
        return {key_of(item): item for item in self._table.get_all(keys)}


class _Held:
    """Content that this process knows to be stored; the oldest goes when it is too much."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._content: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, sha256: str) -> bytes | None:
        return self._content.get(sha256)

    def add(self, sha256: str, content: bytes) -> None:
        with self._lock:
            if sha256 not in self._content:
                self._content[sha256] = content
                self._size += len(content)
            while self._size > self._limit:
                oldest = next(iter(self._content))
                self._size -= len(self._content.pop(oldest))


def _parts(sha256: str, content: bytes) -> Iterable[Item]:
    starts = range(0, max(1, len(content)), PART_BYTES)
    for number, start in enumerate(starts):
        count = None if number else len(starts)
        piece = content[start : start + PART_BYTES]
        yield keyed(_part_key(sha256, number), content=piece, parts=count)


def _partition(sha256: str) -> str:
    return f"blob#{sha256}"


def _sort(number: int) -> str:
    return f"{number:04}"


def _part_key(sha256: str, number: int) -> Key:
    return _partition(sha256), _sort(number)
