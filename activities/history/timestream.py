"""History in Amazon Timestream for LiveAnalytics.

Kept for accounts that have it: it was closed to new customers in June 2025, and it was never
offered in ``eu-north-1``. Nothing here was run against the service itself. What simulators prove is
the form of our requests and our reading of answers, not that what is written is read back.

One multi-measure record a point. Its identity is its time, its dimensions (``zone``, ``signal``)
and its measure name; the provider is a measure, or a change of provider would double points. Each
request carries a ``Version``, the time of writing: Timestream takes a record of a higher version in
place of the one it holds, and the same record again without effect. A record that is refused
because a later version stands was overtaken by another writer, which is no fault.

The table needs magnetic store writes enabled: providers publish, and correct, hours that the memory
store no longer takes. Reads are eventually consistent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from activities.errors import HistoryFault
from activities.history.aws import told
from activities.history.points import (
    LONGEST_STEP,
    batches,
    last_of_each,
    micros,
    overlapping,
    readable,
)
from domain.forecast import Observation, Signal

RECORDS_A_REQUEST = 100
"""The most that ``WriteRecords`` takes."""

MEASURE = "carbon_intensity"


class TimestreamHistory:
    """A ``SignalHistory`` in one table."""

    name = "timestream"

    def __init__(
        self,
        writer: Any,
        reader: Any,
        database: str,
        table: str,
        version: Callable[[], int] = time.time_ns,
    ) -> None:
        """Hold the clients.

        Args:
            writer: of ``timestream-write``.
            reader: of ``timestream-query``.
            database: where the table is.
            table: where the points are.
            version: rises from each writing to the next, over all writers.
        """
        self._writer = writer
        self._reader = reader
        self._database = database
        self._table = table
        self._version = version

    def put_observations(self, observations: Sequence[Observation]) -> None:
        """Keep each observation; the same (zone, signal, start) again replaces it.

        One request for 100 of them.

        Raises:
            HistoryFault: Timestream failed, or refused some of them; it took the others.
        """
        records = [_record(item) for item in last_of_each(observations)]
        refused: list[str] = []
        with told(self.name):
            for batch in batches(records, RECORDS_A_REQUEST):
                refused += self._write(batch)
        if refused:
            what = f"{len(refused)} of {len(records)} records were refused: {refused[0]}"
            raise HistoryFault(self.name, what)

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        """Observations whose step overlaps [start, end), ordered by start.

        Raises:
            HistoryFault: Timestream failed.
        """
        query = self._query(zone, signal, start - LONGEST_STEP, end)
        with told(self.name):
            pages = self._reader.get_paginator("query").paginate(QueryString=query)
            rows = [(page["ColumnInfo"], row["Data"]) for page in pages for row in page["Rows"]]
        with readable(self.name, "its answer"):
            found = [_observation(zone, signal, *row) for row in rows]
        return overlapping(found, start, end)

    def _write(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Reasons of those that were refused for good."""
        try:
            self._writer.write_records(
                DatabaseName=self._database,
                TableName=self._table,
                CommonAttributes={
                    "MeasureName": MEASURE,
                    "MeasureValueType": "MULTI",
                    "TimeUnit": "MICROSECONDS",
                    "Version": self._version(),
                },
                Records=records,
            )
        except self._writer.exceptions.RejectedRecordsException as error:
            return [
                item.get("Reason", "no reason given")
                for item in error.response["RejectedRecords"]
                if "ExistingVersion" not in item
            ]
        return []

    def _query(self, zone: str, signal: Signal, after: datetime, before: datetime) -> str:
        return (
            'SELECT "time", "step_s", "g_per_kwh", "provider"'  # noqa: S608 - quoted
            f" FROM {_identifier(self._database)}.{_identifier(self._table)}"
            f" WHERE measure_name = {_text(MEASURE)}"
            f' AND "zone" = {_text(zone)} AND "signal" = {_text(signal.value)}'
            f' AND "time" > from_nanoseconds({1000 * micros(after)})'
            f' AND "time" < from_nanoseconds({1000 * micros(before)})'
            ' ORDER BY "time"'
        )


def _record(item: Observation) -> dict[str, Any]:
    return {
        "Dimensions": [
            {"Name": "zone", "Value": item.zone},
            {"Name": "signal", "Value": item.signal.value},
        ],
        "Time": str(micros(item.start)),
        "MeasureValues": [
            {"Name": "step_s", "Value": repr(item.step_s), "Type": "DOUBLE"},
            {"Name": "g_per_kwh", "Value": repr(item.g_per_kwh), "Type": "DOUBLE"},
            {"Name": "provider", "Value": item.provider, "Type": "VARCHAR"},
        ],
    }


def _observation(
    zone: str, signal: Signal, columns: Sequence[Mapping[str, Any]], cells: Sequence[Any]
) -> Observation:
    """A row of a query's answer, which is all text."""
    names = (column["Name"] for column in columns)
    row = dict(zip(names, (cell["ScalarValue"] for cell in cells), strict=True))
    return Observation(
        zone=zone,
        signal=signal,
        start=datetime.fromisoformat(row["time"]).replace(tzinfo=UTC),
        step_s=float(row["step_s"]),
        g_per_kwh=float(row["g_per_kwh"]),
        provider=row["provider"],
    )


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
