from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.errors import BundleUnreadable
from activities.stores.bundle import read_bundle
from activities.stores.sqlite import SqliteStore
from domain.export import export_lines
from domain.verify import verify_ledger
from tests.domain.recorded import append_root, record_job, stub_decide


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened:
        record_job(opened, "a")
        append_root(opened)
        record_job(opened, "b")
        yield opened


@pytest.fixture
def bundle(store: SqliteStore, tmp_path: Path) -> Path:
    return write(tmp_path / "ledger.jsonl", export_lines(store))


def write(path: Path, lines: Iterator[str] | list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_an_exported_ledger_says_what_the_ledger_says(store: SqliteStore, bundle: Path) -> None:
    """Records, chains, roots, heads and every blob that they name come back as they were."""
    exported = read_bundle(bundle)
    assert store.records() == exported.records()
    assert store.roots() == exported.roots()
    assert store.heads_since_last_root() == exported.heads_since_last_root()
    for record in store.records():
        assert record == exported.record(record.job)
        assert store.stored_events(record.job) == exported.stored_events(record.job)
        assert store.events(record.job) == exported.events(record.job)
        named = [record.manifest_sha256]
        assert store.blobs(named) == exported.blobs(named)
    assert exported.record("nobody") is None
    assert exported.events("nobody") == ()


def test_a_bundle_is_verified_without_the_store(store: SqliteStore, bundle: Path) -> None:
    """The same counts and nothing found, every decision recomputed."""
    assert verify_ledger(store, stub_decide) == verify_ledger(read_bundle(bundle), stub_decide)
    assert verify_ledger(read_bundle(bundle), stub_decide).holds


def test_each_blob_is_brought_once_and_after_it_is_first_named(bundle: Path) -> None:
    """Ten thousand decisions of one refresh do not bring its forecasts ten thousand times."""
    lines = [json.loads(line) for line in bundle.read_text().splitlines()]
    blobs = [line["sha256"] for line in lines if line["line"] == "blob"]
    assert sorted(set(blobs)) == sorted(blobs)
    assert lines[0]["line"] == "bundle"


def test_a_damaged_ledger_is_exported_with_its_damage(store: SqliteStore, tmp_path: Path) -> None:
    """Export neither mends nor stumbles: the bundle fails where the ledger does."""
    with store._database.write() as raw:
        raw.execute("UPDATE events SET body = x'ff00fe' || body WHERE seq = 3")
    bundle = write(tmp_path / "damaged.jsonl", export_lines(store))
    report = verify_ledger(read_bundle(bundle), stub_decide)
    assert verify_ledger(store, stub_decide) == report
    assert len(report.faults) == 2


def test_a_bundle_that_was_cut_off_does_not_hold(bundle: Path, tmp_path: Path) -> None:
    """Roots and heads stand first, so that what is missing at the end is missed."""
    lines = bundle.read_text().splitlines()
    for kept in range(2, len(lines)):
        cut = write(tmp_path / "cut.jsonl", lines[:kept])
        assert not verify_ledger(read_bundle(cut), stub_decide).holds


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (1, ""),
        (1, "[]"),
        (1, '{"line": "bundle", "form": "lowtide.bundle/9"}'),
        (2, '{"line": "root"}'),
        (2, '{"line": "unheard-of"}'),
        (2, '{"line": "blob", "sha256": "00", "content": "!"}'),
        (2, "[]"),
        (2, "\udcff"),
    ],
)
def test_a_file_of_another_form_is_refused_by_line(
    bundle: Path, tmp_path: Path, line: int, text: str
) -> None:
    """One clear error with file and line, whatever the file is."""
    lines = bundle.read_text().splitlines()
    lines[line - 1] = text
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(lines), errors="surrogateescape")
    with pytest.raises(BundleUnreadable, match=f"other.jsonl, line {line}"):
        read_bundle(other)


def test_an_empty_file_is_no_ledger(tmp_path: Path) -> None:
    """Nothing must not pass for a ledger that holds."""
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(BundleUnreadable):
        read_bundle(empty)
