"""Verification against the store itself: in use, damaged in its file, with further kinds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.stores.sqlite import SqliteStore
from domain.job import DecisionReason
from domain.ledger import Draft, EventKind, LedgerEvent
from domain.ports import Commit
from domain.verify import verify_ledger
from tests.domain.recorded import (
    NOW,
    append_root,
    make_forecast,
    make_inputs,
    make_world,
    record_decision,
    record_job,
    stub_decide,
)

A, B = "job-default-a", "job-default-b"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lowtide.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqliteStore]:
    with SqliteStore(file) as opened:
        yield opened


def test_an_empty_ledger_and_a_job_without_events_hold(store: SqliteStore) -> None:
    """Admitted and not decided yet is no fault."""
    assert verify_ledger(store, stub_decide).holds
    store.admit(A, b"{}", "e1", rerun=False)
    report = verify_ledger(store, stub_decide)
    assert report.holds
    assert (report.jobs, report.events) == (1, 0)


def test_further_kinds_are_recomputed_by_what_the_caller_gives(store: SqliteStore) -> None:
    """Settlement arithmetic comes from outside; its answer is compared with what stands there."""
    job = record_job(store, "a")
    data = {"actual_g": 1.0, "attempts": 1}
    store.commit(Commit(job, 6, (Draft(EventKind.SETTLEMENT, NOW, data),), settled=True))

    def settle(event: LedgerEvent, chain: Any, blobs: Any) -> dict[str, Any]:
        attempts = sum(item.kind is EventKind.ATTEMPT for item in chain if item.seq < event.seq)
        assert {make_forecast().sha256} == blobs([make_forecast().sha256]).keys()
        return {"actual_g": 1, "attempts": attempts}

    report = verify_ledger(store, stub_decide, {EventKind.SETTLEMENT: settle})
    assert report.holds
    assert report.recomputed == {EventKind.DECISION: 2, EventKind.SETTLEMENT: 1}
    report = verify_ledger(store, stub_decide, {EventKind.SETTLEMENT: lambda *_: {}})
    assert [(item.chain, item.seq) for item in report.faults] == [(job, 6)]
    assert "actual_g, attempts" in report.first_fault.what


def test_a_ledger_in_use_can_be_verified(store: SqliteStore) -> None:
    """What is written while verification runs is no fault, whether it is seen or not."""
    for name in ("a", "b"):
        record_job(store, name)

    def decide(inputs: Any) -> Any:
        head = store.record(B)
        if head and not head.settled:
            settlement = Draft(EventKind.SETTLEMENT, NOW, {})
            store.commit(Commit(B, 6, (settlement,), settled=True))
            record_job(store, "aa")
            append_root(store)
        return stub_decide(inputs)

    assert verify_ledger(store, decide).holds
    assert verify_ledger(store, stub_decide).holds


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE events SET body = CAST(replace(body, '2026', '2027') AS BLOB) WHERE seq = 3", 3),
        ("UPDATE events SET hash = upper(hash) WHERE seq = 4", 4),
        ("DELETE FROM events WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 5", 5),
        ("DELETE FROM events WHERE seq > 3", 4),
        ("DELETE FROM events", 1),
        ("UPDATE blobs SET content = content || x'00'", 0),
        ("DELETE FROM blobs", 0),
        ("DELETE FROM jobs", 0),
    ],
)
def test_damage_to_the_database_itself_is_found(
    store: SqliteStore, file: Path, statement: str, expected: int
) -> None:
    """The same through the store: what someone with the file and SQLite can do."""
    job = record_job(store, "a")
    append_root(store)
    assert verify_ledger(store, stub_decide).holds
    alter(file, statement)
    fault = verify_ledger(store, stub_decide).first_fault
    assert (fault.chain, fault.seq) == (job, expected)


def test_decisions_of_one_world_are_verified_with_one_world(store: SqliteStore) -> None:
    """Ten thousand decisions of one refresh cost one reading of its forecasts."""
    worlds = set()
    world = make_world()
    for name in ("a", "b", "c"):
        inputs = make_inputs(name, world)
        job = inputs.manifest.workflow_id
        store.admit(job, inputs.manifest.canonical(), "e1", rerun=False)
        record_decision(store, inputs, 1, DecisionReason.PLAN)

    def decide(inputs: Any) -> Any:
        worlds.add(id(inputs.world))
        return stub_decide(inputs)

    assert verify_ledger(store, decide).holds
    assert len(worlds) == 1


def test_the_last_event_removed_before_any_root_is_found_by_the_record(
    store: SqliteStore, file: Path
) -> None:
    """The store knows each chain's head, so a row deleted by hand is missed at once."""
    job = record_job(store, "a")
    alter(file, "DELETE FROM events WHERE job = ? AND seq = 5", job)
    fault = verify_ledger(store, stub_decide).first_fault
    assert (fault.chain, fault.seq) == (job, 5)


def alter(file: Path, statement: str, *values: object) -> None:
    raw = sqlite3.connect(file)
    with raw:
        raw.execute(statement, values)
    raw.close()
