"""What every ``Room`` does, written as it is through ``Ledger.commit``.

An adapter's tests subclass this with a fixture ``store`` that is both.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from domain.capacity import CapacityType
from domain.errors import RoomTaken
from domain.job import Outcome
from domain.ledger import Draft, EventKind
from domain.ports import Commit, Ledger, Room
from domain.room import Reserved, RoomClaim, RoomView, hour_of

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = hour_of(NOW)
ALL_HOURS = range(HOUR - 100, HOUR + 100)
REGION = "aws:eu-north-1"
THREADS = 8


class LedgerWithRoom(Ledger, Room, Protocol):
    """A store of both ports."""


def claim(
    vcpus: float = 4,
    *,
    gpus: int = 0,
    hours: range = range(HOUR, HOUR + 2),
    region: str = REGION,
    capacity_type: CapacityType = CapacityType.SPOT,
    limit_vcpus: float = 10,
    limit_gpus: int = 0,
    expires_at: datetime = NOW + timedelta(days=1),
    over_room: bool = False,
) -> RoomClaim:
    return RoomClaim(
        region=region,
        capacity_type=capacity_type,
        hours=hours,
        vcpus=vcpus,
        gpus=gpus,
        limit_vcpus=limit_vcpus,
        limit_gpus=limit_gpus,
        expires_at=expires_at,
        over_room=over_room,
    )


def draft(kind: EventKind = EventKind.DECISION) -> Draft:
    return Draft(kind, NOW, {})


def take(store: LedgerWithRoom, job: str, *wanted: RoomClaim) -> None:
    store.admit(job, job.encode(), "e1", rerun=False)
    store.commit(Commit(job, 1, (draft(),), claims=wanted))


def view(store: Room, hours: range = ALL_HOURS, *, excluding: str = "") -> RoomView:
    return store.view(hours, excluding_job=excluding)


def spot(hours: dict[int, Reserved]) -> RoomView:
    return RoomView({(REGION, CapacityType.SPOT): hours})


class RoomContract:
    def test_claims_add_up_hour_by_hour(self, store: LedgerWithRoom) -> None:
        """Reserved in an hour is the sum of the claims that touch it."""
        take(store, "a", claim(4, hours=range(HOUR, HOUR + 2)))
        take(store, "b", claim(2.5, hours=range(HOUR + 1, HOUR + 3)))
        expected = {
            HOUR: Reserved(4.0, 0),
            HOUR + 1: Reserved(6.5, 0),
            HOUR + 2: Reserved(2.5, 0),
        }
        assert spot(expected) == view(store)

    def test_regions_and_capacity_types_are_apart(self, store: LedgerWithRoom) -> None:
        """Each (region, capacity type) has room of its own."""
        hours = range(HOUR, HOUR + 1)
        take(store, "a", claim(10, hours=hours))
        take(store, "b", claim(10, hours=hours, capacity_type=CapacityType.ON_DEMAND))
        take(store, "c", claim(10, hours=hours, region="gcp:europe-west9"))
        assert {
            (REGION, CapacityType.SPOT): {HOUR: Reserved(10.0, 0)},
            (REGION, CapacityType.ON_DEMAND): {HOUR: Reserved(10.0, 0)},
            ("gcp:europe-west9", CapacityType.SPOT): {HOUR: Reserved(10.0, 0)},
        } == view(store).reserved

    def test_a_view_holds_its_hours_only(self, store: LedgerWithRoom) -> None:
        """Hours outside the range asked for, and hours that are free, are absent."""
        take(store, "a", claim(4, hours=range(HOUR, HOUR + 4)))
        assert spot(dict.fromkeys((HOUR + 1, HOUR + 2), Reserved(4.0, 0))) == view(
            store, range(HOUR + 1, HOUR + 3)
        )
        assert RoomView() == view(store, range(HOUR + 4, HOUR + 9))
        assert RoomView() == view(store, range(0))

    def test_a_view_leaves_out_the_deciding_job(self, store: LedgerWithRoom) -> None:
        """A job that decides again sees the room it holds as free."""
        take(store, "a", claim(4))
        take(store, "b", claim(3))
        both = range(HOUR, HOUR + 2)
        assert spot(dict.fromkeys(both, Reserved(3.0, 0))) == view(store, excluding="a")
        assert spot(dict.fromkeys(both, Reserved(4.0, 0))) == view(store, excluding="b")
        assert RoomView() == view(store, range(HOUR + 5, HOUR + 6), excluding="a")

    def test_room_up_to_the_limit_is_taken_and_no_more(self, store: LedgerWithRoom) -> None:
        """The last place goes; one hour that is full refuses the whole claim and commit."""
        take(store, "a", claim(6, hours=range(HOUR + 1, HOUR + 2)))
        take(store, "b", claim(4, hours=range(HOUR, HOUR + 2)))
        before = view(store)
        store.admit("c", b"c", "e1", rerun=False)
        with pytest.raises(RoomTaken, match=REGION):
            store.commit(
                Commit(
                    "c",
                    1,
                    (draft(),),
                    claims=(claim(0.1, hours=range(HOUR, HOUR + 3)),),
                    outcome=Outcome.FAILED,
                )
            )
        assert before == view(store)
        assert store.events("c") == ()
        assert store.record("c").outcome is None

    def test_tenths_add_up_to_the_limit(self, store: LedgerWithRoom) -> None:
        """Ten claims of a tenth fill one vCPU exactly: sums do not drift."""
        for n in range(10):
            take(store, f"job-{n}", claim(0.1, limit_vcpus=1))
        assert spot(dict.fromkeys(range(HOUR, HOUR + 2), Reserved(1.0, 0))) == view(store)
        with pytest.raises(RoomTaken):
            take(store, "late", claim(0.1, limit_vcpus=1))

    def test_gpus_have_a_limit_of_their_own(self, store: LedgerWithRoom) -> None:
        """Free vCPUs do not help where the GPUs are taken."""
        take(store, "a", claim(1, gpus=2, limit_gpus=3))
        with pytest.raises(RoomTaken):
            take(store, "b", claim(1, gpus=2, limit_gpus=3))
        take(store, "c", claim(1, gpus=1, limit_gpus=3))
        assert Reserved(2.0, 3) == view(store).reserved[REGION, CapacityType.SPOT][HOUR]

    def test_a_claim_above_the_limit_is_refused_where_all_is_free(
        self, store: LedgerWithRoom
    ) -> None:
        """No empty hour makes a claim fit that is larger than the limit."""
        with pytest.raises(RoomTaken):
            take(store, "a", claim(10.5))
        with pytest.raises(RoomTaken):
            take(store, "a", claim(1, gpus=1))
        assert RoomView() == view(store)

    def test_over_room_goes_past_the_limit_and_counts(self, store: LedgerWithRoom) -> None:
        """The deadline outranks the limit; what it takes still shuts out others."""
        take(store, "a", claim(8))
        take(store, "b", claim(8, over_room=True))
        assert Reserved(16.0, 0) == view(store).reserved[REGION, CapacityType.SPOT][HOUR]
        with pytest.raises(RoomTaken):
            take(store, "c", claim(1))

    def test_a_new_claim_replaces_the_old(self, store: LedgerWithRoom) -> None:
        """Old room is released first, so that a job may move within room that it fills."""
        take(store, "a", claim(10))
        store.commit(
            Commit("a", 2, (draft(),), claims=(claim(10, hours=range(HOUR + 1, HOUR + 2)),))
        )
        assert spot({HOUR + 1: Reserved(10.0, 0)}) == view(store)

    def test_a_refused_move_keeps_the_old_room(self, store: LedgerWithRoom) -> None:
        """Release and take are one transaction."""
        take(store, "a", claim(6))
        take(store, "b", claim(6, hours=range(HOUR + 5, HOUR + 6)))
        before = view(store)
        with pytest.raises(RoomTaken):
            store.commit(
                Commit("a", 2, (draft(),), claims=(claim(6, hours=range(HOUR + 4, HOUR + 7)),))
            )
        assert before == view(store)

    def test_a_plan_takes_room_for_each_of_its_stretches(self, store: LedgerWithRoom) -> None:
        """In several places and hours at once; a job's view leaves all of it out."""
        later, elsewhere = range(HOUR + 4, HOUR + 6), "gcp:europe-west9"
        take(store, "a", claim(4), claim(4, hours=later), claim(2, hours=later, region=elsewhere))
        taken = dict.fromkeys((HOUR, HOUR + 1, *later), Reserved(4.0, 0))
        assert {
            (REGION, CapacityType.SPOT): taken,
            (elsewhere, CapacityType.SPOT): dict.fromkeys(later, Reserved(2.0, 0)),
        } == view(store).reserved
        assert RoomView() == view(store, excluding="a")

    def test_stretches_that_meet_add_up(self, store: LedgerWithRoom) -> None:
        """In the hour that two share, within the limit of the place."""
        both = claim(4), claim(4, hours=range(HOUR + 1, HOUR + 3))
        take(store, "a", *both)
        assert Reserved(8.0, 0) == view(store).reserved[REGION, CapacityType.SPOT][HOUR + 1]
        assert RoomView() == view(store, excluding="a")
        with pytest.raises(RoomTaken):
            take(store, "b", claim(6), claim(6, hours=range(HOUR + 1, HOUR + 3)))

    def test_one_stretch_that_does_not_fit_refuses_all(self, store: LedgerWithRoom) -> None:
        """Neither those before it nor those after it are taken, and the old ones stay."""
        take(store, "a", claim(4), claim(4, hours=range(HOUR + 8, HOUR + 9)))
        take(store, "b", claim(7, hours=range(HOUR + 5, HOUR + 6)))
        before = view(store)
        wanted = [claim(4, hours=range(HOUR + n, HOUR + n + 1)) for n in (3, 5, 7)]
        with pytest.raises(RoomTaken):
            store.commit(Commit("a", 2, (draft(),), claims=tuple(wanted)))
        assert before == view(store)

    def test_new_stretches_replace_all_the_old(self, store: LedgerWithRoom) -> None:
        """A plan made again may need fewer, and may keep full hours that it held; none is left."""
        take(store, "a", claim(10), claim(10, hours=range(HOUR + 4, HOUR + 6)))
        store.commit(
            Commit("a", 2, (draft(),), claims=(claim(10, hours=range(HOUR + 5, HOUR + 7)),))
        )
        expected = dict.fromkeys((HOUR + 5, HOUR + 6), Reserved(10.0, 0))
        assert spot(expected) == view(store)
        store.commit(Commit("a", 3, (draft(EventKind.COMPLETION),), release_room=True))
        assert RoomView() == view(store)

    def test_stretches_of_a_lost_owner_are_given_back_together(self, store: LedgerWithRoom) -> None:
        """And their job is counted once."""
        take(store, "a", claim(4), claim(4, hours=range(HOUR + 4, HOUR + 6)))
        assert store.release_expired(NOW + timedelta(days=2)) == 1
        assert RoomView() == view(store)

    def test_a_retried_commit_takes_room_once(self, store: LedgerWithRoom) -> None:
        """A retry finds its events, and the room as the first try left it."""
        take(store, "a", claim(4))
        take(store, "a", claim(4))
        assert spot(dict.fromkeys(range(HOUR, HOUR + 2), Reserved(4.0, 0))) == view(store)

    def test_a_late_retry_does_not_bring_old_room_back(self, store: LedgerWithRoom) -> None:
        """Nothing of a commit that stands already is done again, its claim included."""
        take(store, "a", claim(4))
        store.commit(Commit("a", 2, (draft(EventKind.COMPLETION),), release_room=True))
        take(store, "a", claim(4))
        assert RoomView() == view(store)

    def test_release_gives_back_all_of_one_job(self, store: LedgerWithRoom) -> None:
        """The end of a job frees its room and nobody else's."""
        take(store, "a", claim(4))
        take(store, "b", claim(3))
        store.commit(Commit("a", 2, (draft(EventKind.COMPLETION),), release_room=True))
        store.admit("c", b"c", "e1", rerun=False)
        store.commit(Commit("c", 1, (draft(EventKind.COMPLETION),), release_room=True))
        assert spot(dict.fromkeys(range(HOUR, HOUR + 2), Reserved(3.0, 0))) == view(store)

    def test_other_commits_leave_room_alone(self, store: LedgerWithRoom) -> None:
        """A dispatch neither takes nor releases."""
        take(store, "a", claim(4))
        store.commit(Commit("a", 2, (draft(EventKind.DISPATCH),)))
        assert Reserved(4.0, 0) == view(store).reserved[REGION, CapacityType.SPOT][HOUR]

    def test_room_of_a_lost_owner_is_given_back_after_its_expiry(
        self, store: LedgerWithRoom
    ) -> None:
        """The reconciler frees what is past its time, and counts the jobs that held it."""
        take(store, "a", claim(4, expires_at=NOW + timedelta(hours=1)))
        take(store, "b", claim(3, expires_at=NOW + timedelta(hours=2)))
        assert store.release_expired(NOW + timedelta(hours=1)) == 0
        assert store.release_expired(NOW + timedelta(hours=1, microseconds=1)) == 1
        assert spot(dict.fromkeys(range(HOUR, HOUR + 2), Reserved(3.0, 0))) == view(store)
        assert store.release_expired(NOW + timedelta(hours=1, minutes=1)) == 0

    def test_threads_never_take_more_than_there_is(self, store: LedgerWithRoom) -> None:
        """Eight racers for room that fits three of them: three get it."""
        names = [f"job-{n}" for n in range(THREADS)]
        for name in names:
            store.admit(name, name.encode(), "e1", rerun=False)

        def race(name: str) -> bool:
            try:
                store.commit(Commit(name, 1, (draft(),), claims=(claim(3),)))
            except RoomTaken:
                return False
            return True

        with ThreadPoolExecutor(THREADS) as pool:
            took = list(pool.map(race, names))
        assert sum(took) == 3
        assert spot(dict.fromkeys(range(HOUR, HOUR + 2), Reserved(9.0, 0))) == view(store)
        assert took == [bool(store.events(name)) for name in names]
