"""What can go wrong at the edge.

LowtideError (domain)
└── ActivityFault
    ├── SpecConflict       a run's name is taken by another specification; never retried
    ├── RunStillAlive      a run asked to end has not ended yet; retried
    ├── ManifestUnknown    the hash names no manifest that we hold; never retried
    ├── TraceUnreadable    a trace file is not of the form that a replay needs
    ├── StoreVersion       a store's file is of another schema than this build's
    └── BundleUnreadable   an exported ledger is not of the form that verify needs
"""

from __future__ import annotations

from domain.errors import LowtideError


class ActivityFault(LowtideError):
    """A step at the edge did not come through."""


class SpecConflict(ActivityFault):
    """The run's name is taken by a run of another specification."""

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run} exists with another specification; it was left alone")


class RunStillAlive(ActivityFault):
    """A run that was asked to end is still there."""

    def __init__(self, run: str, state: str) -> None:
        super().__init__(f"run {run} was asked to end and is still {state}")


class ManifestUnknown(ActivityFault):
    """A manifest's hash leads to no content."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"no manifest with SHA-256 {sha256}")


class TraceUnreadable(ActivityFault):
    """A trace file is not ``time`` and one column a zone, hourly, without gaps."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__(f"{file}, line {line}: {what}")


class StoreVersion(ActivityFault):
    """A store's file was laid out by another build."""

    def __init__(self, file: str, found: int, needed: int) -> None:
        super().__init__(
            f"{file} has schema version {found}; this build needs {needed}:"
            " use the build that made it, or another state folder"
        )


class BundleUnreadable(ActivityFault):
    """An exported ledger cannot be read."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__(f"{file}, line {line}: {what}")
