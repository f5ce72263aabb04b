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
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, FilePath, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from domain.errors import InvalidSettings, Problem
from domain.problems import problems_of
from workers.compute_sections import ComputeSettings, LocalComputeSettings
from workers.sections import (
    EnvironmentSecretsSettings,
    Every,
    HistorySettings,
    NoHistorySettings,
    PriceFeedSettings,
    ReclaimSettings,
    SecretsSettings,
    SignalSettings,
    SqliteSettings,
    StoreSettings,
    TablePricesSettings,
    TraceSettings,
    WorkerSettings,
)

POLICIES = Path(__file__).resolve().parent.parent / "policies"
PREFIX = "LOWTIDE_"

NO_SETTINGS = frozenset({"config", "job", "attempt", "region", "checkpoint_uri", "output_uri"})
"""The file that holds settings, and what a run is told of itself: its program may call us too."""


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
    """The price table: its rows stand wherever ``price_feed`` knows nothing newer."""
    egress: FilePath = POLICIES / "egress.csv"
    region_overrides: FilePath | None = None
    """CSV of ``id`` and any of the catalogue's columns: replaces those cells of ``regions``."""
    refresh_every: Every = Field(default="5m", validate_default=True)
    settle_every: Every = Field(default="1h", validate_default=True)
    prices_every: Every = Field(default="1h", validate_default=True)
    """How often live prices are asked for."""
    signals: SignalSettings = SignalSettings()
    trace: TraceSettings = TraceSettings()
    store: StoreSettings = SqliteSettings()
    history: HistorySettings = NoHistorySettings()
    secrets: SecretsSettings = EnvironmentSecretsSettings()
    price_feed: PriceFeedSettings = TablePricesSettings()
    compute: ComputeSettings = LocalComputeSettings()
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

    @model_validator(mode="after")
    def _no_keys_in_productions_environment(self) -> Self:
        in_production = self.store.kind == "dynamodb" and self.signals.source == "live"
        if in_production and self.secrets.kind == "environment":
            raise ValueError("secrets.kind vault where store.kind is dynamodb")
        return self

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
        raise InvalidSettings(tuple(map(_told, found))) from None
    except SettingsError as error:
        raise InvalidSettings((Problem("settings", str(error), "JSON for a section"),)) from None


def _told(problem: Problem) -> Problem:
    """By the setting's name in the environment, and without the value of one that is not known:
    it may be a secret under a wrong name.
    """
    known = problem.field.partition(".")[0] in Settings.model_fields
    value = problem.value if known else "what it holds"
    return replace(problem, field=_variable(problem.field), value=value)


def _variable(field: str) -> str:
    """``trace.hour_s`` as it is called in the environment.

    Where a section has kinds, Pydantic names the kind between section and field.
    """
    section, *rest = field.split(".")
    if section in {"store", "history", "secrets", "price_feed", "compute"} and len(rest) > 1:
        rest = rest[1:]
    return PREFIX + "__".join([section, *rest]).upper()


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
