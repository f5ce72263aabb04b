"""What is kept in DynamoDB, as the settings say."""

from __future__ import annotations

from activities.compute.aws_batch_fence_dynamodb import DynamoFence
from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_table import Table, connect
from workers.sections import DynamoDbSettings


def dynamo_store(own: DynamoDbSettings) -> DynamoStore:
    """Signals in one table, ledger and room in another."""
    signals = _table(own, own.signals_region or own.region, own.signals_table)
    return DynamoStore(signals, _table(own, own.region, own.ledger_table))


def dynamo_fence(own: DynamoDbSettings) -> DynamoFence:
    """Submissions to AWS Batch are fenced beside the ledger."""
    return DynamoFence(_table(own, own.region, own.ledger_table))


def _table(own: DynamoDbSettings, region: str, name: str) -> Table:
    url = None if own.endpoint_url is None else str(own.endpoint_url)
    return Table(connect(region, url), name)
