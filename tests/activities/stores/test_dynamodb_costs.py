"""What a refresh, a decision and a settlement pass cost in requests, and what is too large."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from activities.errors import StepTooLarge, StoreUnavailable
from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_claims import MOST_DAYS
from activities.stores.dynamodb_jobs import read_row, writes
from activities.stores.dynamodb_table import SHARDS
from domain.errors import RoomTaken
from domain.forecast import Forecast, Observation, Signal
from domain.job import Outcome
from domain.ledger import EventKind
from domain.ports import Commit, DocumentName
from domain.room import Reserved, RoomView, hour_start
from tests.activities.settling import publish, ran, settle
from tests.activities.stores.dynamodb_wire import refused, wire
from tests.contracts.room import HOUR, NOW, claim, draft, spot, view
from tests.domain.recorded import append_root, make_forecast, make_inputs, make_world

ZONES = [f"ZONE-{number:03}" for number in range(300)]
HOURLY = tuple(100 / (number + 3) for number in range(48))


@pytest.fixture
def store(dynamo_store: DynamoStore) -> DynamoStore:
    return dynamo_store


def a_refresh(issued_hours: int) -> tuple[list[Forecast], list[Observation]]:
    """300 zones of both signals: 48 hours forecast, the last hour observed."""
    at = NOW + timedelta(hours=issued_hours)
    forecasts, observations = [], []
    for zone in ZONES:
        for signal in Signal:
            forecasts.append(Forecast(zone, signal, "trace", "m/1", at, at, 3600.0, HOURLY))
            observations.append(Observation(zone, signal, at, 3600.0, 1 / 3, "trace"))
    return forecasts, observations


def requests(store: DynamoStore, step, *arguments: object, **named: object) -> Counter[str]:
    with wire(store._table.client) as opened:
        step(*arguments, **named)
    assert "Scan" not in opened.sent
    return opened.sent


def test_a_refresh_and_a_placement_cost_a_stated_number_of_requests(store: DynamoStore) -> None:
    """300 zones of two signals, and the first and second decision after they were refreshed."""
    forecasts, observations = a_refresh(0)
    assert requests(store, store.put_forecasts, forecasts) == {
        "BatchGetItem": 7,
        "TransactWriteItems": 7,
    }
    assert requests(store, store.put_observations, observations) == {
        "BatchWriteItem": 24,
        "TransactWriteItems": 1,
    }
    assert requests(store, store.put_forecasts, forecasts) == {"BatchGetItem": 7}
    assert requests(store, store.put_observations, observations) == {}
    _, later = a_refresh(1)
    assert requests(store, store.put_observations, observations + later) == {"BatchWriteItem": 24}

    assert requests(store, store.revision) == {"GetItem": 1}
    assert requests(store, store.forecasts) == {"Query": SHARDS}
    assert len(store.forecasts()) == 600

    two_days = range(HOUR, HOUR + 30)
    assert requests(store, store.view, two_days, excluding_job="a") == {"Query": 2, "GetItem": 1}

    assert (requests(store, store.admit, "a", b"a", "e1", rerun=False)) == {
        "GetItem": 1,
        "BatchGetItem": 1,
        "BatchWriteItem": 1,
        "TransactWriteItems": 1,
    }
    world = {item.sha256: item.canonical() for item in forecasts}
    expected = {"GetItem": 1, "BatchGetItem": 7, "BatchWriteItem": 25, "TransactWriteItems": 1}
    first, second = (
        Commit("a", seq, (draft(),), world | blob(b"room %d" % seq), (claim(1),)) for seq in (1, 2)
    )
    assert expected == requests(store, store.commit, first)
    expected = {"GetItem": 1, "BatchGetItem": 1, "BatchWriteItem": 1, "TransactWriteItems": 1}
    assert expected == requests(store, store.commit, second)
    other_worker = DynamoStore(store._signals, store._table)
    expected = {"GetItem": 1, "BatchGetItem": 7, "BatchWriteItem": 1, "TransactWriteItems": 1}
    third = replace(second, first_seq=3, blobs=world | blob(b"room 3"))
    assert expected == requests(store, other_worker.commit, third)


def blob(content: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(content).hexdigest(): content}


def test_a_settlement_pass_costs_what_there_is_to_do(store: DynamoStore) -> None:
    """Its lists are read without the jobs that have nothing to settle, root or give back."""
    for number in range(5):
        job = f"job-{number}"
        store.admit(job, b"m", "e1", rerun=False)
        store.commit(Commit(job, 1, (draft(EventKind.ATTEMPT), draft()), claims=(claim(0.5),)))
        done = Commit(job, 3, (draft(EventKind.COMPLETION),), release_room=True)
        store.commit(replace(done, outcome=Outcome.SUCCEEDED))
    assert requests(store, store.unsettled) == {"Query": SHARDS}
    assert requests(store, store.heads_since_last_root) == {"Query": SHARDS + 1}
    assert requests(store, store.release_expired, NOW + timedelta(days=9)) == {"Query": SHARDS}
    assert len(store.unsettled()) == 5
    append_root(store)
    for number in range(5):
        settled = Commit(f"job-{number}", 4, (draft(EventKind.SETTLEMENT),), settled=True)
        store.commit(settled)
    append_root(store)
    assert () == store.unsettled() == store.heads_since_last_root()
    for empty in ("moved", "unsettled", "expiring"):
        assert not [item for n in range(SHARDS) for item in store._table.query(f"{empty}#{n}")]


def test_the_settlement_of_a_job_costs_a_stated_number_of_requests(store: DynamoStore) -> None:
    """However many forecasts its decision saw: 100 a request, and none a second time."""
    forecasts, _ = a_refresh(0)
    world = make_world(make_forecast(), *forecasts)
    ran(store, make_inputs("first", world))
    publish(store, 6)
    other_worker = DynamoStore(store._signals, store._table)
    lists = Counter(Query=3 * SHARDS + 1)
    root = Counter(Query=3, BatchGetItem=1, BatchWriteItem=3, TransactWriteItems=1)
    chain_and_commit = Counter(Query=1, GetItem=1, TransactWriteItems=1)
    actual_and_counterfactual = Counter(Query=2, GetItem=2)
    each = chain_and_commit + actual_and_counterfactual
    inputs, observations = Counter(BatchGetItem=7), Counter(BatchGetItem=1, BatchWriteItem=1)
    regret = Counter(GetItem=1)
    expected = lists + inputs + each + observations + regret + Counter(BatchWriteItem=1) + root
    assert expected == requests(other_worker, a_pass, other_worker)

    for name in ("second", "third"):
        ran(store, make_inputs(name, world))
    own_inputs = Counter(BatchGetItem=1)
    expected = lists + own_inputs + each + own_inputs + each + regret + root
    assert expected == requests(other_worker, a_pass, other_worker)
    assert store.unsettled() == ()


def a_pass(store: DynamoStore) -> None:
    asyncio.run(settle(store))


def test_the_longest_claim_can_always_be_moved(store: DynamoStore) -> None:
    """Forty days to forty others, with the events of a decision, are within DynamoDB's limits.

    The simulator has few of these and would take ten seconds, so the request is looked at instead:
    100 items of 4 MB in all, expressions of 4 KB and 300 operators.
    """
    midnight = HOUR // 24 * 24
    longest = claim(4, gpus=1, limit_gpus=2, hours=range(midnight, midnight + MOST_DAYS * 24))
    moved = replace(longest, hours=range(longest.hours.stop, longest.hours.stop + MOST_DAYS * 24))
    store.admit("a", b"a", "e1", rerun=False)
    row = read_row(store._table, "a")
    store._table.transact(writes(row, row.committed(Commit("a", 1, (), claims=(longest,)), ())))
    bodies: list[bytes] = []

    def looked_at(request: Any) -> AWSResponse:
        bodies.append(request.body)
        return refused(request)

    with wire(store._table.client) as opened:
        opened.disturb("TransactWriteItems", looked_at)
        with pytest.raises(StoreUnavailable, match="AccessDenied"):
            store.commit(Commit("a", 1, tuple(draft() for _ in range(14)), claims=(moved,)))
    [body] = bodies
    items = json.loads(body)["TransactItems"]
    updates = [item["Update"] for item in items if "Update" in item]
    assert 2 * MOST_DAYS == len(updates) < len(items) <= 100
    assert len(body) < 4_000_000
    for update in updates:
        gains, walls = update["UpdateExpression"], update.get("ConditionExpression", "")
        assert max(len(gains), len(walls)) <= 4096
        assert len(re.findall(r"attribute_not_exists|OR|AND|<=", walls)) <= 300
        assert gains.count(":n") == 48
    assert sum("ConditionExpression" in update for update in updates) == MOST_DAYS


def test_what_no_transaction_takes_is_refused_clearly(store: DynamoStore) -> None:
    """A claim of too many days, an event over 400 KB, too many events: nothing is half done."""
    store.admit("a", b"a", "e1", rerun=False)
    too_long = range(HOUR, HOUR + MOST_DAYS * 24 + 24)
    with pytest.raises(StepTooLarge, match=r"days of room in one step: 4[12] .* 40 at most"):
        store.commit(Commit("a", 1, (draft(),), claims=(claim(1, hours=too_long),)))
    wide = replace(draft(), data={"reason": "x" * 400_000})
    with pytest.raises(StepTooLarge, match="event a/1"):
        store.commit(Commit("a", 1, (wide,)))
    with pytest.raises(StepTooLarge, match="101 is not allowed; expected 100 at most"):
        store.commit(Commit("a", 1, tuple(draft() for _ in range(99))))
    assert store.events("a") == ()
    assert RoomView() == view(store, too_long)


def test_a_whole_day_is_walled_hour_by_hour(store: DynamoStore) -> None:
    """The longest condition there is: one GPU too many in the last hour refuses the day."""
    midnight = HOUR // 24 * 24
    day = range(midnight, midnight + 24)
    for job in ("a", "b", "c"):
        store.admit(job, b"m", "e1", rerun=False)
    store.commit(Commit("a", 1, (draft(),), claims=(claim(6, gpus=1, limit_gpus=2, hours=day),)))
    store.commit(
        Commit("b", 1, (draft(),), claims=(claim(1, gpus=1, limit_gpus=2, hours=day[23:]),))
    )
    last_hour = hour_start(day[23]).isoformat()
    with pytest.raises(RoomTaken, match=re.escape(last_hour)):
        store.commit(
            Commit("c", 1, (draft(),), claims=(claim(3, gpus=1, limit_gpus=2, hours=day),))
        )
    store.commit(Commit("c", 1, (draft(),), claims=(claim(3, limit_gpus=2, hours=day),)))
    expected = dict.fromkeys(day, Reserved(9.0, 1)) | {day[23]: Reserved(10.0, 2)}
    assert spot(expected) == view(store, day)


def test_a_claim_that_stays_needs_no_more_room_than_it_holds(store: DynamoStore) -> None:
    """A job may take its own full hours again, unless the limit fell below what is reserved."""
    store.admit("a", b"a", "e1", rerun=False)
    store.commit(Commit("a", 1, (draft(),), claims=(claim(10),)))
    store.commit(Commit("a", 2, (draft(),), claims=(claim(10, hours=range(HOUR + 1, HOUR + 3)),)))
    store.commit(Commit("a", 3, (draft(),), claims=(claim(8, hours=range(HOUR + 1, HOUR + 3)),)))
    expected = spot(dict.fromkeys(range(HOUR + 1, HOUR + 3), Reserved(8.0, 0)))
    assert expected == view(store)
    store.admit("b", b"b", "e1", rerun=False)
    store.commit(Commit("b", 1, (draft(),), claims=(claim(2, hours=range(HOUR + 1, HOUR + 2)),)))
    with pytest.raises(RoomTaken):
        store.commit(
            Commit(
                "b", 2, (draft(),), claims=(claim(2, limit_vcpus=9, hours=range(HOUR, HOUR + 3)),)
            )
        )


def test_a_document_costs_one_request(store: DynamoStore) -> None:
    """To write it and to read it."""
    put = requests(store, store.put_document, DocumentName.RECLAIMS, b"learned")
    assert put == {"BatchWriteItem": 1}
    assert requests(store, store.document, DocumentName.RECLAIMS) == {"GetItem": 1}
