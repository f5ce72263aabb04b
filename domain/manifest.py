"""What a user submits: one deferrable batch job, its resources, its deadline and its walls.

The manifest is the only input a person writes, so everything about it is checked here, at the
edge, and one error names field, value and what is allowed. Fields added later must default to
``None``: the canonical form leaves ``None`` out, so the hash of an old manifest never changes.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

import rfc8785
import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from domain.errors import DeadlinePassed, InvalidManifest, ManifestTooLarge, Problem

MAX_CANONICAL_BYTES = 24 * 1024
"""The manifest stands once in each workflow history; Temporal warns at 256 KiB a payload, and a
fleet's histories are kept for weeks."""

MAX_FILE_BYTES = 1024 * 1024
"""A file above this is refused unread: no honest manifest is near it."""

_DURATION = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$")
_NAME = r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$"


def parse_duration(value: object) -> object:
    """Accept ``90s``, ``40m``, ``1h30m``, ``2d`` beside what Pydantic takes (seconds, ISO 8601)."""
    if isinstance(value, str) and value and (match := _DURATION.match(value.strip())):
        days, hours, minutes, seconds = match.groups()
        return timedelta(
            days=int(days or 0),
            hours=int(hours or 0),
            minutes=int(minutes or 0),
            seconds=float(seconds or 0),
        )
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class Flexibility(StrEnum):
    """Whether a job may wait for a cleaner cell."""

    FLEXIBLE = "flexible"
    URGENT = "urgent"


class Resources(BaseModel):
    """What one run of the job needs at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vcpus: float = Field(gt=0, le=100_000)
    memory_gib: float = Field(gt=0, le=1_000_000)
    gpus: int = Field(default=0, ge=0, le=1024)
    gpu_model: str | None = None

    @model_validator(mode="after")
    def _gpu_model_with_gpus(self) -> Self:
        if self.gpus and not self.gpu_model:
            raise ValueError("gpu_model is needed when gpus is above 0, as 't4' or 'a100-80'")
        return self


class InputData(BaseModel):
    """Data that the job reads; moving it between regions costs carbon and money."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    region: str
    gib: float = Field(ge=0)


class JobManifest(BaseModel):
    """One deferrable batch job. ``examples/manifest.yaml`` documents every field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    """Unique within the tenant: the workflow id is ``job-<tenant>-<name>``."""
    tenant: str = Field(default="default", pattern=r"^[a-z0-9]{1,32}$")
    """No hyphens, so that two (tenant, name) pairs never share a workflow id."""
    job_class: str = Field(default="batch", pattern=_NAME)
    image: str = Field(min_length=1)
    command: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    """Plain settings only. Secrets belong to the platform's secret store."""
    resources: Resources
    deadline: AwareDatetime
    """Finished by, not started by."""
    runtime: Duration
    """Expected duration of one undisturbed run."""
    p95_runtime: Duration
    """A duration that 95 % of runs stay under; the deadline wall reckons with it."""
    max_runtime: Duration
    """The compute backend ends a run after this, whatever the deadline."""
    residency: str
    """Residency class, as the policy defines it."""
    home_region: str
    """Where the job would have run at submission without Lowtide: the counterfactual."""
    flexibility: Flexibility = Flexibility.FLEXIBLE
    inputs: tuple[InputData, ...] = ()
    retries: int = Field(default=0, ge=0, le=10)
    """Further runs after a failure of the user's own program. Reclaims are not counted here."""
    max_cost_usd: float | None = Field(default=None, gt=0)

    @field_validator("runtime", "p95_runtime", "max_runtime")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("a duration above zero is needed, as '40m'")
        return value

    @field_validator("environment")
    @classmethod
    def _own_prefix_is_ours(cls, value: dict[str, str]) -> dict[str, str]:
        taken = sorted(key for key in value if key.startswith("LOWTIDE_"))
        if taken:
            raise ValueError(f"{taken[0]} is set by Lowtide; choose a name without LOWTIDE_")
        return value

    @model_validator(mode="after")
    def _runtimes_in_order(self) -> Self:
        if self.p95_runtime < self.runtime:
            raise ValueError(
                f"p95_runtime ({self.p95_runtime}) must be at least runtime ({self.runtime})"
            )
        if self.max_runtime < self.p95_runtime:
            raise ValueError(
                f"max_runtime ({self.max_runtime}) must be at least p95_runtime"
                f" ({self.p95_runtime})"
            )
        return self

    @property
    def workflow_id(self) -> str:
        """The id of the job's workflow, and the key of its ledger chain."""
        return workflow_id(self.tenant, self.name)

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON; the manifest's identity."""
        return rfc8785.dumps(self.model_dump(mode="json", exclude_none=True))

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the canonical form: genesis of the job's ledger chain."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def require_deadline_after(self, now: datetime) -> None:
        """Raise ``DeadlinePassed`` unless the deadline lies after ``now``."""
        if self.deadline <= now:
            raise DeadlinePassed(self.deadline, now)


def workflow_id(tenant: str, name: str) -> str:
    """``job-<tenant>-<name>``."""
    return f"job-{tenant}-{name}"


def parse_manifest(data: object) -> JobManifest:
    """Make a manifest of plain data, as JSON or YAML gives it.

    Raises:
        InvalidManifest: with one ``Problem`` (field, value, what is allowed) for each fault.
        ManifestTooLarge: the canonical form is over ``MAX_CANONICAL_BYTES``.
    """
    if not isinstance(data, dict):
        raise InvalidManifest(
            (Problem("manifest", type(data).__name__, "a mapping of fields, as in examples/"),)
        )
    try:
        manifest = JobManifest.model_validate(data)
    except ValidationError as error:
        raise InvalidManifest(tuple(_problem(item) for item in error.errors())) from None
    size = len(manifest.canonical())
    if size > MAX_CANONICAL_BYTES:
        raise ManifestTooLarge(size, MAX_CANONICAL_BYTES)
    return manifest


def read_manifest(text: str, *, now: datetime, deadline: str | None = None) -> JobManifest:
    """Make a manifest of YAML or JSON text.

    ``deadline``, here or in the text, may be relative (``+8h``): it is then counted from ``now``
    and becomes a fixed instant, so that what is submitted never depends on when it is read.

    Raises:
        InvalidManifest: malformed text, or fields as in ``parse_manifest``.
        ManifestTooLarge: the text is over ``MAX_FILE_BYTES``.
    """
    if len(text) > MAX_FILE_BYTES:
        raise ManifestTooLarge(len(text), MAX_FILE_BYTES)
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        raise InvalidManifest((Problem("manifest", place, "well-formed YAML or JSON"),)) from None
    if isinstance(data, dict):
        if deadline is not None:
            data["deadline"] = deadline
        data["deadline"] = resolve_deadline(data.get("deadline"), now)
    return parse_manifest(data)


def resolve_deadline(value: object, now: datetime) -> object:
    """Turn ``+8h`` into an instant; anything else is returned for the manifest to check."""
    if isinstance(value, str) and value.startswith("+"):
        wait = parse_duration(value[1:])
        if isinstance(wait, timedelta):
            return now + wait
    return value


def _problem(item: Any) -> Problem:
    field = ".".join(str(part) for part in item["loc"]) or "manifest"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return Problem(field, "nothing", "a value: this field is required")
    if item["type"] == "timezone_aware":
        message = "an instant with a time zone, as 2026-11-25T06:00:00Z"
    shown = "the fields together" if isinstance(item["input"], dict) else repr(item["input"])
    return Problem(field, shown[:120], message)
