"""DynamoDB as it is on a bad day: throttling, conflicts, lost answers, batches half done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from activities import contention
from activities.errors import StoreContended, StoreUnavailable
from activities.stores.dynamodb import DynamoStore
from domain.errors import ChainBroken, ManifestConflict, RoomTaken
from domain.ledger import EventKind
from domain.ports import Commit
from domain.room import Reserved, RoomView, hour_start
from domain.roots import next_root
from tests.activities.stores.dynamodb_wire import (
    Wire,
    conflict,
    invalid,
    occupied,
    refused,
    throttled,
    unprocessed,
    wire,
)
from tests.contracts.room import HOUR, NOW, claim, draft, spot, take, view
from tests.contracts.signal_store import FORECAST, observed

TRANSACT = "TransactWriteItems"
LATER = NOW + timedelta(days=2)


@pytest.fixture
def store(dynamo_store: DynamoStore) -> DynamoStore:
    dynamo_store.admit("a", b"a", "e1", rerun=False)
    return dynamo_store


@pytest.fixture
def on_wire(store: DynamoStore) -> Iterator[Wire]:
    with wire(store._table.client) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contention is worth three tries."""
    monkeypatch.setattr(contention, "TRIES", 3)


def other_process(store: DynamoStore) -> DynamoStore:
    """Another store on the same tables, which remembers nothing."""
    return DynamoStore(store._signals, store._table)


@pytest.mark.parametrize("operation", ["GetItem", "BatchGetItem", "BatchWriteItem", TRANSACT])
def test_a_throttled_request_is_sent_again(
    store: DynamoStore, on_wire: Wire, operation: str
) -> None:
    """The client waits and asks again; the commit comes through whole."""
    on_wire.disturb(operation, throttled)
    sha256 = hashlib.sha256(b"prices").hexdigest()
    events = store.commit(Commit("a", 1, (draft(),), {sha256: b"prices"}, (claim(4),)))
    assert events == store.events("a")
    assert other_process(store).blob(sha256) == b"prices"
    assert spot(dict.fromkeys(range(HOUR, HOUR + 2), Reserved(4.0, 0))) == view(store)


def test_a_conflicting_transaction_is_made_again(store: DynamoStore, on_wire: Wire) -> None:
    """Two others held the item meanwhile: the third try reads the row afresh and goes through."""
    on_wire.disturb(TRANSACT, conflict, conflict)
    events = store.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))
    assert events == store.events("a")
    assert (on_wire.sent[TRANSACT], on_wire.sent["GetItem"] + on_wire.sent["Query"]) == (3, 4)


@pytest.mark.usefixtures("impatient")
def test_contention_without_an_end_is_told_and_writes_nothing(
    store: DynamoStore, on_wire: Wire
) -> None:
    """After a bounded number of tries the step fails as one that may be retried."""
    on_wire.disturb(TRANSACT, conflict, conflict, conflict)
    with pytest.raises(StoreContended, match="a/1"):
        store.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))
    assert store.events("a") == ()
    assert RoomView() == view(store)


def test_an_item_that_the_service_does_not_take_is_told_at_once(
    store: DynamoStore, on_wire: Wire
) -> None:
    """A reason that waiting cannot mend is not waited for, and not taken for a full room."""
    on_wire.disturb(TRANSACT, invalid)
    with pytest.raises(StoreUnavailable, match="TransactionCanceled"):
        store.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))
    assert on_wire.sent[TRANSACT] == 1


def commit(store: DynamoStore) -> object:
    return store.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))


def admit(store: DynamoStore) -> object:
    return store.admit("b", b"b", "e1", rerun=False)


def reopen(store: DynamoStore) -> object:
    return store.admit("a", b"a", "e2", rerun=False)


def refresh(store: DynamoStore) -> object:
    store.put_forecasts([FORECAST])
    store.put_observations([observed(NOW)])
    return store.forecasts()


def root(store: DynamoStore) -> object:
    store.append_root(next_root(store.heads_since_last_root(), None, NOW))
    return store.roots(), store.heads_since_last_root()


@pytest.mark.parametrize("step", [commit, admit, reopen, refresh, root])
def test_a_lost_answer_changes_nothing(
    store: DynamoStore,
    on_wire: Wire,
    new_store: Callable[[], DynamoStore],
    step: Callable[[DynamoStore], object],
) -> None:
    """The request is sent again, is refused as done, and the step answers as if all were well.

    The simulator has no memory of client request tokens: so does DynamoDB after ten minutes.
    """
    undisturbed = new_store()
    undisturbed.admit("a", b"a", "e1", rerun=False)
    if step is root:
        commit(store)
        commit(undisturbed)
    expected = step(undisturbed)
    on_wire.disturb(TRANSACT, on_wire.lost)
    assert expected == step(store)
    assert view(undisturbed) == view(store)
    assert undisturbed.records() == store.records()


def test_a_batch_that_is_half_done_is_finished(store: DynamoStore, on_wire: Wire) -> None:
    """What the service leaves of a batch is asked for again, reading and writing."""
    on_wire.disturb("BatchGetItem", unprocessed)
    on_wire.disturb("BatchWriteItem", unprocessed, occupied)
    sha256 = store.put_blob(b"prices")
    assert other_process(store).blob(sha256) == b"prices"


@pytest.mark.usefixtures("impatient")
def test_a_batch_that_is_never_done_is_told(store: DynamoStore, on_wire: Wire) -> None:
    """A blob that was not stored must not pass for one that was: its commit does not follow."""
    on_wire.disturb("BatchWriteItem", unprocessed, unprocessed, unprocessed)
    sha256 = hashlib.sha256(b"prices").hexdigest()
    with pytest.raises(StoreContended):
        store.commit(Commit("a", 1, (draft(),), {sha256: b"prices"}))
    assert store.events("a") == ()
    store.commit(Commit("a", 1, (draft(),), {sha256: b"prices"}))
    assert other_process(store).blob(sha256) == b"prices"


# ── others come in between what is read and what is written ──────────────────────────────────


def test_an_older_forecast_loses_against_one_that_comes_in_between(
    store: DynamoStore, on_wire: Wire
) -> None:
    """The condition holds at the table: what was read before does not matter."""
    newer = replace(FORECAST, issued_at=NOW + timedelta(hours=1), values=(1.0,))

    def in_between(_: object) -> None:
        other_process(store).put_forecasts([newer])

    on_wire.disturb(TRANSACT, in_between)
    store.put_forecasts([FORECAST, replace(FORECAST, zone="DE")])
    assert {("DE", FORECAST.values), ("SE-SE3", (1.0,))} == {
        (item.zone, item.values) for item in store.forecasts()
    }


def test_a_stand_in_that_comes_in_between_is_replaced(store: DynamoStore, on_wire: Wire) -> None:
    """However late it was issued: the condition at the table knows providers too."""
    stand_in = replace(FORECAST, provider="persistence", issued_at=NOW + timedelta(hours=1))

    def in_between(_: object) -> None:
        other_process(store).put_forecasts([stand_in])

    on_wire.disturb(TRANSACT, in_between)
    store.put_forecasts([FORECAST])
    assert store.forecasts() == (FORECAST,)
    assert on_wire.sent[TRANSACT] == 2, "one by each: neither is refused"


def test_a_name_that_is_taken_in_between_is_not_taken_again(
    store: DynamoStore, on_wire: Wire
) -> None:
    """Two manifests are submitted under one name at once: one has it, the other is refused."""

    def in_between(_: object) -> None:
        other_process(store).admit("b", b"first", "e1", rerun=False)

    on_wire.disturb(TRANSACT, in_between)
    with pytest.raises(ManifestConflict):
        store.admit("b", b"second", "e2", rerun=False)
    assert store.record("b").execution == "e1"


def test_a_first_try_that_lands_in_between_is_found(store: DynamoStore, on_wire: Wire) -> None:
    """An attempt given up for dead that writes after all: its retry gets those events."""

    def in_between(_: object) -> None:
        other_process(store).commit(
            Commit("a", 1, (draft(EventKind.OVERRIDE),), claims=(claim(3),))
        )

    on_wire.disturb(TRANSACT, in_between)
    events = store.commit(Commit("a", 1, (draft(EventKind.OVERRIDE),), claims=(claim(4),)))
    assert events == store.events("a")
    assert Reserved(3.0, 0) in next(iter(view(store).reserved.values())).values()


def test_another_step_that_lands_in_between_is_told(store: DynamoStore, on_wire: Wire) -> None:
    """A settlement took the place: the run that meant it is told where the chain stands."""

    def in_between(_: object) -> None:
        other_process(store).commit(Commit("a", 1, (draft(EventKind.CORRECTION),)))

    on_wire.disturb(TRANSACT, in_between)
    with pytest.raises(ChainBroken) as told:
        store.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))
    assert told.value.expected == 2
    assert RoomView() == view(store)


def test_room_that_is_taken_in_between_is_told_with_its_hour(
    store: DynamoStore, on_wire: Wire
) -> None:
    """The first hour that is full, in whichever of the claim's days it lies."""
    midnight = (HOUR // 24 + 1) * 24

    def in_between(_: object) -> None:
        take(other_process(store), "b", claim(8, hours=range(midnight + 1, midnight + 3)))

    on_wire.disturb(TRANSACT, in_between)
    with pytest.raises(RoomTaken, match=hour_start(midnight + 1).isoformat().replace("+", r"\+")):
        store.commit(
            Commit("a", 1, (draft(),), claims=(claim(4, hours=range(midnight - 2, midnight + 5)),))
        )
    assert store.events("a") == ()


def test_room_that_is_moved_in_between_is_not_given_back(store: DynamoStore, on_wire: Wire) -> None:
    """The reconciler finds an expired claim; its owner lives and takes another meanwhile."""
    store.commit(Commit("a", 1, (draft(),), claims=(claim(4),)))

    def in_between(_: object) -> None:
        kept = claim(2, expires_at=LATER + timedelta(days=1))
        other_process(store).commit(Commit("a", 2, (draft(),), claims=(kept,)))

    on_wire.disturb(TRANSACT, in_between)
    assert store.release_expired(LATER) == 0
    assert spot(dict.fromkeys(range(HOUR, HOUR + 2), Reserved(2.0, 0))) == view(store)


def test_a_root_that_was_cut_short_is_finished_by_the_next(
    store: DynamoStore, on_wire: Wire
) -> None:
    """Between root and lists: what it covers is not listed again, what moved since is."""
    store.admit("b", b"b", "e1", rerun=False)
    store.commit(Commit("a", 1, (draft(),)))
    store.commit(Commit("b", 1, (draft(),)))
    first = next_root(store.heads_since_last_root(), None, NOW)
    store.put_blob(b"")
    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        cut_short(store, on_wire, first)
    assert (first,) == store.roots()
    assert store.heads_since_last_root() == ()
    [moved] = store.commit(Commit("b", 2, (draft(),)))
    heads = store.heads_since_last_root()
    assert [("b", 2, moved.hash)] == [(head.job, head.seq, head.hash) for head in heads]
    store.append_root(next_root(heads, first, NOW))
    assert store.heads_since_last_root() == ()
    assert not list(store._table.query("open-roots"))


def cut_short(store: DynamoStore, on_wire: Wire, first: object) -> None:
    """The heads' blob is put, the root is put, the lists are not cleared."""

    def let_pass(_: object) -> None:
        return None

    on_wire.disturb("BatchWriteItem", let_pass, refused)
    store.append_root(first)
