"""An exported ledger, read back: what ``lowtide ledger verify`` needs and no store around it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from activities.errors import BundleUnreadable
from domain.export import FORM
from domain.job import Outcome
from domain.ledger import ChainHead, LedgerEvent, Root
from domain.ports import JobRecord


class ExportedLedger:
    """The reading half of the ``Ledger`` port, over the lines of ``domain.export``.

    All of it is held in memory.
    """

    def __init__(self) -> None:
        """Hold nothing yet; ``read_bundle`` fills it."""
        self._roots: list[Root] = []
        self._heads: list[ChainHead] = []
        self._records: dict[str, JobRecord] = {}
        self._events: dict[str, list[tuple[str, bytes]]] = {}
        self._blobs: dict[str, bytes] = {}

    def roots(self) -> tuple[Root, ...]:
        """All roots, in the bundle's order."""
        return tuple(self._roots)

    def heads_since_last_root(self) -> tuple[ChainHead, ...]:
        """Heads of the chains that had moved since the newest root."""
        return tuple(self._heads)

    def record(self, job: str) -> JobRecord | None:
        """One job's row."""
        return self._records.get(job)

    def records(self) -> tuple[JobRecord, ...]:
        """All jobs' rows, in the bundle's order."""
        return tuple(self._records.values())

    def events(self, job: str) -> tuple[LedgerEvent, ...]:
        """One job's chain, in the bundle's order."""
        return tuple(
            LedgerEvent.from_json(json.loads(content)) for _, content in self.stored_events(job)
        )

    def stored_events(self, job: str) -> tuple[tuple[str, bytes], ...]:
        """(recorded hash, stored canonical bytes) of one chain, in the bundle's order."""
        return tuple(self._events.get(job, ()))

    def blobs(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        """The contents brought under some hashes, of those that there are."""
        return {sha256: self._blobs[sha256] for sha256 in hashes if sha256 in self._blobs}

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a line after the first.

        Raises:
            KeyError, TypeError, ValueError: it is not of the form that ``domain.export`` writes.
        """
        add: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "root": self._add_root,
            "head": self._add_head,
            "record": self._add_record,
            "event": self._add_event,
            "blob": self._add_blob,
        }
        fields = dict(line)
        add[fields.pop("line")](fields)

    def _add_root(self, line: Mapping[str, Any]) -> None:
        recorded_at = datetime.fromisoformat(line["recorded_at"])
        heads = tuple(ChainHead(**head) for head in line["heads"])
        self._roots.append(Root(**{**line, "recorded_at": recorded_at, "heads": heads}))

    def _add_head(self, line: Mapping[str, Any]) -> None:
        self._heads.append(ChainHead(**line))

    def _add_record(self, line: Mapping[str, Any]) -> None:
        outcome = None if line["outcome"] is None else Outcome(line["outcome"])
        self._records[line["job"]] = JobRecord(**{**line, "outcome": outcome})

    def _add_event(self, line: Mapping[str, Any]) -> None:
        content = line["content"].encode(errors="surrogateescape")
        self._events.setdefault(line["job"], []).append((line["hash"], content))

    def _add_blob(self, line: Mapping[str, Any]) -> None:
        self._blobs[line["sha256"]] = base64.b64decode(line["content"], validate=True)


def read_bundle(path: Path) -> ExportedLedger:
    """Read an exported ledger.

    Raises:
        BundleUnreadable: naming file and line.
    """
    ledger = ExportedLedger()
    number = 1
    with path.open("rb") as lines:
        try:
            if json.loads(next(lines, b"null")) != {"line": "bundle", "form": FORM}:
                raise BundleUnreadable(path.name, number, f"it must name the form {FORM}")
            for number, line in enumerate(lines, start=2):  # noqa: B007 - for the error
                ledger.add(json.loads(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleUnreadable(path.name, number, str(error)) from None
    return ledger
