"""A backtest's scenario: the YAML file that says what to run, checked at the edge.

``domain/backtest/build.py`` turns it into a ``Case``. ``examples/backtests/two-weeks.yaml``
documents every field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from domain.backtest.case import UNLIMITED_VCPUS, RuleName
from domain.backtest.generator import Durations, Generated, Lognormal
from domain.capacity import CapacityType
from domain.documents import read_document
from domain.errors import InvalidScenario, Problem
from domain.forecast import Signal
from domain.manifest import Deadline, Interruptible
from domain.policy import JobClass, LookAgain, ResidencyClass, Span, Weights
from domain.problems import malformed, problems_of, shown

ANNUAL = "annual"
"""In place of a trace: the catalogue's published annual mean, in every step."""

DOCUMENTED = "examples/backtests/two-weeks.yaml"

_DATE_LENGTH = len("2022-01-10")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _room(value: object) -> object:
    return UNLIMITED_VCPUS if value == "unlimited" else value


def _both_ends(value: object) -> object:
    """``START/END`` as two fields."""
    if not isinstance(value, str):
        return value
    first, slash, last = value.partition("/")
    if not slash:
        raise ValueError("START/END, as 2019-03-01/2019-06-01; END is not in it")
    return {"start": _instant(first), "end": _instant(last)}


def _instant(text: str) -> str | datetime:
    """A date is its first moment, UTC; anything else is left for the model to check."""
    text = text.strip()
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if _is_date(text) else text
    except ValueError:
        return text


def _is_date(text: str) -> bool:
    return len(text) == _DATE_LENGTH


def _forecast(value: str) -> str:
    kind, _, rest = value.partition(":")
    if value in {"perfect", "persistence"} or (kind == "file" and rest):
        return value
    if kind == "noisy" and _sigma(rest) is not None:
        return value
    raise ValueError("perfect, persistence, noisy:SIGMA as noisy:0.1, or file:PATH")


def _sigma(text: str) -> float | None:
    try:
        sigma = float(text)
    except ValueError:
        return None
    return sigma if 0 <= sigma < math.inf else None


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Room = Annotated[float, BeforeValidator(_room), Field(ge=0, le=UNLIMITED_VCPUS)]
Price = Annotated[float, Field(ge=0)]
Path = Annotated[str, Field(min_length=1)]
ForecastName = Annotated[str, AfterValidator(_forecast)]


class Period(_Frozen):
    """When jobs are submitted."""

    start: Annotated[Deadline, AfterValidator(_utc)]
    end: Annotated[Deadline, AfterValidator(_utc)]
    """Not in it."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("START before END, as 2019-03-01/2019-06-01")
        return self


class Traces(_Frozen):
    """What the grid was: a file for each signal, or ``annual``."""

    average: Path
    marginal: Path = ANNUAL

    def of(self, signal: Signal) -> str:
        """The file of one signal."""
        return self.average if signal is Signal.AVERAGE else self.marginal


class ScenarioRegion(_Frozen):
    """One region. A capacity type without room is not offered there."""

    zone: str | None = None
    """The traces' column that stands for its grid; the catalogue's grid zone where left out."""
    spot_vcpus: Room | None = None
    on_demand_vcpus: Room | None = None
    usd_per_vcpu_hour: dict[CapacityType, Price] = {}
    """In place of the shipped price, as are the other two."""
    usd_per_gib_hour: dict[CapacityType, Price] = {}
    reclaims_per_hour: float | None = Field(default=None, ge=0)
    """Of a Spot run."""
    pue: float | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _offers_something(self) -> Self:
        if not self.rooms:
            raise ValueError("spot_vcpus, on_demand_vcpus or both")
        return self

    @property
    def rooms(self) -> dict[CapacityType, float]:
        """Capacity types that are offered, and their vCPUs."""
        found = {
            CapacityType.SPOT: self.spot_vcpus,
            CapacityType.ON_DEMAND: self.on_demand_vcpus,
        }
        return {kind: vcpus for kind, vcpus in found.items() if vcpus is not None}


class JobStream(_Frozen):
    """Where the jobs come from."""

    csv: Path | None = None
    generate: Generated | None = None

    @model_validator(mode="after")
    def _of_one_source(self) -> Self:
        if (self.csv is None) == (self.generate is None):
            raise ValueError("one of csv and generate")
        return self


class Scenario(_Frozen):
    """What one backtest runs. ``examples/backtests/two-weeks.yaml`` explains."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    traces: Traces
    zone_map: dict[str, str] = {}
    """The catalogue's grid zone -> the traces' column that stands for it."""
    period: Annotated[Period, BeforeValidator(_both_ends)]
    regions: Annotated[dict[str, ScenarioRegion], Field(min_length=1)]
    residency: Annotated[dict[str, ResidencyClass], Field(min_length=1)]
    weights: Weights
    steering_signal: Signal = Signal.AVERAGE
    start_up: Span = timedelta(minutes=5)
    safety_margin: Span = timedelta(minutes=45)
    max_usd_per_vcpu_hour: float | None = Field(default=None, gt=0)
    look_again: LookAgain = LookAgain()
    job_classes: dict[str, JobClass] = {}
    no_harm: bool = False
    forecast: ForecastName = "persistence"
    horizon: Annotated[Span, Field(gt=timedelta(0))] = timedelta(hours=48)
    policies: Annotated[tuple[RuleName, ...], Field(min_length=1)] = tuple(RuleName)
    seed: int = Field(default=0, ge=0, lt=2**63)
    jobs: JobStream
    interruptible: Interruptible | None = None
    """Of every job that does not say so itself."""

    @model_validator(mode="after")
    def _each_policy_once(self) -> Self:
        if len(set(self.policies)) < len(self.policies):
            raise ValueError("each of policies once")
        return self

    @property
    def sigma(self) -> float | None:
        """Of a noisy forecast."""
        kind, _, rest = self.forecast.partition(":")
        return _sigma(rest) if kind == "noisy" else None

    @property
    def forecast_file(self) -> str | None:
        """Of forecasts that were really issued."""
        kind, _, rest = self.forecast.partition(":")
        return rest if kind == "file" else None


_PARTS: tuple[type[BaseModel], ...] = (
    Scenario,
    Traces,
    Period,
    ScenarioRegion,
    ResidencyClass,
    Weights,
    LookAgain,
    JobClass,
    JobStream,
    Generated,
    Durations,
    Lognormal,
    Interruptible,
)


def parse_scenario(
    text: str, *, traces: Sequence[str] = (), period: str | None = None, sets: Sequence[str] = ()
) -> Scenario:
    """Make a scenario of YAML text and of what overrides it.

    Args:
        text: the file's.
        traces: each ``FILE``, of the average signal, or ``SIGNAL=FILE``.
        period: ``START/END``.
        sets: each ``KEY=VALUE``, the key dotted, the value YAML; the last one holds.

    Raises:
        InvalidScenario: malformed text, or a ``Problem`` for each faulty field.
    """
    try:
        data = read_document(text)
    except yaml.YAMLError as error:
        raise InvalidScenario((malformed("scenario", error),)) from None
    if not isinstance(data, dict):
        fields = Problem("scenario", shown(data), f"fields, as in {DOCUMENTED}")
        raise InvalidScenario((fields,))
    for item in traces:
        signal, _, file = item.partition("=") if _names_signal(item) else ("average", "", item)
        _put(data, f"traces.{signal}", file)
    if period is not None:
        _put(data, "period", period)
    for item in sets:
        key, value = _assignment(item)
        _put(data, key, value)
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        known = {name: field for part in _PARTS for name, field in part.model_fields.items()}
        raise InvalidScenario(problems_of(error, "scenario", known, DOCUMENTED)) from None


def _names_signal(item: str) -> bool:
    return item.partition("=")[0] in set(Signal)


def _assignment(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals or not key.strip():
        problem = Problem("--set", shown(item), "KEY=VALUE, as weights.carbon=0.5")
        raise InvalidScenario((problem,))
    try:
        return key.strip(), read_document(text)
    except yaml.YAMLError as error:
        raise InvalidScenario((malformed(f"--set {key.strip()}", error),)) from None


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    """Set one field, by its dotted key; mappings on the way are made where they lack."""
    *way, last = key.split(".")
    for depth, part in enumerate(way, start=1):
        inner = data.setdefault(part, {})
        if inner is None:
            inner = data[part] = {}
        if not isinstance(inner, dict):
            field = ".".join(way[:depth])
            problem = Problem(f"--set {key}", field, f"a field with fields; it is {shown(inner)}")
            raise InvalidScenario((problem,))
        data = inner
    data[last] = value
