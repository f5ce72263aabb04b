"""The result, committed once: the first attempt to write it wins, whatever comes after.

The write is conditional on there being none, so that neither two attempts at once nor one that was
given up and comes late can put another in its place. It carries the attempt's number, so that a
reader knows whose it is; the ledger's events name the attempts that ran.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from examples.genomics.analysis import canonical
from examples.genomics.objects import Location, ObjectsUnavailable

NAME = "result.json"


class OtherResult(Exception):
    """What stands there is no result of this work; nothing is put in its place."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The result that counts."""

    attempt: int
    """Fencing number of the attempt that committed it."""
    region: str
    sha256: str
    """Of the findings, in canonical form."""

    def __str__(self) -> str:
        return f"result of attempt {self.attempt} in {self.region}, sha256 {self.sha256}"


class Results:
    """Where one job's result belongs."""

    def __init__(self, location: Location, work: str) -> None:
        """``work`` is the identity of the analysis."""
        self._location = location
        self._work = work

    def standing(self) -> Standing | None:
        """The result that stands, if one does.

        Raises:
            OtherResult: something else stands in its place.
        """
        data = self._location.read(NAME)
        if data is None:
            return None
        try:
            known = json.loads(data)
            work, by, digest = known["work"], known["committed_by"], known["sha256"]
            standing = Standing(by["attempt"], by["region"], digest)
        except (ValueError, KeyError, TypeError):
            raise OtherResult(f"{NAME} there is no result of this program") from None
        if work != self._work:
            raise OtherResult(f"{NAME} there is of other parameters")
        return standing

    def commit(self, findings: dict[str, Any], committed_by: dict[str, Any]) -> Standing:
        """Write the result unless one stands; the one that stands then.

        ``committed_by`` holds at least ``attempt`` and ``region``.

        Raises:
            OtherResult: something else stands in its place.
            ObjectsUnavailable: it cannot be written, or not be read again.
        """
        digest = hashlib.sha256(canonical(findings)).hexdigest()
        record = {
            "work": self._work,
            "committed_by": committed_by,
            "sha256": digest,
            "findings": findings,
        }
        self._location.create(NAME, canonical(record))
        # Asked rather than concluded: the storage may have taken it and lost the answer.
        standing = self.standing()
        if standing is None:
            raise ObjectsUnavailable(f"{NAME} was written, and is not there")
        return standing
