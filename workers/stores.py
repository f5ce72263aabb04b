"""Where signals, room and ledger are kept, as the settings say."""

from __future__ import annotations

from activities.compute.aws_batch_fence import RunFence
from activities.compute.aws_batch_fence_dynamodb import DynamoFence
from activities.compute.aws_batch_fence_sqlite import SqliteFence
from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_table import Table, connect
from activities.stores.sqlite import SqliteStore
from workers.sections import DynamoDbSettings
from workers.settings import Settings


def store_of(settings: Settings) -> SqliteStore | DynamoStore:
    """One store behind the ports of signals, ledger and room."""
    if settings.store.kind == "sqlite":
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        return SqliteStore(settings.database)
    own = settings.store
    signals = _table(own, own.signals_region or own.region, own.signals_table)
    return DynamoStore(signals, _table(own, own.region, own.ledger_table))


def fence_of(settings: Settings) -> RunFence:
    """Where submissions to AWS Batch are fenced: beside the ledger."""
    if settings.store.kind == "sqlite":
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        return SqliteFence(settings.state_dir / "fence.db")
    own = settings.store
    return DynamoFence(_table(own, own.region, own.ledger_table))


def _table(own: DynamoDbSettings, region: str, name: str) -> Table:
    url = None if own.endpoint_url is None else str(own.endpoint_url)
    return Table(connect(region, url), name)
