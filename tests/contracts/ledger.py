"""What every ``Ledger`` does. An adapter's tests subclass this with a fixture ``store``."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from domain.errors import ChainBroken, JobOpen, ManifestConflict, UnknownJob
from domain.job import Outcome
from domain.ledger import ChainHead, Draft, EventKind
from domain.ports import Commit, Ledger
from domain.roots import next_root

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
MANIFEST = b'{"name":"nightly"}'
MANIFEST_SHA256 = hashlib.sha256(MANIFEST).hexdigest()
JOB = "job-default-nightly"
THREADS = 8


def draft(kind: EventKind = EventKind.OVERRIDE, **data: object) -> Draft:
    return Draft(kind, NOW, data)


def attempt(number: int) -> Draft:
    return draft(EventKind.ATTEMPT, attempt=number)


def admit(store: Ledger, execution: str = "e1", *, rerun: bool = False, job: str = JOB):
    return store.admit(job, MANIFEST, execution, rerun=rerun)


def close(store: Ledger, seq: int, outcome: Outcome, last_attempt: int = 1) -> None:
    completion = draft(EventKind.COMPLETION, outcome=outcome.value)
    store.commit(Commit(JOB, seq, (completion,), outcome=outcome, last_attempt=last_attempt))


class LedgerContract:
    # ── admission ────────────────────────────────────────────────────────────────────────────

    def test_a_new_job_is_opened_with_its_manifest(self, store: Ledger) -> None:
        """Admission opens a row at the chain's first place and stores the manifest."""
        record = admit(store)
        assert (
            record.job,
            record.manifest_sha256,
            record.execution,
        ) == (JOB, MANIFEST_SHA256, "e1")
        assert (
            record.first_seq,
            record.first_attempt,
            record.outcome,
            record.settled,
        ) == (1, 1, None, False)
        assert record == store.record(JOB)
        assert store.blob(MANIFEST_SHA256) == MANIFEST

    def test_a_retried_admission_changes_nothing(self, store: Ledger) -> None:
        """The same execution gets the same row, also after it has recorded events."""
        first = admit(store)
        store.commit(Commit(JOB, 1, (draft(),)))
        assert first == admit(store)
        assert (first,) == store.records()

    def test_another_manifest_under_the_name_is_refused(self, store: Ledger) -> None:
        """A conflict leaves the row as it was and stores nothing of the newcomer."""
        record = admit(store)
        other = b'{"name":"other"}'
        with pytest.raises(ManifestConflict):
            store.admit(JOB, other, "e2", rerun=True)
        assert record == store.record(JOB)
        assert store.blob(hashlib.sha256(other).hexdigest()) is None

    def test_a_closed_job_is_returned_with_its_outcome(self, store: Ledger) -> None:
        """Submitted again without rerun, a job tells how it ended and is not opened."""
        admit(store)
        close(store, 1, Outcome.FAILED)
        again = admit(store, "e2")
        assert (again.outcome, again.execution) == (Outcome.FAILED, "e1")

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED, Outcome.REFUSED])
    def test_rerun_opens_a_job_that_did_not_succeed(self, store: Ledger, outcome: Outcome) -> None:
        """The new execution continues the chain, and its fencing numbers rise above the old."""
        admit(store)
        close(store, 1, outcome, last_attempt=3)
        record = admit(store, "e2", rerun=True)
        assert (
            record.execution,
            record.first_seq,
            record.first_attempt,
            record.outcome,
        ) == ("e2", 2, 4, None)
        assert record == admit(store, "e2", rerun=True)

    def test_rerun_never_opens_a_success(self, store: Ledger) -> None:
        """A job's result counts once: a success stands even when a rerun is asked for."""
        admit(store)
        close(store, 1, Outcome.SUCCEEDED)
        assert Outcome.SUCCEEDED is admit(store, "e2", rerun=True).outcome
        assert store.record(JOB).execution == "e1"

    def test_a_row_left_open_is_taken_over(self, store: Ledger) -> None:
        """A cut-off execution told no highest attempt, so the events that it left do."""
        admit(store)
        store.commit(Commit(JOB, 1, (draft(EventKind.DISPATCH, attempt=1),)))
        store.commit(Commit(JOB, 2, (attempt(1), draft(EventKind.DISPATCH, attempt=2))))
        record = admit(store, "e2")
        assert (record.execution, record.first_seq, record.first_attempt) == ("e2", 4, 3)

    def test_a_takeover_does_not_forget_numbers_of_earlier_executions(self, store: Ledger) -> None:
        """Rerun, then cut off before any dispatch, then taken over: numbers still rise."""
        admit(store)
        close(store, 1, Outcome.FAILED, last_attempt=5)
        admit(store, "e2", rerun=True)
        assert admit(store, "e3").first_attempt == 6

    def test_records_are_ordered_by_job(self, store: Ledger) -> None:
        """All rows, sorted, whatever the order of admission."""
        for name in ("c", "a", "b"):
            admit(store, job=name)
        assert [record.job for record in store.records()] == ["a", "b", "c"]
        assert store.record("d") is None

    # ── chains ───────────────────────────────────────────────────────────────────────────────

    def test_a_chain_begins_at_its_manifest_and_stays_linked(self, store: Ledger) -> None:
        """Each event holds the hash of the one before it, the first that of the manifest."""
        admit(store)
        store.commit(Commit(JOB, 1, (draft(n=1), draft(n=2.5))))
        store.commit(Commit(JOB, 3, (draft(n="ü"),)))
        events = store.events(JOB)
        assert [event.seq for event in events] == [1, 2, 3]
        assert [MANIFEST_SHA256, events[0].hash, events[1].hash] == [
            event.previous for event in events
        ]

    def test_stored_bytes_are_what_the_hash_covers(self, store: Ledger) -> None:
        """``verify`` reads the very bytes that were hashed, with the hash recorded for them."""
        admit(store)
        events = store.commit(Commit(JOB, 1, (draft(n=1.0), draft(n=2))))
        stored = store.stored_events(JOB)
        assert [(event.hash, event.canonical()) for event in events] == list(stored)
        assert [recorded for recorded, _ in stored] == [
            hashlib.sha256(content).hexdigest() for _, content in stored
        ]

    def test_a_retried_commit_finds_the_first_try(self, store: Ledger) -> None:
        """A retry writes nothing, even with other content, and gets what stands there."""
        admit(store)
        first = store.commit(Commit(JOB, 1, (draft(n=1), draft(n=2))))
        again = store.commit(
            Commit(JOB, 1, (draft(n=7), draft(n=8)), {hashlib.sha256(b"x").hexdigest(): b"x"})
        )
        assert first == again == store.events(JOB)
        assert store.blob(hashlib.sha256(b"x").hexdigest()) is None

    def test_an_old_commit_retried_late_gets_its_own_events_only(self, store: Ledger) -> None:
        """A retry after the chain went on is given as many events as it asked to write."""
        admit(store)
        first = store.commit(Commit(JOB, 1, (draft(n=1),)))
        store.commit(Commit(JOB, 2, (draft(n=2),)))
        assert first == store.commit(Commit(JOB, 1, (draft(n=1),)))

    def test_another_step_at_a_taken_place_is_refused(self, store: Ledger) -> None:
        """Events of another kind there are no first try: they must not pass for this commit."""
        admit(store)
        store.commit(Commit(JOB, 1, (draft(EventKind.DECISION),)))
        with pytest.raises(ChainBroken) as refused:
            store.commit(Commit(JOB, 1, (draft(EventKind.DISPATCH),)))
        assert refused.value.expected == 2
        assert len(store.events(JOB)) == 1

    def test_a_gap_is_refused(self, store: Ledger) -> None:
        """A commit past the next free place writes nothing."""
        admit(store)
        with pytest.raises(ChainBroken):
            store.commit(Commit(JOB, 2, (draft(),), outcome=Outcome.FAILED))
        assert store.events(JOB) == ()
        assert store.record(JOB).outcome is None

    def test_a_job_never_admitted_has_no_chain(self, store: Ledger) -> None:
        """A commit to an unknown job is refused; reading it finds nothing."""
        with pytest.raises(UnknownJob):
            store.commit(Commit(JOB, 1, (draft(),)))
        assert () == store.events(JOB) == store.stored_events(JOB)

    def test_threads_that_retry_one_commit_write_it_once(self, store: Ledger) -> None:
        """However many tries run at once, one writes and all get its events."""
        admit(store)
        commits = [Commit(JOB, 1, (draft(n=n), draft(n=n))) for n in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as pool:
            results = list(pool.map(store.commit, commits))
        written = store.events(JOB)
        assert len(written) == 2
        assert [written] * THREADS == results

    def test_threads_on_their_own_jobs_lose_nothing(self, store: Ledger) -> None:
        """Ten thousand jobs share no chain: writers at once leave every chain whole."""

        def live(name: str) -> None:
            admit(store, job=name)
            for seq in range(1, 11):
                store.commit(Commit(name, seq, (draft(n=seq),)))

        names = [f"job-default-{n}" for n in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(live, names))
        for name in names:
            assert list(range(1, 11)) == [event.seq for event in store.events(name)]

    # ── blobs ────────────────────────────────────────────────────────────────────────────────

    def test_blobs_are_kept_by_content(self, store: Ledger) -> None:
        """Put twice is stored once, under the hash of the content; unknown hashes have none."""
        content = b"\x00\xff forecast"
        sha256 = hashlib.sha256(content).hexdigest()
        assert sha256 == store.put_blob(content) == store.put_blob(content)
        assert content == store.blob(sha256)
        assert store.blob("0" * 64) is None

    def test_many_blobs_are_read_at_once(self, store: Ledger) -> None:
        """Each under its own hash; what is not there is left out, what is asked for twice is not.

        As many as a decision of 300 zones names, which no store reads in one piece.
        """
        admit(store)
        contents = [b"forecast %d" % number for number in range(250)]
        blobs = {hashlib.sha256(content).hexdigest(): content for content in contents}
        store.commit(Commit(JOB, 1, (draft(),), blobs))
        assert blobs | {MANIFEST_SHA256: MANIFEST} == store.blobs(
            [*blobs, "0" * 64, MANIFEST_SHA256, *reversed(blobs)]
        )
        assert store.blobs(iter(())) == {}

    def test_a_commit_stores_its_blobs(self, store: Ledger) -> None:
        """What a decision refers to is there as soon as the decision is."""
        admit(store)
        sha256 = hashlib.sha256(b"prices").hexdigest()
        store.commit(Commit(JOB, 1, (draft(),), {sha256: b"prices"}))
        assert store.blob(sha256) == b"prices"

    def test_content_under_a_foreign_hash_is_refused(self, store: Ledger) -> None:
        """A blob whose content has another hash undoes its whole commit."""
        admit(store)
        with pytest.raises(ValueError, match="blob"):
            store.commit(Commit(JOB, 1, (draft(),), {"0" * 64: b"prices"}))
        assert store.events(JOB) == ()
        assert store.blob("0" * 64) is None

    # ── settlement ───────────────────────────────────────────────────────────────────────────

    def test_a_closed_job_with_a_run_waits_for_settlement(self, store: Ledger) -> None:
        """From its end until its settlement, and not before or after."""
        admit(store)
        store.commit(Commit(JOB, 1, (attempt(1),)))
        assert store.unsettled() == ()
        close(store, 2, Outcome.SUCCEEDED)
        assert store.unsettled() == (JOB,)
        store.commit(Commit(JOB, 3, (draft(EventKind.SETTLEMENT),), settled=True))
        assert store.unsettled() == ()
        assert store.record(JOB).settled
        assert Outcome.SUCCEEDED is store.record(JOB).outcome

    def test_a_job_that_never_ran_has_nothing_to_settle(self, store: Ledger) -> None:
        """Cancelled while deferred: no energy, no books."""
        admit(store)
        close(store, 1, Outcome.CANCELLED, last_attempt=0)
        assert store.unsettled() == ()

    def test_runs_of_a_rerun_wait_for_a_settlement_of_their_own(self, store: Ledger) -> None:
        """Settled, run again, ended again: the later runs are unsettled, earlier ones are not."""
        admit(store)
        store.commit(Commit(JOB, 1, (attempt(1),)))
        close(store, 2, Outcome.FAILED)
        store.commit(Commit(JOB, 3, (draft(EventKind.SETTLEMENT),), settled=True))
        admit(store, "e2", rerun=True)
        close(store, 4, Outcome.CANCELLED)
        assert store.unsettled() == ()
        admit(store, "e3", rerun=True)
        store.commit(Commit(JOB, 5, (attempt(2),)))
        close(store, 6, Outcome.SUCCEEDED, last_attempt=2)
        assert store.unsettled() == (JOB,)

    def test_a_settlement_does_not_take_a_place_from_a_rerun(self, store: Ledger) -> None:
        """Once a job is opened again, its chain belongs to the new execution."""
        admit(store)
        store.commit(Commit(JOB, 1, (attempt(1),)))
        close(store, 2, Outcome.FAILED)
        record = admit(store, "e2", rerun=True)
        with pytest.raises(JobOpen):
            store.commit(Commit(JOB, 3, (draft(EventKind.SETTLEMENT),), settled=True))
        [planned] = store.commit(Commit(JOB, record.first_seq, (draft(EventKind.DECISION),)))
        assert planned.seq == 3

    # ── roots ────────────────────────────────────────────────────────────────────────────────

    def test_heads_are_those_of_chains_that_moved(self, store: Ledger) -> None:
        """A job without events has no head; a head leaves with the root that covers it."""
        for name in ("b", "a", "c"):
            admit(store, job=name)
        [of_b] = store.commit(Commit("b", 1, (draft(),)))
        *_, of_a = store.commit(Commit("a", 1, (draft(), draft())))
        heads = (ChainHead("a", 2, of_a.hash), ChainHead("b", 1, of_b.hash))
        assert heads == store.heads_since_last_root()
        self._append_root(store)
        assert store.heads_since_last_root() == ()
        [later] = store.commit(Commit("b", 2, (draft(),)))
        assert (ChainHead("b", 2, later.hash),) == store.heads_since_last_root()

    def test_a_chain_that_moved_while_its_root_was_made_moves_into_the_next(
        self, store: Ledger
    ) -> None:
        """A root covers what it names; an event that came in between is not lost from roots."""
        admit(store)
        store.commit(Commit(JOB, 1, (draft(),)))
        root = next_root(store.heads_since_last_root(), None, NOW)
        [between] = store.commit(Commit(JOB, 2, (draft(),)))
        store.append_root(root)
        assert (ChainHead(JOB, 2, between.hash),) == store.heads_since_last_root()

    def test_roots_are_read_back_as_they_were_appended(self, store: Ledger) -> None:
        """In order, each following the one before, the newest by itself."""
        admit(store)
        appended = []
        assert store.newest_root() is None
        for seq in (1, 2, 3):
            store.commit(Commit(JOB, seq, (draft(),)))
            appended.append(self._append_root(store, NOW + timedelta(hours=seq)))
            assert appended[-1] == store.newest_root()
        assert tuple(appended) == store.roots()

    def test_a_root_that_does_not_follow_is_refused(self, store: Ledger) -> None:
        """Neither a number nor a predecessor can be made up, nor one root appended twice."""
        admit(store)
        store.commit(Commit(JOB, 1, (draft(),)))
        first = self._append_root(store)
        with pytest.raises(ChainBroken):
            store.append_root(first)
        store.commit(Commit(JOB, 2, (draft(),)))
        for newest in (None, next_root(first.heads, first, NOW)):
            with pytest.raises(ChainBroken):
                store.append_root(next_root(store.heads_since_last_root(), newest, NOW))
        assert (first,) == store.roots()
        assert len(store.heads_since_last_root()) == 1

    @staticmethod
    def _append_root(store: Ledger, now: datetime = NOW):
        root = next_root(store.heads_since_last_root(), store.newest_root(), now)
        store.append_root(root)
        return root
