"""Settings: environment over TOML file over defaults.

Every name is ``LOWTIDE_...`` in the environment (``LOWTIDE_TRACE__HOUR_S=2`` for a nested one),
or the same without the prefix in the file that ``LOWTIDE_CONFIG`` names (``lowtide.toml`` in the
working directory otherwise). Temporal's own names (``TEMPORAL_ADDRESS``, ``TEMPORAL_API_KEY``,
TLS, profiles) are read by Temporal's ``envconfig`` and not repeated here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from activities.carbon.trace import SHIPPED_FILES, ForecastModel
from domain.forecast import Signal
from domain.manifest import Duration

POLICIES = Path(__file__).resolve().parent.parent / "policies"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TraceSettings(_Section):
    """Which trace is replayed, and how it lies on the clock."""

    average: Path | None = SHIPPED_FILES[Signal.AVERAGE]
    """CSV of average intensities: ``time`` and one column a zone."""
    marginal: Path | None = SHIPPED_FILES[Signal.MARGINAL]
    hour_s: float = Field(default=3600.0, gt=0)
    """Seconds on the clock for one trace hour; 2 in the demo."""
    trace_at: AwareDatetime | None = None
    """Trace instant at which the replay starts; the same day and hour of the trace's year when
    left out."""
    forecast: ForecastModel = ForecastModel.PERSISTENCE
    horizon_hours: int = Field(default=48, ge=1, le=168)


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
        env_prefix="LOWTIDE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    state_dir: Path = Path(".lowtide")
    """Where the embedded product keeps its database and its runs."""
    policy: Path = POLICIES / "default.yaml"
    regions: Path = POLICIES / "regions.csv"
    prices: Path = POLICIES / "prices.csv"
    egress: Path = POLICIES / "egress.csv"
    refresh_every: Duration = Field(default="5m", validate_default=True)
    settle_every: Duration = Field(default="1h", validate_default=True)
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
        del dotenv_settings, file_secret_settings
        toml = TomlConfigSettingsSource(
            settings_cls, toml_file=os.environ.get("LOWTIDE_CONFIG", "lowtide.toml")
        )
        return init_settings, env_settings, toml

    @property
    def database(self) -> Path:
        """The embedded store's file."""
        return self.state_dir / "lowtide.db"
