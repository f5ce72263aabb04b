from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import pytest
from botocore.awsrequest import AWSResponse

from activities import contention
from activities.errors import HistoryFault
from activities.history.aws import connect
from activities.history.parquet_s3 import FILE, SCHEMA, ParquetHistory
from domain.forecast import Signal
from tests.activities.history.conftest import REGION
from tests.activities.history.wire import Wire, answer, wire
from tests.contracts.signal_history import (
    DAY,
    HOUR,
    NOW,
    OpenHistory,
    SignalHistoryContract,
    observed,
    read,
)

KEY = f"grid/signal=average/day=2026-11-24/{FILE}"
GET, PUT, LIST = "GetObject", "PutObject", "ListObjectsV2"

buckets = (f"history-{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def s3(aws_url: str) -> Iterator[Any]:
    client = connect("s3", REGION, aws_url)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = next(buckets)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


@pytest.fixture
def open_history(aws_url: str, bucket: str) -> Iterator[OpenHistory]:
    """Writers with a client each, as processes have."""
    clients = []

    def open_one() -> ParquetHistory:
        clients.append(connect("s3", REGION, aws_url))
        return ParquetHistory(clients[-1], bucket, "grid")

    yield open_one
    for client in clients:
        client.close()


@pytest.fixture
def history(s3: Any, bucket: str) -> ParquetHistory:
    return ParquetHistory(s3, bucket, "grid")


@pytest.fixture
def on_wire(s3: Any, bucket: str) -> Iterator[Wire]:
    del bucket  # which is made before we listen
    with wire(s3) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contention is worth three tries."""
    monkeypatch.setattr(contention, "TRIES", 3)


class TestContract(SignalHistoryContract):
    pass


def test_files_lie_as_hive_partitions(
    s3: Any, bucket: str, history: ParquetHistory, tmp_path: Path
) -> None:
    """One object a day and signal, all zones in it, that another reader finds its way in."""
    history.put_observations(
        [
            observed(NOW + n * HOUR, zone=zone, signal=signal)
            for n in (22, 0, 1)
            for zone in ("FR", "DE")
            for signal in Signal
        ]
    )
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == [
        f"grid/signal={signal}/day={day}/{FILE}"
        for signal in ("average", "marginal")
        for day in ("2026-11-24", "2026-11-25")
    ]
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True)
        s3.download_file(bucket, key, str(tmp_path / key))
    table = pyarrow.dataset.dataset(tmp_path / "grid", partitioning="hive").to_table()
    assert [*SCHEMA.names, "signal", "day"] == table.column_names
    assert table.num_rows == 12
    [first, *_] = table.filter(pyarrow.compute.field("signal") == "average").to_pylist()
    assert first == {
        "zone": "DE",
        "start": NOW,
        "step_s": 3600.0,
        "g_per_kwh": 25.0,
        "provider": "electricity-maps",
        "signal": "average",
        "day": "2026-11-24",
    }
    file = pyarrow.parquet.read_table(tmp_path / keys[0], partitioning=None)
    assert file.sort_by([("zone", "ascending"), ("start", "ascending")]).equals(file)


def test_nothing_is_put_where_nothing_is_new(history: ParquetHistory, on_wire: Wire) -> None:
    """The second and third clock of a refresh read, and write nothing."""
    observations = [observed(NOW + n * HOUR, zone=z) for n in range(3) for z in ("DE", "FR")]
    history.put_observations(observations)
    assert on_wire.operations() == [GET, PUT]
    history.put_observations(observations)
    history.put_observations(observations[::-1])
    assert on_wire.operations() == [GET, PUT, GET, GET]
    history.put_observations([replace(observations[0], g_per_kwh=26.0)])
    assert on_wire.operations()[4:] == [GET, PUT]


def test_requests_are_as_many_as_days(history: ParquetHistory, on_wire: Wire) -> None:
    """Three hundred zones cost no more than one; a read asks only for days that there are."""
    zones = [f"Z{number}" for number in range(300)]
    history.put_observations(
        [observed(NOW + day * DAY, zone=zone) for zone in zones for day in range(3)]
    )
    assert on_wire.operations() == [GET, PUT] * 3
    week = ("Z7", Signal.AVERAGE, NOW + DAY, NOW + 7 * DAY)
    assert len(history.observations(*week)) == 2
    assert on_wire.operations()[6:] == [LIST, GET, GET, GET]


@pytest.mark.parametrize("earlier", [[], [observed(NOW + 5 * HOUR)]], ids=["new", "held"])
def test_who_loses_a_race_merges_into_what_the_winner_wrote(
    open_history: OpenHistory,
    history: ParquetHistory,
    on_wire: Wire,
    earlier: list[Any],
) -> None:
    """The other writes between our reading and our writing: a new object, or a held one."""
    other = open_history()
    other.put_observations(earlier)
    theirs, ours = observed(NOW, 1.0), observed(NOW + HOUR, 2.0)

    def overtaken(_: Any) -> None:
        other.put_observations([theirs, replace(ours, g_per_kwh=9.0)])

    on_wire.disturb(PUT, overtaken)
    history.put_observations([ours])
    assert on_wire.operations() == [GET, PUT, GET, PUT]
    assert read(history) == (theirs, ours, *earlier)


def test_an_object_that_went_away_is_begun_again(
    s3: Any, bucket: str, history: ParquetHistory, on_wire: Wire
) -> None:
    """A lifecycle rule may remove a day between our reading and our writing."""
    history.put_observations([observed()])

    def removed(_: Any) -> None:
        s3.delete_object(Bucket=bucket, Key=KEY)

    on_wire.disturb(PUT, removed)
    history.put_observations([observed(NOW + HOUR)])
    assert read(history) == (observed(NOW + HOUR),)


def conflict(_: Any) -> AWSResponse:
    """Another conditional request on the object is under way."""
    code = b"<Error><Code>ConditionalRequestConflict</Code><Message>m</Message></Error>"
    return answer(409, code)


def test_a_conflicting_request_is_waited_for(history: ParquetHistory, on_wire: Wire) -> None:
    """S3 answers 409 where it cannot tell yet who was first."""
    on_wire.disturb(PUT, conflict, conflict)
    history.put_observations([observed()])
    assert on_wire.operations() == [GET, PUT, GET, PUT, GET, PUT]
    assert read(history) == (observed(),)


def test_a_lost_answer_doubles_nothing(history: ParquetHistory, on_wire: Wire) -> None:
    """Botocore puts again, is refused since it was put, and the merge finds nothing new."""
    on_wire.disturb(PUT, on_wire.lost)
    history.put_observations([observed()])
    assert on_wire.operations() == [GET, PUT, PUT, GET]
    assert read(history) == (observed(),)


@pytest.mark.usefixtures("impatient")
def test_contention_without_end_is_told(
    open_history: OpenHistory, history: ParquetHistory, on_wire: Wire
) -> None:
    """After a bounded number of tries we give way; what others wrote stands."""
    other = open_history()
    theirs = [observed(NOW + n * HOUR) for n in range(3)]
    overtaking: list[Callable[[Any], None]] = [
        lambda _, item=item: other.put_observations([item]) for item in theirs
    ]
    on_wire.disturb(PUT, *overtaking)
    with pytest.raises(HistoryFault, match=f"{KEY}: gave way to others"):
        history.put_observations([observed(NOW + 9 * HOUR)])
    assert read(history) == tuple(theirs)


def other_columns() -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({"zone": ["DE"]}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("foreign", [b"", b"zone,start\n", b"PAR1 PAR1", other_columns()])
def test_what_is_not_ours_is_left_alone(
    s3: Any, bucket: str, history: ParquetHistory, foreign: bytes
) -> None:
    """An object of another form is told, and never written over."""
    s3.put_object(Bucket=bucket, Key=KEY, Body=foreign)
    for use in (lambda: history.put_observations([observed()]), lambda: read(history)):
        with pytest.raises(HistoryFault, match=f"{KEY} cannot be read"):
            use()
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == foreign


def test_other_files_beside_are_passed_over(s3: Any, bucket: str, history: ParquetHistory) -> None:
    """Readers leave markers and manifests in such places."""
    history.put_observations([observed()])
    for name in ("_SUCCESS", "day=2026-11-24/_metadata", "day=2026-11-24_$folder$"):
        s3.put_object(Bucket=bucket, Key=f"grid/signal=average/{name}", Body=b"x")
    assert read(history) == (observed(),)


def test_a_refusal_is_told_by_its_code_alone(history: ParquetHistory, on_wire: Wire) -> None:
    """What the service says beside it may quote what nobody should read."""
    denied = b"<Error><Code>AccessDenied</Code><Message>key AKIA1</Message></Error>"
    on_wire.disturb(GET, lambda _: answer(403, denied))
    with pytest.raises(HistoryFault) as told:
        history.put_observations([observed()])
    assert str(told.value) == "history parquet-s3: GetObject failed with AccessDenied"


def test_no_answer_is_told(bucket: str, aws_url: str) -> None:
    """Nobody listens there."""
    del aws_url  # for its credentials
    client = connect("s3", REGION, "http://127.0.0.1:9")
    with pytest.raises(HistoryFault, match="failed with EndpointConnectionError"):
        ParquetHistory(client, bucket).put_observations([observed()])
    client.close()


def test_a_day_is_one_of_utc(s3: Any, bucket: str, history: ParquetHistory) -> None:
    """Wherever the clock of who observed it stands."""
    history.put_observations([observed(NOW.astimezone(timezone(timedelta(hours=-11))))])
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [KEY]
    assert read(history) == (observed(),)
