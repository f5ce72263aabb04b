from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.errors import StepTooLarge, StoreUnavailable
from activities.stores.bundle import read_bundle
from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_signals import EXPIRES
from activities.stores.dynamodb_table import Table, connect, create_table
from activities.stores.sqlite import SqliteStore
from domain.capacity import CapacityType
from domain.export import export_lines
from domain.ledger import EventKind
from domain.ports import Commit, DocumentName
from domain.room import Reserved
from domain.verify import verify_ledger
from tests.activities.stores.dynamodb_user import opened
from tests.activities.stores.test_sqlite import assert_whole
from tests.contracts.documents import DocumentsContract
from tests.contracts.ledger import LedgerContract
from tests.contracts.room import HOUR, REGION, RoomContract, claim, draft, view
from tests.contracts.signal_store import FORECAST, NOW, SignalStoreContract, observed
from tests.domain.recorded import append_root, record_job, stub_decide

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(dynamo_store: DynamoStore) -> DynamoStore:
    return dynamo_store


class TestSignalStore(SignalStoreContract):
    pass


class TestLedger(LedgerContract):
    pass


class TestRoom(RoomContract):
    pass


class TestDocuments(DocumentsContract):
    pass


# ── processes ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def table(dynamodb: Any, request: pytest.FixtureRequest) -> str:
    """The name of a new table."""
    name = request.node.originalname
    create_table(Table(dynamodb, name))
    return name


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.activities.stores.dynamodb_user", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_never_take_more_room_than_there_is(aws_url: str, table: str) -> None:
    """Two processes that race for the same hours fill them to the limit exactly."""
    jobs, limit = 8, 10
    racers = [start("race", aws_url, table, prefix, jobs, limit) for prefix in ("a", "b")]
    took = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(took) == limit
    with opened(aws_url, table) as store:
        assert len(store.records()) == 2 * jobs
        assert sum(len(store.events(item.job)) for item in store.records()) == limit
        hours = dict.fromkeys((HOUR, HOUR + 1), Reserved(float(limit), 0))
        assert {(REGION, CapacityType.SPOT): hours} == view(store).reserved


def test_a_killed_writer_leaves_every_commit_whole(aws_url: str, table: str) -> None:
    """After kill -9 in mid-write: what was answered stands, event, blob and claim agree."""
    writers = {job: start("chain", aws_url, table, job) for job in ("left", "right")}
    answered = {}
    for job, writer in writers.items():
        for line in itertools.islice(writer.stdout, 3):
            answered[job] = int(line)
    for writer in writers.values():
        writer.kill()
    for job, writer in writers.items():
        for line in writer.communicate()[0].split():
            answered[job] = int(line)
    with opened(aws_url, table) as store:
        for job in writers:
            assert_whole(store, job, answered[job])


# ── places ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def apart(aws_url: str) -> Iterator[DynamoStore]:
    """Signals in one region, ledger and room in another."""
    signals = Table(connect("eu-west-1", aws_url), "lowtide-signals")
    ledger = Table(connect("eu-north-1", aws_url), "lowtide-ledger")
    create_table(signals)
    create_table(ledger)
    with DynamoStore(signals, ledger) as store:
        yield store


def test_signals_and_ledger_may_be_tables_of_two_regions(apart: DynamoStore) -> None:
    """Each port writes its own table: signals may be spread, ledger and room are at home."""
    apart.put_forecasts([FORECAST])
    apart.put_observations([observed(NOW)])
    apart.admit("a", b"a", "e1", rerun=False)
    apart.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))
    apart.put_document(DocumentName.RECLAIMS, b"{}")
    assert {"forecasts", "observed", "revision", "documents"} == kinds_of(apart._signals)
    assert {"jobs", "events", "blob", "room", "moved", "expiring"} == kinds_of(apart._table)
    with pytest.raises(StoreUnavailable, match="ResourceNotFound"):
        Table(apart._signals.client, "lowtide-ledger").get(("a", "b"))


def test_only_forecasts_may_expire(store: DynamoStore) -> None:
    """TTL never takes a blob, an event or an observation: none has the attribute it goes by."""
    store.put_forecasts([FORECAST])
    store.put_observations([observed(NOW)])
    store.put_document(DocumentName.RECLAIMS, b"{}")
    record_job(store, "a")
    append_root(store)
    expiring = {
        item["pk"]["S"].split("#")[0]
        for table in (store._signals, store._table)
        for item in scan(table)
        if EXPIRES in item
    }
    assert expiring == {"forecasts"}
    ttl = store._signals.client.describe_time_to_live(TableName=store._signals.name)
    assert ttl["TimeToLiveDescription"]["AttributeName"] == EXPIRES


def scan(table: Table) -> list[dict[str, Any]]:
    return table.client.scan(TableName=table.name)["Items"]


def kinds_of(table: Table) -> set[str]:
    return {item["pk"]["S"].split("#")[0] for item in scan(table)}


# ── verification ─────────────────────────────────────────────────────────────────────────────


def fill(store: DynamoStore | SqliteStore) -> None:
    """Two rooted jobs, one that moved on since, one that no root covers."""
    first = record_job(store, "a")
    record_job(store, "b")
    append_root(store)
    store.admit(first, store.blob(store.record(first).manifest_sha256), "e2", rerun=False)
    store.commit(Commit(first, 6, (draft(EventKind.OVERRIDE),)))
    record_job(store, "c")


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened_file:
        fill(opened_file)
        yield opened_file


def test_the_same_commits_make_the_same_ledger(
    store: DynamoStore, embedded: SqliteStore, tmp_path: Path
) -> None:
    """Rows, roots, heads, bytes and verification agree with SQLite's; so does an export."""
    fill(store)
    assert embedded.records() == store.records()
    assert embedded.roots() == store.roots()
    assert embedded.heads_since_last_root() == store.heads_since_last_root()
    for record in embedded.records():
        assert embedded.stored_events(record.job) == store.stored_events(record.job)
    report = verify_ledger(embedded, stub_decide)
    assert report.holds
    assert report == verify_ledger(store, stub_decide)
    bundle = tmp_path / "ledger.jsonl"
    bundle.write_text("".join(f"{line}\n" for line in export_lines(store)))
    assert list(export_lines(embedded)) == list(export_lines(store))
    assert report == verify_ledger(read_bundle(bundle), stub_decide)


@pytest.mark.parametrize(
    ("kind", "attribute", "chain", "place"),
    [
        ("events", "body", "job-default-a", 3),
        ("blob", "content", "job-default-a", 0),
        ("roots", "merkle", "roots", 1),
    ],
)
def test_damage_to_the_table_itself_is_found(
    store: DynamoStore, kind: str, attribute: str, chain: str, place: int
) -> None:
    """What someone with rights to the table can do shows, through a process that holds nothing."""
    record_job(store, "a")
    append_root(store)
    damaged = [item for item in scan(store._table) if item["pk"]["S"].startswith(kind)]
    if kind == "events":
        damaged = [item for item in damaged if item["sk"]["S"].endswith("3")]
    for item in damaged:
        [(form, content)] = item[attribute].items()
        changed = {form: content[:-1] + (b"?" if form == "B" else "?")}
        store._table.client.put_item(TableName=store._table.name, Item={**item, attribute: changed})
    fault = verify_ledger(DynamoStore(store._signals, store._table), stub_decide).first_fault
    assert (fault.chain, fault.seq) == (chain, place)


# ── blobs ────────────────────────────────────────────────────────────────────────────────────


def test_a_blob_larger_than_an_item_is_kept_in_parts(store: DynamoStore) -> None:
    """A fleet's room view may pass 400 KB: another process reads it back whole, or not at all."""
    content = bytes(range(256)) * 3600
    sha256 = hashlib.sha256(content).hexdigest()
    assert sha256 == store.put_blob(content)
    parts = sorted(item["sk"]["S"] for item in scan(store._table))
    assert len(parts) == 3
    other = DynamoStore(store._signals, store._table)
    assert content == other.blob(sha256)
    store._table.delete_all([(f"blob#{sha256}", parts[1])])
    assert DynamoStore(store._signals, store._table).blob(sha256) is None


def test_a_document_over_an_items_size_is_refused(store: DynamoStore) -> None:
    """What stood there stays."""
    store.put_document(DocumentName.RECLAIMS, b"small")
    with pytest.raises(StepTooLarge, match="document reclaims: 409,600 is not allowed"):
        store.put_document(DocumentName.RECLAIMS, bytes(400 * 1024))
    assert store.document(DocumentName.RECLAIMS) == b"small"


def test_an_empty_blob_is_a_blob(store: DynamoStore) -> None:
    """Nothing is content too, and not the same as no blob."""
    sha256 = store.put_blob(b"")
    assert DynamoStore(store._signals, store._table).blob(sha256) == b""
