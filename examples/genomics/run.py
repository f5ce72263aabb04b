"""What every run is given by Lowtide, and how it is told to end. See docs/job-contract.md."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

SIGTERM_EXIT = 128 + signal.SIGTERM
"""Exit code of a run that was told to end."""
LEAVE_WITHIN_S = 8
"""From SIGTERM to the end, come what may: a Spot node of GKE gives 15 s, and not always those."""


class BadEnvironment(ValueError):
    """What Lowtide gives is missing or malformed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of one job."""

    job: str
    attempt: int
    """Fencing number: a later attempt has a higher one."""
    region: str
    """As ``aws:eu-north-1``."""
    checkpoint_uri: str
    output_uri: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Run:
        """Read what Lowtide gave.

        Raises:
            BadEnvironment: it is not all there.
        """

        def given(name: str) -> str:
            if not (value := environment.get(name)):
                raise BadEnvironment(f"{name} is not set; Lowtide sets it for every run")
            return value

        attempt = given("LOWTIDE_ATTEMPT")
        if not attempt.isascii() or not attempt.isdecimal() or int(attempt) < 1:
            raise BadEnvironment(f"LOWTIDE_ATTEMPT is {attempt!r}; a number from 1 on")
        return cls(
            job=given("LOWTIDE_JOB"),
            attempt=int(attempt),
            region=given("LOWTIDE_REGION"),
            checkpoint_uri=given("LOWTIDE_CHECKPOINT_URI"),
            output_uri=given("LOWTIDE_OUTPUT_URI"),
        )


class Notice:
    """SIGTERM: the machine will be taken, or the run was asked to end."""

    def __init__(self) -> None:
        """Listen from now on. A container's first process is not ended by a SIGTERM that it does
        not listen to, so this comes before anything that takes time.
        """
        self.given = False
        signal.signal(signal.SIGALRM, self._leave)
        signal.signal(signal.SIGTERM, self._take)

    def _take(self, *_: object) -> None:
        if not self.given:
            self.given = True
            signal.alarm(LEAVE_WITHIN_S)

    def _leave(self, *_: object) -> None:
        """The storage hangs: the checkpoint before this one has to do."""
        os.write(2, b"no time left: ending without a checkpoint\n")
        os._exit(SIGTERM_EXIT)
