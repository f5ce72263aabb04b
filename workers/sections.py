"""The sections of the settings: each part that can be had in more than one way, and its knobs."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    HttpUrl,
    model_validator,
)

from activities.carbon import electricity_maps, watttime_api
from activities.carbon.electricity_maps import EmissionFactors, Granularity
from activities.carbon.trace import SHIPPED_FILES, ForecastModel
from activities.prices import gcp_billing
from activities.prices.instance_types import shape_of
from domain.forecast import Signal
from domain.manifest import Duration

Every = Annotated[Duration, Field(gt=timedelta(0))]
TraceFile = Annotated[
    FilePath | None, BeforeValidator(lambda value: None if value == "" else value)
]
"""A file, or "" to leave the signal out."""


class Section(BaseModel):
    """Base of all sections: what is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TraceSettings(Section):
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


class ReclaimSettings(Section):
    """Reclaims that the local backend injects: for Spot runs of matching jobs only."""

    pattern: str
    """Shell pattern of workflow ids, as ``job-default-align-*``."""
    attempts: int = Field(default=1, ge=1)
    """How many of a job's first runs are taken back."""
    after_s: float = Field(gt=0)
    grace_s: float = Field(default=2.0, ge=0)


class WorkerSettings(Section):
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


class ElectricityMapsSettings(Section):
    """The account of the average signal."""

    enabled: bool = True
    base_url: HttpUrl = HttpUrl(electricity_maps.BASE_URL)
    """Without the version."""
    requests_per_s: float = Field(default=electricity_maps.RATE.per_s, gt=0)
    """What the contract allows; no limit is published."""
    emission_factors: EmissionFactors = EmissionFactors.LIFECYCLE
    """Choose once: figures of both kinds do not compare."""
    granularity: Granularity = Granularity.HOURLY


class WattTimeSettings(Section):
    """The account of the marginal signal; its average stands in for Electricity Maps."""

    enabled: bool = True
    base_url: HttpUrl = HttpUrl(watttime_api.BASE_URL)
    requests_per_5_minutes: int = Field(default=3000, gt=0)
    model: date | None = None
    """Pins the marginal model: another's answers are refused. The newest where left out."""


class SignalSettings(Section):
    """Where carbon intensity comes from."""

    source: Literal["trace", "live"] = "trace"
    """A replayed trace, or the providers below."""
    horizon_hours: int = Field(default=48, ge=24, le=72, multiple_of=24)
    past_every: Every = Field(default="1h", validate_default=True)
    """Each zone's past hours are asked for once in this time."""
    electricity_maps: ElectricityMapsSettings = ElectricityMapsSettings()
    watttime: WattTimeSettings = WattTimeSettings()


class SqliteSettings(Section):
    """Signals, ledger and room in a file of ``state_dir``."""

    kind: Literal["sqlite"] = "sqlite"


class DynamoDbSettings(Section):
    """Signals in one table, ledger and room in another of one home region."""

    kind: Literal["dynamodb"]
    region: str
    """The home region: ``eu-central-1``."""
    signals_region: str | None = None
    """Where this worker reads a global signals table; the home region if left out."""
    signals_table: str = "lowtide-signals"
    ledger_table: str = "lowtide-ledger"
    endpoint_url: HttpUrl | None = None
    """For a server of one's own."""


class NoHistorySettings(Section):
    """What was observed stays in the signal store alone."""

    kind: Literal["none"] = "none"


class S3HistorySettings(Section):
    """Parquet on S3, partitioned by day."""

    kind: Literal["s3"]
    bucket: str
    region: str
    prefix: str = "carbon-intensity"
    endpoint_url: HttpUrl | None = None


class TimestreamHistorySettings(Section):
    """Timestream for LiveAnalytics, for accounts that still have it."""

    kind: Literal["timestream"]
    database: str
    table: str
    region: str
    endpoint_url: HttpUrl | None = None


class InfluxHistorySettings(Section):
    """InfluxDB's line protocol: Timestream for InfluxDB, or one's own."""

    kind: Literal["influxdb"]
    url: HttpUrl
    database: str


class TablePricesSettings(Section):
    """The price table alone."""

    kind: Literal["table"] = "table"


def _has_a_shape(instance_type: str) -> str:
    shape_of(instance_type)
    return instance_type


InstanceType = Annotated[str, AfterValidator(_has_a_shape)]


class LivePricesSettings(Section):
    """Prices of the clouds, and reclaim rates learned from our own runs, over the price table."""

    kind: Literal["live"]
    aws: Literal["ec2", "fargate"] = "ec2"
    """What runs go to in AWS's regions: a region and capacity type has one price."""
    instance_types: tuple[InstanceType, ...] = Field(
        default=("c6i.xlarge", "m6i.xlarge", "r6i.xlarge"), min_length=1
    )
    """Of EC2, as the compute environments have them; sizes of a family cost the same per vCPU."""
    gcp_family: str = "E2"
    """Machine family of Compute Engine, as Google's price list writes it."""
    price_list_region: Literal["us-east-1", "eu-central-1", "ap-south-1"] = "eu-central-1"
    """Where AWS's list is asked; it tells of all regions."""
    ec2_url: HttpUrl | None = None
    price_list_url: HttpUrl | None = None
    billing_url: HttpUrl = HttpUrl(gcp_billing.BASE_URL)


class EnvironmentSecretsSettings(Section):
    """Keys from environment variables: for the embedded product."""

    kind: Literal["environment"] = "environment"


class VaultSettings(Section):
    """Keys from Vault's KV engine, version 2."""

    kind: Literal["vault"]
    url: HttpUrl
    login: Literal["kubernetes", "jwt", "approle", "aws"] = "kubernetes"
    role: str
    """Of Kubernetes, JWT or AWS auth; the role ID of AppRole."""
    credential_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    """What proves the role, read at each login: a JWT, or AppRole's secret ID. Not read by AWS
    auth, where the role that the process runs under is the proof."""
    auth_mount: str | None = None
    """Path of the auth method; its own name if left out."""
    mount: str = "secret"
    prefix: str = "lowtide"
    namespace: str | None = None
    ca_file: FilePath | None = None


StoreSettings = Annotated[SqliteSettings | DynamoDbSettings, Field(discriminator="kind")]
HistorySettings = Annotated[
    NoHistorySettings | S3HistorySettings | TimestreamHistorySettings | InfluxHistorySettings,
    Field(discriminator="kind"),
]
PriceFeedSettings = Annotated[TablePricesSettings | LivePricesSettings, Field(discriminator="kind")]
SecretsSettings = Annotated[EnvironmentSecretsSettings | VaultSettings, Field(discriminator="kind")]
