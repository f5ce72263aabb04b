"""Timestream's requests and answers: nothing here shows that what is written is read back.

The simulated service counts what is written and gives the answers that it was given to give.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from botocore.awsrequest import AWSResponse

from activities.errors import HistoryFault
from activities.history.aws import connect
from activities.history.timestream import TimestreamHistory
from domain.forecast import Signal
from tests.activities.history.conftest import REGION
from tests.activities.history.wire import Wire, answer, wire
from tests.contracts.signal_history import HOUR, NOW, observed

WRITE = "WriteRecords"

QUERY = (
    'SELECT "time", "step_s", "g_per_kwh", "provider" FROM "lowtide"."history"'
    " WHERE measure_name = 'carbon_intensity'"
    " AND \"zone\" = 'O''Brien' AND \"signal\" = 'average'"
    ' AND "time" > from_nanoseconds(1795399200000000000)'
    ' AND "time" < from_nanoseconds(1795492800000000000) ORDER BY "time"'
)
ASKED = ("O'Brien", Signal.AVERAGE, NOW, NOW + 2 * HOUR)


@pytest.fixture(scope="module")
def clients(aws_url: str) -> Iterator[tuple[Any, Any]]:
    """To write and to query."""
    writer, reader = (connect(f"timestream-{use}", REGION, aws_url) for use in ("write", "query"))
    writer.create_database(DatabaseName="lowtide")
    writer.create_table(DatabaseName="lowtide", TableName="history")
    yield writer, reader
    writer.close()
    reader.close()


@pytest.fixture
def history(clients: tuple[Any, Any]) -> TimestreamHistory:
    """Versions are 1, 2, 3 and so on."""
    return TimestreamHistory(*clients, "lowtide", "history", itertools.count(1).__next__)


@pytest.fixture
def on_wire(clients: tuple[Any, Any]) -> Iterator[Wire]:
    with wire(clients[0]) as opened:
        yield opened


def test_a_record_is_one_point(history: TimestreamHistory, on_wire: Wire) -> None:
    """Time, zone and signal identify it; what may be corrected is a measure."""
    history.put_observations([observed(g_per_kwh=1 / 3)])
    [(_, body)] = on_wire.sent
    assert json.loads(body) == {
        "DatabaseName": "lowtide",
        "TableName": "history",
        "CommonAttributes": {
            "MeasureName": "carbon_intensity",
            "MeasureValueType": "MULTI",
            "TimeUnit": "MICROSECONDS",
            "Version": 1,
        },
        "Records": [
            {
                "Dimensions": [
                    {"Name": "zone", "Value": "SE-SE3"},
                    {"Name": "signal", "Value": "average"},
                ],
                "Time": "1795485600000000",
                "MeasureValues": [
                    {"Name": "step_s", "Value": "3600.0", "Type": "DOUBLE"},
                    {"Name": "g_per_kwh", "Value": "0.3333333333333333", "Type": "DOUBLE"},
                    {"Name": "provider", "Value": "electricity-maps", "Type": "VARCHAR"},
                ],
            }
        ],
    }


def test_records_travel_in_batches_of_a_hundred(history: TimestreamHistory, on_wire: Wire) -> None:
    """Each point once, though it was given twice: the service refuses two in one request."""
    hours = [observed(NOW + n * HOUR) for n in range(250)]
    history.put_observations([*hours, *hours])
    batches = [json.loads(body)["Records"] for _, body in on_wire.sent]
    assert [len(batch) for batch in batches] == [100, 100, 50]
    times = [record["Time"] for batch in batches for record in batch]
    assert len(set(times)) == 250


def test_a_later_writing_has_a_higher_version(history: TimestreamHistory, on_wire: Wire) -> None:
    """So a correction takes the place of what it corrects."""
    for value in (25.0, 26.0):
        history.put_observations([observed(g_per_kwh=value)])
    versions = [json.loads(body)["CommonAttributes"]["Version"] for _, body in on_wire.sent]
    assert versions == [1, 2]


def test_versions_are_of_the_clock_where_none_are_given(
    clients: tuple[Any, Any], on_wire: Wire
) -> None:
    """Writers in different processes need no other agreement."""
    history = TimestreamHistory(*clients, "lowtide", "history")
    for _ in range(2):
        history.put_observations([observed()])
    first, second = (json.loads(body)["CommonAttributes"]["Version"] for _, body in on_wire.sent)
    assert 1.7e18 < first < second < 2**63


def test_a_lost_answer_is_asked_for_again_as_it_was(
    history: TimestreamHistory, on_wire: Wire
) -> None:
    """The same version and values: the service takes them twice without effect."""
    on_wire.disturb(WRITE, on_wire.lost)
    history.put_observations([observed()])
    first, second = (body for _, body in on_wire.sent)
    assert first == second


def rejected(*records: dict[str, Any]) -> AWSResponse:
    kind = "com.amazonaws.timestream.v20181101#RejectedRecordsException"
    document = {"__type": kind, "message": "m", "RejectedRecords": records}
    return answer(419, json.dumps(document).encode())


def test_a_later_version_that_stands_is_no_fault(history: TimestreamHistory, on_wire: Wire) -> None:
    """Another writer was later; its value is the one to keep. The next batches go on."""
    overtaken = rejected({"RecordIndex": 3, "Reason": "r", "ExistingVersion": 9})
    on_wire.disturb(WRITE, lambda _: overtaken)
    history.put_observations([observed(NOW + n * HOUR) for n in range(150)])
    assert on_wire.operations() == [WRITE, WRITE]


def test_other_refusals_are_told_when_all_is_sent(
    history: TimestreamHistory, on_wire: Wire
) -> None:
    """The service takes the rest of a batch, and we send the rest of the batches."""
    on_wire.disturb(
        WRITE,
        lambda _: rejected(
            {"RecordIndex": 0, "Reason": "outside the memory store"},
            {"RecordIndex": 1, "Reason": "r", "ExistingVersion": 9},
        ),
        lambda _: rejected({"RecordIndex": 7}),
    )
    with pytest.raises(HistoryFault, match="2 of 250 records were refused: outside the memory"):
        history.put_observations([observed(NOW + n * HOUR) for n in range(250)])
    assert on_wire.operations() == [WRITE] * 3


def test_failures_are_told_by_their_code(history: TimestreamHistory, on_wire: Wire) -> None:
    """The account may not have this service at all."""
    denied = {"__type": "x#AccessDeniedException", "message": "key AKIA1"}
    on_wire.disturb(WRITE, lambda _: answer(400, json.dumps(denied).encode()))
    with pytest.raises(HistoryFault) as told:
        history.put_observations([observed()])
    assert str(told.value) == "history timestream: WriteRecords failed with AccessDeniedException"


COLUMNS = [
    {"Name": name, "Type": {"ScalarType": kind}}
    for name, kind in [
        ("time", "TIMESTAMP"),
        ("step_s", "DOUBLE"),
        ("g_per_kwh", "DOUBLE"),
        ("provider", "VARCHAR"),
    ]
]


def page(*rows: tuple[str | None, ...], following: str | None = None) -> dict[str, Any]:
    """One page of a query's answer, which is all text."""
    cells = [
        [{"NullValue": True} if text is None else {"ScalarValue": text} for text in row]
        for row in rows
    ]
    found = {"QueryId": "q", "ColumnInfo": COLUMNS, "Rows": [{"Data": row} for row in cells]}
    return found | ({"NextToken": following} if following else {})


def given(aws_url: str, *pages: dict[str, Any]) -> None:
    """Let the simulated service answer ``QUERY``, and no other, with these pages."""
    answers = {"region": REGION, "results": {QUERY: pages}}
    url = f"{aws_url}/moto-api/static/timestream/query-results"
    assert httpx.post(url, json=answers).status_code == 201


def test_a_query_is_read_page_by_page(history: TimestreamHistory, aws_url: str) -> None:
    """Nanoseconds are the service's way to write; a page may be empty; the day before is cut."""
    given(
        aws_url,
        page(
            ("2026-11-23 03:00:00.000000000", "3600.0", "1.0", "x"),
            ("2026-11-24 01:30:00.000000000", "3600.0", "2.0", "x"),
            following="2",
        ),
        page(following="3"),
        page(("2026-11-24 02:30:00.000007000", "0.1", "0.3333333333333333", "a, b")),
    )
    half = HOUR / 2
    assert history.observations(*ASKED) == (
        observed(NOW - half, 2.0, zone="O'Brien", provider="x"),
        observed(
            NOW + half + timedelta(microseconds=7), 1 / 3, 0.1, zone="O'Brien", provider="a, b"
        ),
    )


def test_no_rows_are_no_observations(history: TimestreamHistory) -> None:
    """An unknown zone is no error."""
    assert history.observations(*ASKED) == ()


def test_rows_of_another_form_are_told(history: TimestreamHistory, aws_url: str) -> None:
    """Somebody else writes into the table."""
    given(aws_url, page(("2026-11-24 02:00:00.000000000", None, "1.0", "x")))
    with pytest.raises(HistoryFault, match=r"its answer cannot be read \(KeyError\)"):
        history.observations(*ASKED)
