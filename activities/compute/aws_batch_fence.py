"""The fence of a run: one row that is written before anything is submitted, so that it is once.

``SubmitJob`` knows no client token: sent twice, it makes two jobs. So a run's row says what the
run is made from, who may submit it at the moment, the job that came of it, and whether it must
not start any more. Rows change by conditional writes only.

Whoever may submit holds the row for a while. After that while it surely sends nothing any more;
then another may take over, but must look for what the first one left behind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FenceRow:
    """What stands for a run."""

    spec_sha256: str = ""
    """Empty where it was asked to end before anybody submitted it."""
    queue: str = ""
    holder: str = ""
    """Who may submit it."""
    held_until: datetime | None = None
    claims: int = 0
    """How often somebody took or renewed the right to submit it."""
    job_id: str = ""
    """Batch's job, once known. It never changes."""
    stop_reason: str = ""
    stopped_at: datetime | None = None
    """When it was first asked to end."""

    def is_held(self, now: datetime) -> bool:
        """Whether somebody may be submitting it right now."""
        return not self.job_id and self.held_until is not None and now < self.held_until


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for the right to submit a run."""

    spec_sha256: str
    queue: str
    holder: str
    now: datetime
    until: datetime


class RunFence(Protocol):
    """Rows by (region, run). Synchronous; every method is one atomic step and can be repeated."""

    def read(self, region: str, run: str) -> FenceRow | None:
        """A run's row."""

    def read_all(self, region: str, runs: Collection[str]) -> Mapping[str, FenceRow]:
        """The rows of those of the runs that have one."""

    def claim(self, region: str, run: str, claim: Claim) -> FenceRow:
        """Take or renew the right to submit a run; returns what stands there then.

        Granted where there is no row, or one of the same specification that has no job, was not
        asked to end, and is the claimant's own or nobody's any more: the row's ``holder`` tells.
        The queue of the first claim stays.
        """

    def keep(self, region: str, run: str, job_id: str) -> FenceRow:
        """Remember the job of a claimed run, unless one is remembered; returns what stands then."""

    def stop(self, region: str, run: str, reason: str, now: datetime) -> FenceRow:
        """Mark that a run must not start, whether or not there is a row; returns what stands then.

        The first reason and time stay.
        """
