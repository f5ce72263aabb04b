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
from typing import Annotated, Literal

import rfc8785
import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from domain.documents import read_document
from domain.errors import DeadlinePassed, InvalidManifest, ManifestTooLarge, Problem
from domain.problems import malformed, problems_of, shown

MAX_CANONICAL_BYTES = 24 * 1024
"""The manifest stands once in each workflow history; Temporal warns at 256 KiB a payload, and a
fleet's histories are kept for weeks."""

MAX_FILE_BYTES = 128 * 1024
"""A file above this is refused unread: five canonical manifests would fit into it."""

EXAMPLE = "examples/manifest.yaml"
"""Documents every field."""

LONGEST_RUN = timedelta(days=366)
LAST_YEAR = 2200
"""With these, no sum of a date and durations overflows, wherever one is reckoned."""

_DURATION = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?$")


def parse_duration(value: object) -> object:
    """Accept ``90s``, ``40m``, ``1h30m``, ``2d`` beside what Pydantic takes (seconds, ISO 8601)."""
    if isinstance(value, str) and value and (match := _DURATION.match(value.strip())):
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        try:
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        except OverflowError:
            return value
    return value


def _form(pattern: str, words: str) -> AfterValidator:
    """A text of this form, told in words where it is not."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(words)
        return value

    return AfterValidator(check)


def _within_reach(value: datetime) -> datetime:
    if value.year > LAST_YEAR:
        raise ValueError(f"an instant up to the year {LAST_YEAR}")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Deadline = Annotated[AwareDatetime, AfterValidator(_within_reach)]
Name = Annotated[
    str,
    _form(
        r"(?!job-)[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?",
        "lower-case letters, digits and inner hyphens, 48 at most, as align-sample-17; job- at its"
        " beginning marks a full id",
    ),
]
Tenant = Annotated[
    str, _form(r"[a-z0-9]{1,32}", "lower-case letters and digits, 32 at most, as genomics")
]
Text = Annotated[str, _form(r"[^\x00]*", "text without NUL")]
Variable = Annotated[
    str, _form(r"(?!LOWTIDE_)[^=\x00]+", "a name without = and without LOWTIDE_, which is ours")
]


class Flexibility(StrEnum):
    """Whether a job may wait for a cleaner cell."""

    FLEXIBLE = "flexible"
    URGENT = "urgent"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Resources(_Part):
    """What one run of the job needs at once."""

    vcpus: float = Field(gt=0, le=100_000)
    memory_gib: float = Field(gt=0, le=1_000_000)
    gpus: int = Field(default=0, ge=0, le=1024)
    gpu_model: str | None = Field(default=None, validate_default=True)

    @field_validator("gpu_model")
    @classmethod
    def _named_with_gpus(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("gpus") and not value:
            raise ValueError("a model, as t4 or a100-80, when gpus is above 0")
        return value


class InputData(_Part):
    """Data that the job reads; moving it between regions costs carbon and money."""

    uri: Text
    region: str
    gib: float = Field(ge=0)


class Interruptible(_Part):
    """How a job may be run in chunks: stopped at a chunk's end, and resumed elsewhere in time."""

    min_chunk: Duration
    """No chunk is planned shorter, but the last may be."""
    checkpoint: Literal[True]
    """The program's promise: at SIGTERM it writes its checkpoint and exits with 143."""
    resume_overhead: Duration = timedelta(0)
    """Running time that each chunk but the first spends on taking up its checkpoint."""
    portable_checkpoint: bool = False
    """Whether a checkpoint written in one region can be taken up in another."""

    @field_validator("min_chunk", "resume_overhead")
    @classmethod
    def _within_a_run(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        least = timedelta(seconds=1) if info.field_name == "min_chunk" else timedelta(0)
        if not least <= value <= LONGEST_RUN:
            raise ValueError(f"a duration from {least} to {LONGEST_RUN.days} days, as 30m")
        return value


class JobManifest(_Part):
    """One deferrable batch job. ``examples/manifest.yaml`` documents every field.

    Its constructor raises Pydantic's ``ValidationError``; ``parse_manifest`` and
    ``read_manifest`` raise ``InvalidManifest``.
    """

    name: Name
    """Unique within the tenant: the workflow id is ``job-<tenant>-<name>``."""
    tenant: Tenant = "default"
    """No hyphens, so that two (tenant, name) pairs never share a workflow id."""
    job_class: Name = "batch"
    image: Text = Field(min_length=1)
    command: tuple[Text, ...] = ()
    environment: dict[Variable, Text] = Field(default_factory=dict)
    """Plain settings only. Secrets belong to the platform's secret store."""
    resources: Resources
    deadline: Deadline
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
    interruptible: Interruptible | None = None
    """How it may be cut into chunks; ``None``: it runs in one piece."""

    @field_validator("runtime", "p95_runtime", "max_runtime")
    @classmethod
    def _in_range(cls, value: timedelta) -> timedelta:
        if not timedelta(0) < value <= LONGEST_RUN:
            raise ValueError(f"a duration above zero, as 40m, and {LONGEST_RUN.days} days at most")
        return value

    @field_validator("p95_runtime", "max_runtime")
    @classmethod
    def _in_order(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        shorter = "runtime" if info.field_name == "p95_runtime" else "p95_runtime"
        least = info.data.get(shorter)
        if least is not None and value < least:
            raise ValueError(f"at least {shorter}, which is {least}")
        return value

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

    def require_size(self) -> None:
        """Raise ``ManifestTooLarge`` where the canonical form is over ``MAX_CANONICAL_BYTES``."""
        size = len(self.canonical())
        if size > MAX_CANONICAL_BYTES:
            raise ManifestTooLarge(f"{size} bytes in canonical form", MAX_CANONICAL_BYTES)

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
        InvalidManifest: with a ``Problem`` (field, value, what is allowed) for each fault, the
            first ``MAX_PROBLEMS`` of them.
        ManifestTooLarge: the canonical form is over ``MAX_CANONICAL_BYTES``.
    """
    if not isinstance(data, dict):
        raise InvalidManifest((Problem("manifest", shown(data), f"fields, as in {EXAMPLE}"),))
    try:
        manifest = JobManifest.model_validate(data)
    except ValidationError as error:
        parts = (JobManifest, Resources, InputData, Interruptible)
        known = {name: field for part in parts for name, field in part.model_fields.items()}
        raise InvalidManifest(problems_of(error, "manifest", known, EXAMPLE)) from None
    manifest.require_size()
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
        raise ManifestTooLarge(f"over {MAX_FILE_BYTES} bytes of text", MAX_FILE_BYTES)
    try:
        data = read_document(text)
    except yaml.YAMLError as error:
        raise InvalidManifest((malformed("manifest", error),)) from None
    if isinstance(data, dict):
        if deadline is not None:
            data["deadline"] = deadline
        if "deadline" in data:
            data["deadline"] = resolve_deadline(data["deadline"], now)
    return parse_manifest(data)


def resolve_deadline(value: object, now: datetime) -> object:
    """Turn ``+8h`` into an instant; anything else is returned for the manifest to check."""
    if isinstance(value, str) and value.startswith("+"):
        wait = parse_duration(value[1:])
        if isinstance(wait, timedelta) and wait <= LONGEST_RUN:
            return now + wait
    return value
