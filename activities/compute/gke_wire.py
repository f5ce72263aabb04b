"""What we read of the Kubernetes API's objects: the fields that matter, each with its zero value.

A cluster is upgraded without asking us: fields that we do not know are passed over, and what the
API leaves out or sends as ``null`` is as in Go, empty.
"""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


class Wire(BaseModel):
    """Base of what is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


class Metadata(Wire):
    """Of an object, or of a list."""

    name: str = ""
    resource_version: str = ""
    continue_: str = Field(default="", alias="continue")
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(Wire):
    """One of a Job's or pod's."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: AwareDatetime | None = None


class _PodSpec(Wire):
    active_deadline_seconds: int | None = None


class _Template(Wire):
    spec: _PodSpec = _PodSpec()


class _JobSpec(Wire):
    parallelism: int = 1
    suspend: bool = False
    template: _Template = _Template()


class _JobStatus(Wire):
    start_time: AwareDatetime | None = None
    ready: int = 0
    conditions: tuple[Condition, ...] = ()


class Job(Wire):
    """A Job."""

    metadata: Metadata
    spec: _JobSpec = _JobSpec()
    status: _JobStatus = _JobStatus()

    @property
    def run(self) -> str:
        """The run that it is."""
        return self.metadata.name


class Waiting(Wire):
    """A container that has not begun."""

    reason: str = ""
    message: str = ""


class Running(Wire):
    """A container that runs."""

    started_at: AwareDatetime | None = None


class Terminated(Wire):
    """A container that has ended."""

    exit_code: int
    reason: str = ""
    message: str = ""
    started_at: AwareDatetime | None = None


class _State(Wire):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class _Container(Wire):
    name: str
    state: _State = _State()


class _PodStatus(Wire):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[_Container, ...] = ()


class Pod(Wire):
    """A pod."""

    metadata: Metadata
    status: _PodStatus = _PodStatus()

    @property
    def run(self) -> str:
        """The run whose pod it is; the Job controller labels it so."""
        return self.metadata.labels.get("batch.kubernetes.io/job-name", "")

    def state(self, container: str) -> _State:
        """The state of one container."""
        found = (item.state for item in self.status.container_statuses if item.name == container)
        return next(found, _State())


class Page(Wire):
    """One page of a list; the items are read by whoever asked."""

    metadata: Metadata = Metadata()
    items: tuple[dict[str, Any], ...] = ()


class Status(Wire):
    """What the API says instead of an object."""

    code: int = 0
    reason: str = ""
    message: str = ""


class WatchEvent(Wire):
    """One line of a watch."""

    type: str
    object: dict[str, Any]


def condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of a type, where it is true."""
    return next((item for item in conditions if (item.type, item.status) == (kind, "True")), None)
