"""Where observations are kept for the trend, as the settings say."""

from __future__ import annotations

from activities.history import influx
from activities.history.aws import connect
from activities.history.influx import InfluxHistory
from activities.history.parquet_s3 import ParquetHistory
from activities.history.timestream import TimestreamHistory
from domain.ports import SecretName, SignalHistory
from workers.secret_sources import secret_source
from workers.sections import (
    HistorySettings,
    InfluxHistorySettings,
    NoHistorySettings,
    S3HistorySettings,
    SecretsSettings,
    TimestreamHistorySettings,
)


def history_of(settings: HistorySettings, secrets: SecretsSettings) -> SignalHistory | None:
    """Where observations are kept beside the signal store; ``None``: nowhere."""
    match settings:
        case NoHistorySettings():
            return None
        case S3HistorySettings():
            client = connect("s3", settings.region, _url(settings.endpoint_url))
            return ParquetHistory(client, settings.bucket, settings.prefix)
        case TimestreamHistorySettings():
            writer, reader = (
                connect(service, settings.region, _url(settings.endpoint_url))
                for service in ("timestream-write", "timestream-query")
            )
            return TimestreamHistory(writer, reader, settings.database, settings.table)
        case InfluxHistorySettings():
            source = secret_source(secrets)
            return InfluxHistory(
                influx.open_client(str(settings.url)),
                settings.database,
                lambda: source.read(SecretName.INFLUXDB_TOKEN),
            )


def _url(setting: object | None) -> str | None:
    return None if setting is None else str(setting).rstrip("/")
