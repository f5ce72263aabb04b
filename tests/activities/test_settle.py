from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from activities.errors import StoreUnavailable
from activities.stores.sqlite import SqliteStore
from domain import settlement_record
from domain.capacity import CapacityType
from domain.decision import DecisionInputs
from domain.forecast import Observation, Signal
from domain.job import Outcome
from domain.ledger import Draft, EventKind
from domain.ports import Commit, DocumentName
from domain.reclaims import Exposure, ReclaimHistory
from domain.room import RoomClaim, hour_of
from domain.verify import verify_ledger
from tests.activities.settling import HOUR, LATER, publish, ran, settle
from tests.domain.recorded import HOME, NOW, make_inputs, make_world, stub_decide


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened:
        yield opened


def settlements(store: SqliteStore, job: str) -> list[dict[str, object]]:
    return [item.data for item in store.events(job) if item.kind is EventKind.SETTLEMENT]


async def test_a_job_waits_until_its_hours_are_published(store: SqliteStore) -> None:
    """It is settled once, when the last of them is there, and never again."""
    job = ran(store, make_inputs())
    publish(store, 3)
    assert (await settle(store)).waiting == 1
    assert settlements(store, job) == []
    publish(store, 4)
    report = await settle(store)
    assert (report.settled, report.waiting) == (1, 0)
    [data] = settlements(store, job)
    assert data["through"] == 3
    assert data["actual"]["average_carbon_g"] == data["counterfactual"]["average_carbon_g"] > 0  # type: ignore[index]
    again = await settle(store)
    assert (again.settled, again.waiting, again.root) == (0, 0, None)
    assert len(settlements(store, job)) == 1


async def test_one_job_that_waits_holds_up_no_other(store: SqliteStore) -> None:
    """Each job has its own hours."""
    first, second = ran(store, make_inputs("first"), 1), ran(store, make_inputs("second"), 9)
    publish(store, 4)
    report = await settle(store)
    assert (report.settled, report.waiting) == (1, 1)
    assert [len(settlements(store, job)) for job in (first, second)] == [1, 0]


async def test_a_settlement_is_recomputed_from_what_it_names(store: SqliteStore) -> None:
    """Observations that are corrected later do not change what was settled: its blob holds them."""
    ran(store, make_inputs())
    publish(store, 6)
    await settle(store)
    publish(store, 6, level=1.0)
    report = verify_ledger(store, stub_decide, {EventKind.SETTLEMENT: settlement_record.recompute})
    assert report.holds, report.faults
    assert report.recomputed[EventKind.SETTLEMENT] == 1


async def test_a_root_covers_every_chain_that_moved(store: SqliteStore) -> None:
    """Each round appends one root over the moved heads, and none when nothing moved."""
    jobs = {ran(store, make_inputs(name)) for name in ("first", "second")}
    assert (await settle(store)).root == 1
    assert (await settle(store)).root is None
    publish(store, 6)
    assert (await settle(store)).root == 2
    assert [{head.job for head in root.heads} for root in store.roots()] == [jobs, jobs]
    assert [head.seq for head in store.roots()[-1].heads] == [4, 4]


async def test_room_of_lost_owners_is_given_back(store: SqliteStore) -> None:
    """Once it has expired, and not before."""
    inputs = make_inputs()
    job = inputs.manifest.workflow_id
    hour = hour_of(NOW)
    store.admit(job, inputs.manifest.canonical(), "e1", rerun=False)
    claim = RoomClaim(HOME, CapacityType.SPOT, range(hour, hour + 1), 4, 0, 10, 0, LATER)
    store.commit(Commit(job, 1, (Draft(EventKind.OVERRIDE, NOW, {}),), claims=(claim,)))
    assert (await settle(store, LATER - HOUR)).room_given_back == 0
    assert (await settle(store, LATER + HOUR)).room_given_back == 1
    assert store.view(range(hour, hour + 1), excluding_job="").reserved == {}


class OpensAgain:
    """Observations that come while someone runs the job again."""

    def __init__(self, store: SqliteStore, inputs: DecisionInputs) -> None:
        self._store = store
        self._inputs = inputs

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> Sequence[Observation]:
        manifest = self._inputs.manifest
        self._store.admit(manifest.workflow_id, manifest.canonical(), "e2", rerun=True)
        return self._store.observations(zone, signal, start, end)


async def test_a_job_that_is_run_again_meanwhile_is_left_alone(store: SqliteStore) -> None:
    """Its chain belongs to the new execution: the round goes on with the others."""
    inputs = make_inputs("first")
    job = ran(store, inputs, outcome=Outcome.FAILED)
    other = ran(store, make_inputs("second"))
    publish(store, 6)
    report = await settle(store, signals=OpensAgain(store, inputs))
    assert (report.settled, report.waiting) == (1, 1)
    assert [len(settlements(store, name)) for name in (job, other)] == [0, 1]
    assert report.root is not None


# ── reclaims ─────────────────────────────────────────────────────────────────────────────────

SPOT = CapacityType.SPOT


def learned(store: SqliteStore) -> ReclaimHistory | None:
    content = store.document(DocumentName.RECLAIMS)
    return ReclaimHistory.model_validate_json(content) if content else None


async def test_a_pass_learns_from_the_spot_runs_that_it_settles(store: SqliteStore) -> None:
    """Each run's hours and each reclaim, once, however often the ledger is settled."""
    ran(store, make_inputs("taken"), 1, capacity_type=SPOT, reclaimed_after=(0.25, 0.75))
    ran(store, make_inputs("undisturbed"), 2, capacity_type=SPOT)
    ran(store, make_inputs("on-demand"), 1)
    publish(store, 6)
    for _ in range(2):
        await settle(store)
    found = learned(store)
    assert found == ReclaimHistory(as_of=LATER, regions={HOME: Exposure(hours=4, reclaims=2)})


async def test_nothing_is_learned_before_a_job_is_settled(store: SqliteStore) -> None:
    """Nor from on-demand runs: nothing is written."""
    ran(store, make_inputs("waits"), 9, capacity_type=SPOT, reclaimed_after=(1.0,))
    ran(store, make_inputs("on-demand"), 1)
    publish(store, 6)
    report = await settle(store)
    assert (report.settled, report.waiting) == (1, 1)
    assert learned(store) is None


async def test_hours_of_a_compressed_trace_count_as_the_hours_that_they_stand_for(
    store: SqliteStore,
) -> None:
    """As decisions reckon: a rate is reclaims per accounted hour."""
    ran(store, make_inputs("fast", make_world(time_scale=1800.0)), 1, capacity_type=SPOT)
    publish(store, 6)
    await settle(store)
    found = learned(store)
    assert found is not None
    assert found.regions == {HOME: Exposure(hours=1800, reclaims=0)}


class Slow:
    """Observations that come when another attempt of the same pass has settled everything."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._first = True

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> Sequence[Observation]:
        if self._first:
            self._first = False
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, settle(self._store, LATER + HOUR)).result()
        return self._store.observations(zone, signal, start, end)


async def test_an_attempt_that_was_given_up_counts_nothing_twice(store: SqliteStore) -> None:
    """It finds the settlement of the attempt after it, which has counted the job's runs."""
    ran(store, make_inputs(), 1, capacity_type=SPOT, reclaimed_after=(0.5,))
    publish(store, 6)
    await settle(store, LATER, signals=Slow(store))
    found = learned(store)
    assert found is not None
    assert found.regions == {HOME: Exposure(hours=1.5, reclaims=1)}


class OutOfReach:
    """Documents of a store that is lost at the end of a pass."""

    def document(self, name: DocumentName) -> bytes | None:
        raise StoreUnavailable("documents", name)


async def test_a_pass_that_dies_loses_hours_and_reclaims_alike(store: SqliteStore) -> None:
    """The next one settles what is left, and learns from that alone."""
    ran(store, make_inputs("lost"), 1, capacity_type=SPOT, reclaimed_after=(0.5,))
    publish(store, 6)
    with pytest.raises(StoreUnavailable):
        await settle(store, documents=OutOfReach())
    ran(store, make_inputs("next"), 2, capacity_type=SPOT)
    assert (await settle(store)).settled == 1
    found = learned(store)
    assert found is not None
    assert found.regions == {HOME: Exposure(hours=2, reclaims=0)}


async def test_what_another_build_learned_in_another_form_is_begun_anew(
    store: SqliteStore,
) -> None:
    """It stops no settlement."""
    store.put_document(DocumentName.RECLAIMS, b"of another form")
    ran(store, make_inputs(), 1, capacity_type=SPOT)
    publish(store, 6)
    assert (await settle(store)).settled == 1
    found = learned(store)
    assert found is not None
    assert found.regions == {HOME: Exposure(hours=1, reclaims=0)}
