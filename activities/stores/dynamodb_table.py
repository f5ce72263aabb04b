"""One DynamoDB table: keys, plain values, requests in batches, transactions.

All that is untyped (boto3 has no types) and all that speaks of requests stands here; the stores
above know items of plain values. Every read is strongly consistent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from activities import aws
from activities.contention import tries
from activities.errors import StepTooLarge, StoreContended, StoreUnavailable

PARTITION, SORT = "pk", "sk"
"""The key schema of every table: both strings."""

ABSENT = f"attribute_not_exists({PARTITION})"
"""Condition of a write: no item has this key."""

SHARDS = 8
"""Partitions that each list of jobs or forecasts is spread over. Part of the layout: a table
written with one number is not read with another. A partition takes 1,000 write units a second."""

TRANSACTION_ITEMS = 100
"""Items that one ``TransactWriteItems`` may write."""

ITEM_BYTES = 400 * 1024
"""What one item may come to, names of its attributes included."""

_BATCH_WRITES = 25
_BATCH_READS = 100

_CONDITION = "ConditionalCheckFailed"
_PASSING = frozenset({"TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"})
"""Reasons for which a cancelled transaction may go through when it is tried again."""

_PATIENT = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=2,
    read_timeout=5,
    max_pool_connections=32,
)
"""botocore itself tries again, for 7 s at most, where an answer is lost, the service fails or it
throttles: so every request of these stores may reach the table twice."""

Key = tuple[str, str]
"""(partition key, sort key)."""

Item = Mapping[str, Any]
"""Attributes by name: ``str``, ``int``, ``bool``, ``bytes`` or a mapping of these."""

T = TypeVar("T")


def connect(region: str, endpoint_url: str | None = None) -> Any:
    """A client for ``Table``; credentials come from where boto3 looks for them."""
    return boto3.client("dynamodb", region_name=region, endpoint_url=endpoint_url, config=_PATIENT)


def shard_of(name: str) -> int:
    """Which of the ``SHARDS`` partitions of a list a name belongs to."""
    return zlib.crc32(name.encode()) % SHARDS


def chunks(values: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """``values`` in order, ``size`` at a time."""
    rest = list(values)
    for start in range(0, len(rest), size):
        yield rest[start : start + size]


@dataclass(frozen=True, slots=True)
class Put:
    """Write an item whole, if its condition holds."""

    item: Item
    condition: str = ""
    values: Item = field(default_factory=dict)

    def request(self, table: str) -> dict[str, Any]:
        """The item of a ``TransactWriteItems`` request."""
        return {"Put": {"TableName": table, "Item": _wire(self.item), **_conditional(self)}}


@dataclass(frozen=True, slots=True)
class Update:
    """Change attributes of an item, or begin it, if its condition holds."""

    key: Key
    change: str
    condition: str = ""
    values: Item = field(default_factory=dict)

    def request(self, table: str) -> dict[str, Any]:
        """The item of a ``TransactWriteItems`` request: a refusal tells what stands there."""
        return {
            "Update": {
                "TableName": table,
                "Key": _key(self.key),
                "UpdateExpression": self.change,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **_conditional(self),
            }
        }


@dataclass(frozen=True, slots=True)
class Delete:
    """Take an item away, or find it gone."""

    key: Key

    def request(self, table: str) -> dict[str, Any]:
        """The item of a ``TransactWriteItems`` request."""
        return {"Delete": {"TableName": table, "Key": _key(self.key)}}


Write = Put | Update | Delete


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one write of a cancelled transaction did not go through, if it was that one."""

    code: str
    found: Item
    """What stood there, where the write was an ``Update``."""

    @property
    def unmet(self) -> bool:
        """Whether its condition did not hold."""
        return self.code == _CONDITION


class Cancelled(Exception):
    """A transaction wrote nothing, and may do better when it is made again from what stands."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(", ".join(reason.code for reason in reasons))

    @property
    def passing(self) -> bool:
        """Whether the same transaction may go through later: another one was under way."""
        return any(reason.code in _PASSING for reason in self.reasons)


class Table:
    """A table's requests. Threads may share it.

    Each raises ``StoreUnavailable`` where DynamoDB is out of reach, fails or refuses us.
    """

    def __init__(self, client: Any, name: str) -> None:
        """Hold a client of ``connect`` and the table's name."""
        self.client = client
        self.name = name

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def get(self, key: Key) -> Item | None:
        """One item. One request."""
        with self._told():
            answer = self.client.get_item(TableName=self.name, Key=_key(key), ConsistentRead=True)
        return _plain(answer["Item"]) if "Item" in answer else None

    def query(self, partition: str, first: str = "", last: str = "") -> Iterator[Item]:
        """A partition's items in order, from sort key ``first`` to ``last`` where they are given.

        One request for each MB.
        """
        condition, values = f"{PARTITION} = :p", {":p": partition}
        if first and last:
            condition += f" AND {SORT} BETWEEN :first AND :last"
        elif first or last:
            condition += f" AND {SORT} >= :first" if first else f" AND {SORT} <= :last"
        values |= {f":{name}": key for name, key in (("first", first), ("last", last)) if key}
        pages = self.client.get_paginator("query").paginate(
            TableName=self.name,
            ConsistentRead=True,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=_wire(values),
        )
        with self._told():
            for page in pages:
                yield from map(_plain, page["Items"])

    def last(self, partition: str) -> Item | None:
        """The item with the highest sort key. One request."""
        with self._told():
            answer = self.client.query(
                TableName=self.name,
                ConsistentRead=True,
                KeyConditionExpression=f"{PARTITION} = :p",
                ExpressionAttributeValues=_wire({":p": partition}),
                ScanIndexForward=False,
                Limit=1,
            )
        return next(map(_plain, answer["Items"]), None)

    def get_all(self, keys: Iterable[Key], attributes: Sequence[str] = ()) -> Iterator[Item]:
        """The items that are there, in any order, whole or some of their attributes.

        One request for 100 keys, and more only where their items come to over 16 MB.
        """
        wanted: dict[str, Any] = {"ConsistentRead": True}
        if attributes:
            wanted |= {"ProjectionExpression": ", ".join(attributes)}
        for chunk in chunks(dict.fromkeys(keys), _BATCH_READS):
            pending = list(map(_key, chunk))
            for _ in tries():
                with self._told():
                    answer = self.client.batch_get_item(
                        RequestItems={self.name: {**wanted, "Keys": pending}}
                    )
                yield from map(_plain, answer["Responses"].get(self.name, ()))
                pending = answer["UnprocessedKeys"].get(self.name, {}).get("Keys", [])
                if not pending:
                    break
            else:
                raise StoreContended(self.name, "reading")

    def put_all(self, items: Iterable[Item]) -> None:
        """Write items whole, whatever stands there. One request for 25."""
        self._write_all({"PutRequest": {"Item": _wire(item)}} for item in items)

    def delete_all(self, keys: Iterable[Key]) -> None:
        """Take items away. One request for 25."""
        self._write_all({"DeleteRequest": {"Key": _key(key)}} for key in keys)

    def transact(self, writes: Sequence[Write]) -> None:
        """Apply all writes or none. One request.

        Raises:
            Cancelled: a condition did not hold, or another transaction was under way.
            StepTooLarge: these are more items than one transaction takes.
        """
        if len(writes) > TRANSACTION_ITEMS:
            raise StepTooLarge("items in one transaction", len(writes), TRANSACTION_ITEMS)
        with self._told():
            try:
                self.client.transact_write_items(
                    TransactItems=[write.request(self.name) for write in writes]
                )
            except self.client.exceptions.TransactionCanceledException as error:
                reasons = [
                    Reason(given.get("Code", "None"), _plain(given.get("Item", {})))
                    for given in error.response["CancellationReasons"]
                ]
                if {reason.code for reason in reasons} <= {"None", _CONDITION, *_PASSING}:
                    raise Cancelled(reasons) from None
                raise

    def _write_all(self, requests: Iterable[Mapping[str, Any]]) -> None:
        for chunk in chunks(requests, _BATCH_WRITES):
            pending: Sequence[Any] = chunk
            for _ in tries():
                with self._told():
                    try:
                        answer = self.client.batch_write_item(RequestItems={self.name: pending})
                    except ClientError as error:
                        if error.response["Error"]["Code"] != "TransactionConflictException":
                            raise
                        continue
                pending = answer["UnprocessedItems"].get(self.name, [])
                if not pending:
                    break
            else:
                raise StoreContended(self.name, "writing")

    def _told(self) -> AbstractContextManager[None]:
        return aws.told(partial(StoreUnavailable, self.name))


def create_table(table: Table) -> None:
    """Make a table as ``dynamodb.py`` describes it, for tests and a local server.

    In an account, infrastructure code makes it, with backups and protection against deletion.
    """
    table.client.create_table(
        TableName=table.name,
        KeySchema=[
            {"AttributeName": PARTITION, "KeyType": "HASH"},
            {"AttributeName": SORT, "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in (PARTITION, SORT)
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    table.client.get_waiter("table_exists").wait(TableName=table.name)


def key_of(item: Item) -> Key:
    """An item's key."""
    return item[PARTITION], item[SORT]


def keyed(key: Key, **attributes: Any) -> Item:
    """An item of these attributes; those that are ``None`` are left out."""
    partition, sort = key
    present = {name: value for name, value in attributes.items() if value is not None}
    return {PARTITION: partition, SORT: sort, **present}


def stamp(instant: datetime) -> str:
    """An instant as a text that sorts as instants do, to the microsecond."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def _conditional(write: Put | Update) -> dict[str, Any]:
    request: dict[str, Any] = {}
    if write.condition:
        request["ConditionExpression"] = write.condition
    if write.values:
        request["ExpressionAttributeValues"] = _wire(write.values)
    return request


def _key(key: Key) -> dict[str, Any]:
    return _wire(dict(zip((PARTITION, SORT), key, strict=True)))


def _wire(item: Item) -> dict[str, Any]:
    return {name: _wire_value(value) for name, value in item.items()}


def _wire_value(value: Any) -> dict[str, Any]:
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": _wire(value)}
    raise TypeError(f"no attribute holds a {type(value).__name__}")


def _plain(item: Item) -> Item:
    return {name: _plain_value(value) for name, value in item.items()}


def _plain_value(value: Mapping[str, Any]) -> Any:
    [(kind, content)] = value.items()
    match kind:
        case "N":
            return int(content)
        case "M":
            return _plain(content)
    return content
