"""What can be wrong with what people bring, told as field, value and what is allowed.

LowtideError
├── Unavailable                      what we stand on does not serve us for now
└── DomainError
    ├── InvalidInput                 one field, its value, what is allowed
    │   ├── UnknownRegion
    │   ├── UnknownResidency
    │   ├── DeadlinePassed
    │   ├── ManifestTooLarge
    │   ├── NoLegalRegion            residency and ability leave no region
    │   ├── HomeRegionIllegal
    │   ├── CatalogueError
    │   ├── MissingPrice
    │   ├── ManifestConflict         the name is taken by another manifest
    │   └── UnknownJob               no job was ever admitted under the name
    ├── InvalidFields                one Problem for each faulty field
    │   ├── InvalidManifest
    │   ├── InvalidPolicy
    │   ├── InvalidScenario
    │   └── InvalidSettings
    ├── TraceUnreadable              a trace is not as it should be
    ├── ResidencyViolation           a dispatch to a region that residency does not allow
    ├── RoomTaken                    a claim lost the race for room; decide again
    ├── ChainBroken                  an event or root does not follow the newest one; not retried
    ├── JobOpen                      a step for closed jobs met one that was opened again
    └── MissingBlob                  a hash that the ledger names has no content
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


class LowtideError(Exception):
    """Root of every error that Lowtide raises on purpose."""


class Unavailable(LowtideError):
    """A store or service that Lowtide stands on does not serve us for now: the same may go through
    later.
    """


class DomainError(LowtideError):
    """A rule of the business does not hold."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One field's fault: what was given, what is allowed."""

    field: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value} is not allowed; expected {self.allowed}"


class InvalidInput(DomainError):
    """One field has a value that is not allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.problem = Problem(field, str(value), allowed)
        super().__init__(str(self.problem))


def near(value: str, known: Iterable[str]) -> str:
    """``, perhaps a, b``: known names that a misspelt one may have meant; else nothing."""
    close = difflib.get_close_matches(value, sorted(known), n=3, cutoff=0.6)
    return ", perhaps " + ", ".join(close) if close else ""


class UnknownRegion(InvalidInput):
    """The catalogue has no such region."""

    def __init__(self, region: str, known: Iterable[str], field: str = "region") -> None:
        super().__init__(
            field, region, f"a region that `lowtide regions` lists{near(region, known)}"
        )


class UnknownResidency(InvalidInput):
    """The policy defines no such residency class."""

    def __init__(self, residency: str, known: Iterable[str]) -> None:
        super().__init__(
            "residency", residency, "a class of the policy: " + ", ".join(sorted(known))
        )


class DeadlinePassed(InvalidInput):
    """The deadline does not lie in the future."""

    def __init__(self, deadline: datetime, now: datetime) -> None:
        super().__init__(
            "deadline", deadline.isoformat(), f"an instant after now ({now.isoformat()})"
        )


class ManifestTooLarge(InvalidInput):
    """The manifest is over its size limit."""

    def __init__(self, size: str, limit: int) -> None:
        super().__init__(
            "manifest", size, f"at most {limit} bytes; put large settings where the job reads them"
        )


class NoLegalRegion(InvalidInput):
    """No region is both allowed by residency and able to run the job."""

    def __init__(self, residency: str, why: str) -> None:
        super().__init__("residency", residency, why)


class HomeRegionIllegal(InvalidInput):
    """The home region lies outside the residency class: the counterfactual would be illegal."""

    def __init__(self, home_region: str, residency: str, legal: Iterable[str]) -> None:
        allowed = ", ".join(legal)
        super().__init__(
            "home_region", home_region, f"a region that residency '{residency}' allows: {allowed}"
        )


class CatalogueError(InvalidInput):
    """A row of a data file cannot be read."""


class MissingPrice(InvalidInput):
    """The price table has no row for a region and capacity type."""


class ManifestConflict(InvalidInput):
    """The job's name is taken by another manifest."""

    def __init__(self, job: str, submitted: str, recorded: str) -> None:
        super().__init__(
            "name",
            job,
            "a name of its own: this one is taken by a manifest with another content"
            f" (recorded {recorded[:12]}, submitted {submitted[:12]})",
        )


class UnknownJob(InvalidInput):
    """No job was ever admitted under the name."""

    def __init__(self, job: str) -> None:
        super().__init__("job", job, "the workflow id of an admitted job, as job-default-nightly")


class InvalidFields(DomainError):
    """Several fields of one document have values that are not allowed."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


class InvalidManifest(InvalidFields):
    """A manifest is not as it should be."""


class InvalidPolicy(InvalidFields):
    """A policy is not as it should be."""


class InvalidScenario(InvalidFields):
    """A backtest's scenario, or a file that it names, is not as it should be."""


class InvalidSettings(InvalidFields):
    """Settings are not as they should be."""


class TraceUnreadable(DomainError):
    """A trace file is not ``time`` and one column a zone, step by step, without gaps."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__(f"{file}, line {line}: {what}")


class ResidencyViolation(DomainError):
    """A run was about to go where its residency class does not allow it."""

    def __init__(self, region: str, residency: str) -> None:
        super().__init__(f"residency '{residency}' does not allow {region}: nothing was submitted")


class RoomTaken(DomainError):
    """A claim does not fit: another job took the room first. Decide again."""

    def __init__(self, region: str, capacity_type: str, hour: datetime) -> None:
        super().__init__(f"no room left in {region} {capacity_type} at {hour.isoformat()}")


class ChainBroken(DomainError):
    """An event or a root does not follow the newest one."""

    def __init__(self, chain: str, expected: int, got: int) -> None:
        self.expected = expected
        super().__init__(f"{chain}: the next place is {expected}, not {got}")


class JobOpen(DomainError):
    """A step for closed jobs, as settlement, met one that another execution opened again."""

    def __init__(self, job: str) -> None:
        super().__init__(f"{job} was opened again: its running execution owns the chain")


class MissingBlob(DomainError):
    """A hash that the ledger names has no content."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"no blob {sha256}")
