"""History as Parquet on S3, to be read as it lies by Athena, DuckDB, Spark or pandas.

    PREFIX/signal=average/day=2026-11-24/observations.parquet

One object holds a UTC day (of each step's start) of one signal, all zones, sorted by zone and
start: 300 zones in steps of 5 minutes take some 300 KB. ``signal`` and ``day`` are Hive partitions;
the columns are those of ``SCHEMA``.

To append is to read the object, merge, and put it back only if it is still the one that was read
(``If-Match``, or ``If-None-Match: *`` for a new one). Who loses that race reads again and merges
into what the winner wrote: whoever writes at once, no point is lost or doubled. Nothing is put
where nothing is new, so three clocks a few seconds apart cost one PUT.

The role needs ``s3:GetObject``, ``s3:PutObject`` and ``s3:ListBucket``: without the last, S3 says
that it denies an object that is only not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from activities.contention import tries
from activities.errors import HistoryFault
from activities.history.aws import told
from activities.history.points import LONGEST_STEP, last_of_each, overlapping, readable
from domain.forecast import Observation, Signal

SCHEMA = pa.schema(
    [
        pa.field("zone", pa.string(), nullable=False),
        pa.field("start", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("step_s", pa.float64(), nullable=False),
        pa.field("g_per_kwh", pa.float64(), nullable=False),
        pa.field("provider", pa.string(), nullable=False),
    ]
)

FILE = "observations.parquet"

READERS = 8
"""Objects that one read fetches at a time."""

_COMPACT: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["zone", "step_s", "provider"],
    "column_encoding": {"start": "DELTA_BINARY_PACKED"},
}
"""Some 40 % smaller than by pyarrow's defaults."""

_POINT = ["zone", "start"]
_VALUES = [name for name in SCHEMA.names if name not in _POINT]
_RACE_LOST = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})
"""S3's answers to a conditional PUT where the object is no longer the one that was read."""


class ParquetHistory:
    """A ``SignalHistory`` in one S3 bucket."""

    name = "parquet-s3"

    def __init__(self, client: Any, bucket: str, prefix: str = "carbon-intensity") -> None:
        """Hold a client of S3 and the place of all objects."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.strip("/")

    def put_observations(self, observations: Sequence[Observation]) -> None:
        """Keep each observation; the same (zone, signal, start) again replaces it.

        One GET for each day and signal, and one PUT for each of those where something is new.

        Raises:
            HistoryFault: S3 failed, others kept writing, or an object is not one of ours. Days
                before the one that failed are kept.
        """
        days: dict[str, list[Observation]] = defaultdict(list)
        for item in last_of_each(observations):
            days[self._key(item.signal, item.start.astimezone(UTC).date())].append(item)
        with told(self.name):
            for key, items in days.items():
                self._merge(key, _table(items))

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        """Observations whose step overlaps [start, end), ordered by start.

        One request for each 1,000 days of the history from ``start`` on, and one for each day.

        Raises:
            HistoryFault: S3 failed, or an object is not one of ours.
        """
        first = (start - LONGEST_STEP).astimezone(UTC).date()
        last = end.astimezone(UTC).date()
        with told(self.name), ThreadPoolExecutor(READERS) as readers:
            tables = readers.map(self._read, self._keys(signal, first, last))
            ours = [table.filter(pc.field("zone") == zone) for table, _ in tables]
        found = (
            Observation(
                zone=zone,
                signal=signal,
                start=row["start"].astimezone(UTC),
                step_s=row["step_s"],
                g_per_kwh=row["g_per_kwh"],
                provider=row["provider"],
            )
            for table in ours
            for row in table.to_pylist()
        )
        return overlapping(found, start, end)

    def _merge(self, key: str, new: Any) -> None:
        for _ in tries():
            held, etag = self._read(key)
            merged = _merged(held, new)
            if merged.equals(held) or self._put(key, merged, etag):
                return
        raise HistoryFault(self.name, f"{key}: gave way to others too often")

    def _read(self, key: str) -> tuple[Any, str | None]:
        """An object's table and ETag; an empty table and ``None`` where there is no object."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except self._client.exceptions.NoSuchKey:
            return SCHEMA.empty_table(), None
        body = pa.BufferReader(answer["Body"].read())
        with readable(self.name, key):
            return pq.ParquetFile(body).read(columns=SCHEMA.names).cast(SCHEMA), answer["ETag"]

    def _put(self, key: str, table: Any, etag: str | None) -> bool:
        """Put the object in place of the one that was read; whether it was still that one."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **_COMPACT)
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=sink.getvalue().to_pybytes(),
                ContentType="application/vnd.apache.parquet",
                **condition,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _RACE_LOST:
                return False
            raise
        return True

    def _keys(self, signal: Signal, first: date, last: date) -> Iterator[str]:
        """Keys of the days from ``first`` to ``last`` that there are."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket,
            Prefix=self._partition(signal),
            StartAfter=f"{self._partition(signal)}day={first}",
        )
        for page in pages:
            for item in page.get("Contents", ()):
                if item["Key"] > self._key(signal, last):
                    return
                if item["Key"].endswith(f"/{FILE}"):
                    yield item["Key"]

    def _key(self, signal: Signal, day: date) -> str:
        return f"{self._partition(signal)}day={day}/{FILE}"

    def _partition(self, signal: Signal) -> str:
        return f"{self._prefix}/signal={signal.value}/"


def _table(observations: Sequence[Observation]) -> Any:
    rows = [{name: getattr(item, name) for name in SCHEMA.names} for item in observations]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _merged(held: Any, new: Any) -> Any:
    """Each point once, as ``new`` has it or else ``held``, sorted."""
    grouped = pa.concat_tables([held, new]).group_by(_POINT, use_threads=False)
    merged = grouped.aggregate([(name, "last") for name in _VALUES])
    renamed = merged.rename_columns({f"{name}_last": name for name in _VALUES})
    return (
        renamed.select(SCHEMA.names).cast(SCHEMA).sort_by([(name, "ascending") for name in _POINT])
    )
