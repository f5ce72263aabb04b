"""Settings: environment over TOML file over defaults.

Every name is ``LOWTIDE_...`` in the environment (``LOWTIDE_TRACE__HOUR_S=2`` for a nested one),
or the same without the prefix in the file that ``LOWTIDE_CONFIG`` names (``lowtide.toml`` in the
working directory otherwise). Temporal's own names (``TEMPORAL_ADDRESS``, ``TEMPORAL_API_KEY``,
TLS, profiles) are read by Temporal's ``envconfig`` and not repeated here.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from activities.carbon.trace import SHIPPED_FILES, ForecastModel
from domain.errors import InvalidSettings, Problem
from domain.forecast import Signal
from domain.manifest import Duration
from domain.problems import problems_of

POLICIES = Path(__file__).resolve().parent.parent / "policies"
PREFIX = "LOWTIDE_"

NO_SETTINGS = frozenset({"config", "job", "attempt", "region", "checkpoint_uri", "output_uri"})
"""The file that holds settings, and what a run is told of itself: its program may call us too."""

Every = Annotated[Duration, Field(gt=timedelta(0))]
TraceFile = Annotated[
    FilePath | None, BeforeValidator(lambda value: None if value == "" else value)
]
"""A file, or "" to leave the signal out."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TraceSettings(_Section):
    """Which trace is replayed, and how it lies on the clock."""

    average: TraceFile = SHIPPED_FILES[Signal.AVERAGE]
    """CSV of average intensities: ``time`` and one column a zone; "" for none."""
    marginal: TraceFile = SHIPPED_FILES[Signal.MARGINAL]
    hour_s: float = Field(default=3600.0, gt=0)
    """Seconds on the clock for one trace hour; 2 in the demo."""
    trace_at: AwareDatetime | None = None
    """Trace instant at which the replay starts; the same day and hour of the trace's year when
    left out."""
    forecast: ForecastModel = ForecastModel.PERSISTENCE
    horizon_hours: int = Field(default=48, ge=1, le=168)

    @property
    def paced(self) -> bool:
        """Whether someone set ``hour_s``; else a state folder keeps the pace that it has."""
        return "hour_s" in self.model_fields_set

    @model_validator(mode="after")
    def _one_signal(self) -> Self:
        if self.average is None and self.marginal is None:
            raise ValueError("a file for average, marginal or both")
        return self


class ReclaimSettings(_Section):
    """Reclaims that the local backend injects: for Spot runs of matching jobs only."""

    pattern: str
    """Shell pattern of workflow ids, as ``job-default-align-*``."""
    attempts: int = Field(default=1, ge=1)
    """How many of a job's first runs are taken back."""
    after_s: float = Field(gt=0)
    grace_s: float = Field(default=2.0, ge=0)


class WorkerSettings(_Section):
    """The worker process."""

    max_cached_workflows: int = Field(default=500, ge=1)
    """Sleeping workflows beyond this are evicted and replayed at wake (some 70 KiB each)."""
    dispatches_per_second: float = Field(default=20.0, gt=0)
    """Rate limit of the dispatch queue, over all workers."""
    graceful_shutdown: Duration = Field(default="30s", validate_default=True)
    """How long running activities may go on after SIGTERM; keep the pod's grace above it."""
    health_port: int = Field(default=0, ge=0, le=65535)
    """Port of the health endpoint; 0 switches it off."""
    health_host: str = "127.0.0.1"


class Settings(BaseSettings):
    """All that a worker or an operator's command needs to know."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    state_dir: Path = Path(".lowtide")
    """Where the embedded product keeps its database and its runs."""
    policy: FilePath = POLICIES / "default.yaml"
    regions: FilePath = POLICIES / "regions.csv"
    prices: FilePath = POLICIES / "prices.csv"
    egress: FilePath = POLICIES / "egress.csv"
    refresh_every: Every = Field(default="5m", validate_default=True)
    settle_every: Every = Field(default="1h", validate_default=True)
    trace: TraceSettings = TraceSettings()
    reclaims: tuple[ReclaimSettings, ...] = ()
    worker: WorkerSettings = WorkerSettings()
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, _Environment(settings_cls), _toml(settings_cls)

    @property
    def database(self) -> Path:
        """The embedded store's file."""
        return self.state_dir / "lowtide.db"


def load_settings(**arguments: Any) -> Settings:
    """The settings; arguments outrank environment and file. Raises ``InvalidSettings``."""
    try:
        return Settings(**arguments)
    except ValidationError as error:
        found = problems_of(error, "settings", Settings.model_fields, "workers/settings.py")
        raise InvalidSettings(
            tuple(replace(item, field=_variable(item.field)) for item in found)
        ) from None
    except SettingsError as error:
        raise InvalidSettings((Problem("settings", str(error), "JSON for a section"),)) from None


def _variable(field: str) -> str:
    """``trace.hour_s`` as it is called in the environment."""
    return PREFIX + field.upper().replace(".", "__")


class _Environment(EnvSettingsSource):
    """The environment, with the names that no setting has: passed on, they are refused."""

    def __call__(self) -> dict[str, Any]:
        data = super().__call__()
        for name, value in self.env_vars.items():
            setting = name.lower().removeprefix(PREFIX.lower())
            known = setting.partition("__")[0] in self.settings_cls.model_fields
            if setting != name.lower() and not known and setting not in NO_SETTINGS:
                data[setting] = value
        return data


def _toml(settings: type[BaseSettings]) -> TomlConfigSettingsSource:
    named = os.environ.get(f"{PREFIX}CONFIG")
    if named is not None and not Path(named).is_file():
        raise InvalidSettings((Problem(f"{PREFIX}CONFIG", named, "a TOML file"),))
    file = named or "lowtide.toml"
    try:
        return TomlConfigSettingsSource(settings, toml_file=file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings((Problem(f"{PREFIX}CONFIG", file, f"TOML ({error})"),)) from None
