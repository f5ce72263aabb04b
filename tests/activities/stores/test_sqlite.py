from __future__ import annotations

import hashlib
import itertools
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from activities.errors import StoreVersion
from activities.stores import sqlite_database
from activities.stores.sqlite import SqliteStore
from domain.capacity import CapacityType
from domain.ports import Commit, DocumentName
from domain.room import Reserved, RoomView
from tests.activities.stores.sqlite_user import RACE_LIMIT, blob_of
from tests.contracts.documents import DocumentsContract
from tests.contracts.ledger import LedgerContract
from tests.contracts.room import HOUR, NOW, REGION, RoomContract, claim, draft, view
from tests.contracts.signal_store import SignalStoreContract

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lowtide.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqliteStore]:
    with SqliteStore(file) as opened:
        yield opened


class TestSignalStore(SignalStoreContract):
    pass


class TestLedger(LedgerContract):
    pass


class TestRoom(RoomContract):
    pass


class TestDocuments(DocumentsContract):
    pass


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.activities.stores.sqlite_user", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_is_committed_is_there_when_the_file_is_opened_again(file: Path) -> None:
    """A restart finds jobs, chains and room as they were."""
    with SqliteStore(file) as before:
        before.admit("a", b"a", "e1", rerun=False)
        events = before.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))
    with SqliteStore(file) as after:
        assert events == after.events("a")
        assert Reserved(4.0, 0) == view(after).reserved[REGION, CapacityType.SPOT][HOUR]


def test_a_file_of_another_schema_is_refused(file: Path) -> None:
    """A build never guesses at a layout that it does not know, and changes nothing."""
    SqliteStore(file).close()
    with sqlite3.connect(file) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(StoreVersion, match="99"):
        SqliteStore(file)


def test_a_file_of_an_older_schema_is_taken_further(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in it stays; what this build adds is there."""
    with monkeypatch.context() as older:
        older.setattr(sqlite_database, "_LAYOUTS", sqlite_database._LAYOUTS[:1])
        older.setattr(sqlite_database, "SCHEMA_VERSION", 1)
        with SqliteStore(file) as before:
            before.admit("a", b"a", "e1", rerun=False)
    with sqlite3.connect(file) as raw:
        values = ("a", REGION, "spot", HOUR, HOUR + 1, 4_000_000, 0, 0)
        raw.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        raw.execute("INSERT INTO room VALUES (?, 'spot', ?, 4000000, 0)", (REGION, HOUR))
        raw.execute("INSERT INTO room VALUES (?, 'spot', ?, 4000000, 0)", (REGION, HOUR + 1))
    raw.close()
    with SqliteStore(file) as after:
        after.put_document(DocumentName.RECLAIMS, b"learned")
        assert [record.job for record in after.records()] == ["a"]
        assert Reserved(4.0, 0) == view(after).reserved[REGION, CapacityType.SPOT][HOUR]
        assert after.release_expired(NOW) == 1
        assert RoomView() == view(after)
    with SqliteStore(file) as again:
        assert again.document(DocumentName.RECLAIMS) == b"learned"


def test_a_new_file_may_be_opened_by_many_at_once(file: Path) -> None:
    """Worker and CLI start together on a fresh machine: one lays out the file, all use it."""
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(SqliteStore, [file] * 8))
    for number, opened in enumerate(stores):
        opened.admit(f"job-{number}", b"m", "e1", rerun=False)
    assert [len(opened.records()) for opened in stores] == [8] * 8
    for opened in stores:
        opened.close()


def test_opening_waits_for_another_process_that_opens(file: Path) -> None:
    """SQLite refuses WAL at once while another process lays out the file; the store asks again."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(SqliteStore, file)
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.3)
        other.execute("ROLLBACK")
        opening.result(timeout=30).close()
    other.close()


def test_processes_never_take_more_room_than_there_is(file: Path) -> None:
    """Two processes that race for the same hours fill them to the limit exactly."""
    racers = [start("race", file, prefix, 40) for prefix in ("a", "b")]
    took = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(took) == RACE_LIMIT
    with SqliteStore(file) as store:
        assert len(store.records()) == 80
        assert sum(len(store.events(item.job)) for item in store.records()) == RACE_LIMIT
        [hours] = view(store).reserved.values()
        assert {HOUR, HOUR + 1} == set(hours)
        assert {Reserved(float(RACE_LIMIT), 0)} == set(hours.values())


def test_a_killed_writer_leaves_every_commit_whole(file: Path) -> None:
    """After kill -9 in mid-write: what was answered stands, event, blob and claim agree."""
    kill_and_check(file, kills=3)


@pytest.mark.slow
def test_many_killed_writers_leave_every_commit_whole(file: Path) -> None:
    """The same, at forty different moments, by two writers at once."""
    kill_and_check(file, kills=40)


def kill_and_check(file: Path, kills: int) -> None:
    jobs = ("left", "right")
    answered = dict.fromkeys(jobs, 0)
    moments = random.Random(7)  # noqa: S311 - no secret: when to kill
    for _ in range(kills):
        writers = {job: start("chain", file, job) for job in jobs}
        for job, writer in writers.items():
            for line in itertools.islice(writer.stdout, moments.randrange(1, 60)):
                answered[job] = int(line)
        for writer in writers.values():
            writer.kill()
        for job, writer in writers.items():
            for line in writer.communicate()[0].split():
                answered[job] = int(line)
        with SqliteStore(file) as store:
            for job in jobs:
                assert_whole(store, job, answered[job])
    with sqlite3.connect(file) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()


def assert_whole(store: SqliteStore, job: str, answered: int) -> None:
    stored = store.stored_events(job)
    assert len(stored) in {answered, answered + 1}, "an answered commit is there, one more may be"
    events = store.events(job)
    assert list(range(1, len(stored) + 1)) == [event.seq for event in events]
    assert [recorded for recorded, _ in stored] == [event.hash for event in events]
    for event in events:
        content = blob_of(job, event.seq)
        assert content == store.blob(hashlib.sha256(content).hexdigest())
    [other] = {"left", "right"} - {job}
    last = len(stored)
    first_hour = HOUR + last % 5
    assert {
        (REGION, CapacityType.SPOT): dict.fromkeys(
            range(first_hour, first_hour + 3), Reserved(float(last % 7 + 1), 0)
        )
    } == view(store, excluding=other).reserved
