"""What a client is told when a request does not come through.

LowtideError (domain)
└── ClientError
    ├── JobRefused          admission said no, and why
    ├── JobNotFound         no job of that name within the namespace's retention
    ├── OverrideRefused     the job cannot take the override any more
    ├── RerunRefused        only a failed or cancelled job may run again
    ├── JobTerminated       the workflow was ended from outside, without an outcome
    ├── NoWorker            Temporal answered, no worker did
    └── Unreachable         Temporal did not answer
"""

from __future__ import annotations

from datetime import timedelta

from domain.errors import LowtideError


class ClientError(LowtideError):
    """A request did not come through."""


class JobRefused(ClientError):
    """Admission refused the job; nothing of it is left behind."""


class JobNotFound(ClientError):
    """There is no such job."""

    def __init__(self, job: str) -> None:
        super().__init__(f"name: no job {job}; `lowtide list` shows those there are")


class OverrideRefused(ClientError):
    """The job cannot take the override."""


class RerunRefused(ClientError):
    """The job did not fail and was not cancelled."""

    def __init__(self, job: str, state: str) -> None:
        super().__init__(
            f"rerun: {job} is {state}; only a failed, cancelled or terminated job may run again."
            " Submit under another name to run the same work twice"
        )


class JobTerminated(ClientError):
    """The workflow was ended from outside."""

    def __init__(self, job: str, status: str) -> None:
        super().__init__(
            f"{job} was {status} in Temporal and has no outcome; `lowtide submit --rerun` runs it"
            " again, after stopping what it may have left"
        )


class NoWorker(ClientError):
    """The request waits in Temporal for a worker."""

    def __init__(self, job: str, waited: timedelta) -> None:
        super().__init__(
            f"{job} is with Temporal, but no worker answered within {waited.total_seconds():g} s;"
            " it goes on as soon as one runs (`lowtide worker`)"
        )


class Unreachable(ClientError):
    """Temporal did not answer."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(
            f"TEMPORAL_ADDRESS: nothing usable at {address} ({why});"
            " `lowtide dev` starts a local server"
        )
