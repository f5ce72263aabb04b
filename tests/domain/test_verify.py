"""Each test damages a sound ledger in one way and expects the first fault to name the place."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.stores.bundle import ExportedLedger
from activities.stores.sqlite import SqliteStore
from domain.export import export_lines
from domain.job import Estimate
from domain.ledger import EventKind, LedgerEvent
from domain.verify import Fault, VerifyReport, verify_ledger
from tests.domain.recorded import (
    append_root,
    make_forecast,
    record_job,
    stub_decide,
)

A, B = "job-default-a", "job-default-b"
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """Two jobs of five events, rooted after each, as the lines of a bundle."""
    with SqliteStore(tmp_path_factory.mktemp("ledger") / "lowtide.db") as store:
        for name in ("a", "b"):
            record_job(store, name)
            append_root(store)
        return [json.loads(line) for line in export_lines(store)]


@pytest.fixture
def lines(intact: Lines) -> Lines:
    return copy.deepcopy(intact)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lowtide.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqliteStore]:
    with SqliteStore(file) as opened:
        yield opened


def verify(lines: Lines, **options: Any) -> VerifyReport:
    ledger = ExportedLedger()
    for line in lines[1:]:
        ledger.add(line)
    return verify_ledger(ledger, options.pop("decide", stub_decide), **options)


def of_kind(lines: Lines, kind: str, job: str | None = None) -> Lines:
    return [line for line in lines if line["line"] == kind and job in {None, line.get("job")}]


def place(fault: Fault | None) -> tuple[str, int] | None:
    return fault and (fault.chain, fault.seq)


def places(report: VerifyReport) -> list[tuple[str, int]]:
    return [(fault.chain, fault.seq) for fault in report.faults]


def relink(lines: Lines, job: str, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change a job's events and make all their hashes anew, as one who knows how would."""
    chain = of_kind(lines, "event", job)
    events = [json.loads(line["content"]) for line in chain]
    edit(events)
    previous = events[0]["previous"]
    for line, data in zip(chain, events, strict=True):
        event = replace(LedgerEvent.from_json(data), previous=previous)
        previous = event.hash
        line |= {"content": event.canonical().decode(), "hash": previous}


def without_roots(lines: Lines) -> Lines:
    return [line for line in lines if line["line"] != "root"]


def set_cost(events: list[dict[str, Any]]) -> None:
    events[1]["data"]["placement"]["estimate"]["cost_usd"] = 0.01


def test_a_sound_ledger_holds(lines: Lines) -> None:
    """Everything is looked at, and nothing is found."""
    report = verify(lines)
    assert report.holds
    assert report.first_fault is None
    assert (report.jobs, report.events, report.roots) == (2, 10, 2)
    assert len(of_kind(lines, "blob")) == report.blobs
    assert report.recomputed == {EventKind.DECISION: 4}
    assert report.cannot_verify == {}


@given(data=st.data())
def test_a_flipped_bit_of_an_event_is_found_where_it_is(intact: Lines, data: Any) -> None:
    """Whichever bit of whichever event."""
    lines = copy.deepcopy(intact)
    line = data.draw(st.sampled_from(of_kind(lines, "event")))
    content = bytearray(line["content"].encode())
    seq = json.loads(content)["seq"]
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    line["content"] = content.decode(errors="surrogateescape")
    assert [(line["job"], seq)] == places(verify(lines))


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_an_event_with_a_hash_made_anew_breaks_what_follows_it(lines: Lines, seq: int) -> None:
    """Content and hash changed together: the next event, or the root for the last, disagrees."""
    line = of_kind(lines, "event", A)[seq - 1]
    event = LedgerEvent.from_json(json.loads(line["content"]))
    forged = replace(event, recorded_at=event.recorded_at.replace(year=2027))
    line |= {"content": forged.canonical().decode(), "hash": forged.hash}
    assert (A, min(seq + 1, 5)) == place(verify(lines).first_fault)


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_an_event_removed_from_the_middle_is_found(lines: Lines, seq: int) -> None:
    """The gap is named, not the event that comes after it."""
    lines.remove(of_kind(lines, "event", A)[seq - 1])
    assert [(A, seq)] == places(verify(lines))


def test_the_last_event_removed_is_found_by_its_root(lines: Lines) -> None:
    """A chain that was cut short looks whole by itself: the root names what is gone."""
    lines.remove(of_kind(lines, "event", A)[-1])
    report = verify(lines)
    assert places(report) == [(A, 5)]
    assert "root 1" in report.first_fault.what


def test_a_removed_job_is_found_by_its_root(lines: Lines) -> None:
    """Record, events and all gone: the root still names the job."""
    left = [line for line in lines if line.get("job") != A]
    report = verify(left)
    assert place(report.first_fault) == (A, 0)
    assert {A} == {chain for chain, _ in places(report)}


def test_a_job_removed_from_its_root_too_breaks_the_root(lines: Lines) -> None:
    """A head taken out of a root leaves a Merkle root that no longer fits."""
    left = [line for line in lines if line.get("job") != A]
    of_kind(left, "root")[0]["heads"] = []
    assert places(verify(left)) == [("roots", 1)]


def test_a_removed_root_is_found(lines: Lines) -> None:
    """The one after it does not follow."""
    lines.remove(of_kind(lines, "root")[0])
    assert places(verify(lines)) == [("roots", 1)]


def test_a_root_made_anew_breaks_the_root_after_it(lines: Lines) -> None:
    """Each root holds the hash of the one before."""
    of_kind(lines, "root")[0]["recorded_at"] = "2026-01-01T00:00:00+00:00"
    assert places(verify(lines)) == [("roots", 2)]


def test_an_edited_decision_is_found_though_all_its_hashes_were_made_anew(lines: Lines) -> None:
    """No root yet, every link right: only deciding again from the inputs shows it."""
    relink(lines, A, set_cost)
    report = verify(without_roots(lines))
    assert places(report) == [(A, 2)]
    assert "placement" in report.first_fault.what
    assert report.recomputed == {EventKind.DECISION: 3}


def test_an_edited_outcome_is_found_by_its_root_though_all_hashes_were_made_anew(
    lines: Lines,
) -> None:
    """What cannot be recomputed is held by the root alone."""

    def edit(events: list[dict[str, Any]]) -> None:
        events[4]["data"]["outcome"] = "Failed"

    relink(lines, A, edit)
    assert places(verify(lines)) == [(A, 5)]


def test_edited_inputs_of_a_decision_are_found(lines: Lines) -> None:
    """A decision that claims another moment would have come out otherwise."""

    def edit(events: list[dict[str, Any]]) -> None:
        events[0]["data"]["now"] = "2026-11-24T05:00:00+00:00"

    relink(lines, A, edit)
    assert place(verify(without_roots(lines)).first_fault) == (A, 1)


def test_a_decision_for_another_jobs_manifest_is_found(lines: Lines) -> None:
    """Recomputed from foreign inputs it agrees with itself; it is not this job's."""
    foreign = json.loads(of_kind(lines, "event", B)[0]["content"])["data"]

    def edit(events: list[dict[str, Any]]) -> None:
        events[0]["data"] = foreign

    relink(lines, A, edit)
    report = verify(without_roots(lines))
    assert places(report) == [(A, 1)]
    assert "manifest" in report.first_fault.what


@pytest.mark.parametrize("junk", [{}, {"inputs": {"manifest": 7}}, {"engine": "1", "inputs": []}])
def test_a_decision_that_was_made_up_is_a_fault_and_no_crash(
    lines: Lines, junk: dict[str, Any]
) -> None:
    """Verification goes on to the end whatever an event holds."""

    def edit(events: list[dict[str, Any]]) -> None:
        events[0]["data"] = junk

    relink(lines, A, edit)
    report = verify(without_roots(lines))
    assert places(report) == [(A, 1)]
    assert report.events == 10


def test_reordered_events_are_found(lines: Lines) -> None:
    """Two events that changed places, with their hashes or without."""
    second, third = of_kind(lines, "event", A)[1:3]
    second["content"], third["content"] = third["content"], second["content"]
    assert place(verify(lines).first_fault) == (A, 2)
    second["hash"], third["hash"] = third["hash"], second["hash"]
    assert place(verify(lines).first_fault) == (A, 2)


def test_an_event_of_another_job_is_found_though_it_is_linked(lines: Lines) -> None:
    """An event names its job: one made for another chain does not pass, all links right."""

    def edit(events: list[dict[str, Any]]) -> None:
        events[4]["job"] = B

    relink(lines, A, edit)
    report = verify(without_roots(lines))
    assert places(report) == [(A, 5)]
    assert B in report.first_fault.what


def test_another_manifest_in_the_record_is_found(lines: Lines) -> None:
    """The chain begins at the manifest that the record names."""
    mine, other = (of_kind(lines, "record", job)[0] for job in (A, B))
    mine["manifest_sha256"] = other["manifest_sha256"]
    assert place(verify(lines).first_fault) == (A, 1)


def test_bytes_that_are_not_canonical_are_found(lines: Lines) -> None:
    """The same data in other bytes is another event, even with a hash of its own."""
    line = of_kind(lines, "event", A)[4]
    line["content"] = json.dumps(json.loads(line["content"]))
    line["hash"] = hashlib.sha256(line["content"].encode()).hexdigest()
    report = verify(without_roots(lines))
    assert places(report) == [(A, 5)]
    assert "canonical" in report.first_fault.what


def test_a_flipped_byte_of_a_blob_is_found_by_each_event_that_names_it(lines: Lines) -> None:
    """A forecast that both jobs' decisions used: the first fault is the first decision."""
    forecast = make_forecast().sha256
    [line] = [line for line in of_kind(lines, "blob") if line["sha256"] == forecast]
    content = bytearray(base64.b64decode(line["content"]))
    content[20] ^= 1
    line["content"] = base64.b64encode(content).decode()
    report = verify(lines)
    assert places(report) == [(A, 1), (A, 2), (B, 1), (B, 2)]
    assert forecast in report.first_fault.what


def test_each_missing_blob_is_found(lines: Lines) -> None:
    """Whichever is gone, no decision passes without it."""
    for line in of_kind(lines, "blob"):
        left = [item for item in lines if item is not line]
        report = verify(left)
        assert not report.holds
        assert line["sha256"] in report.first_fault.what


def test_a_decision_of_another_engine_is_counted_and_no_fault(lines: Lines) -> None:
    """This build cannot tell, and says so; chain and blobs are verified all the same."""

    def edit(events: list[dict[str, Any]]) -> None:
        for event in events[:2]:
            event["data"]["engine"] = "0"

    relink(lines, A, edit)
    report = verify(without_roots(lines))
    assert report.holds
    assert report.recomputed == {EventKind.DECISION: 2}
    [(reason, count)] = report.cannot_verify.items()
    assert count == 2
    assert "engine 0" in reason


def test_an_engine_that_decides_otherwise_is_found(lines: Lines) -> None:
    """A build whose decisions changed without its engine version cannot pass as the same."""

    def decide(inputs: Any) -> Any:
        placement = stub_decide(inputs)
        zero = Estimate(energy_kwh=0, average_carbon_g=None, marginal_carbon_g=None, cost_usd=0)
        return placement.model_copy(update={"estimate": zero})

    report = verify(lines, decide=decide)
    assert places(report) == [(A, 1), (A, 2), (B, 1), (B, 2)]
