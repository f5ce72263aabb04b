"""Checkpoints: how far a run came, for the run after it.

Each attempt has one checkpoint of its own, replaced whole as it goes on, so that an attempt that is
still alive somewhere never spoils another's. A checkpoint is a line of JSON, then the state:

    {"format": 1, "sha256": of the state, "work": of which analysis}

What is damaged, of another format or of other work is ignored, never trusted; the attempt before
may have left one that is sound.
"""

from __future__ import annotations

import hashlib
import json
import logging

from examples.genomics.analysis import canonical
from examples.genomics.objects import Location, ObjectsUnavailable

FORMAT = 1
"""Goes up with any change of what a state means."""

log = logging.getLogger(__name__)


class Unusable(ValueError):
    """A checkpoint that must not be gone on from."""


class Checkpoints:
    """Those of one job, as one attempt sees them."""

    def __init__(self, location: Location, attempt: int, work: str) -> None:
        """``work`` is the identity of the analysis."""
        self._location = location
        self._attempt = attempt
        self._work = work

    def newest(self) -> bytes | None:
        """The state of the latest attempt that left a sound checkpoint.

        One that cannot be read costs work; it is no reason to fail.
        """
        for attempt in range(self._attempt, 0, -1):
            try:
                data = self._location.read(_name(attempt))
            except ObjectsUnavailable as error:
                log.warning("checkpoints cannot be read, beginning anew: %s", error)
                return None
            if data is None:
                continue
            try:
                state = unsealed(data, self._work)
            except Unusable as error:
                log.warning("checkpoint of attempt %d ignored: %s", attempt, error)
            else:
                log.info("going on from the checkpoint of attempt %d", attempt)
                return state
        return None

    def save(self, state: bytes) -> None:
        """Put ``state`` in place of this attempt's checkpoint before."""
        self._location.replace(_name(self._attempt), sealed(state, self._work))


def sealed(state: bytes, work: str) -> bytes:
    """A state as it is kept."""
    digest = hashlib.sha256(state).hexdigest()
    return canonical({"format": FORMAT, "sha256": digest, "work": work}) + b"\n" + state


def unsealed(data: bytes, work: str) -> bytes:
    """The state in a checkpoint.

    Raises:
        Unusable: it is damaged, of another format, or of other work.
    """
    line, _, state = data.partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError:
        raise Unusable("it does not begin with a line of JSON") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise Unusable(f"it is not of format {FORMAT}")
    if header.get("work") != work:
        raise Unusable("it is of other work")
    if header.get("sha256") != hashlib.sha256(state).hexdigest():
        raise Unusable("its checksum does not match")
    return state


def _name(attempt: int) -> str:
    return f"attempt-{attempt}.checkpoint"
