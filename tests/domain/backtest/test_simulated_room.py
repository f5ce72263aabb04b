"""Room as arrays tells decisions what room as stores keep it does."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domain.backtest.room import RoomAhead, SimulatedRoom
from domain.capacity import CapacityType
from domain.room import Reserved, RoomView, hour_of, hours_touched
from tests.domain.backtest.small import START
from tests.domain.hand_made import BOTH, FRANCE, GERMANY, HOUR, SWEDEN, world

POLICY = world(regions=(FRANCE, GERMANY, SWEDEN), offer=BOTH).policy
PLACES = [(region, kind) for region in (FRANCE, GERMANY, SWEDEN) for kind in CapacityType]
LIMITS = [Reserved(vcpus, 0) for vcpus in (100.0, 30.0, 7.3, 16.0, 4.1, 64.0)]
FIRST = hour_of(START)

claims = st.tuples(
    st.sampled_from(PLACES),
    st.integers(0, 900),
    st.integers(0, 300),
    st.sampled_from([0.1, 0.2, 1.0, 4.0, 33.3]),
    st.booleans(),
)
"""Place, hours from the start, minutes of a worst case, vCPUs, and whether it is given back."""


def filled(taken) -> SimulatedRoom:
    """All are claimed; then those that are given back are."""
    room, given_back = SimulatedRoom(POLICY, START), []
    for place, hour, minutes, vcpus, is_given_back in taken:
        hours = hours_touched(START + hour * HOUR, timedelta(minutes=minutes))
        claim = room.claim(place, hours, vcpus)
        if is_given_back:
            given_back.append(claim)
    for claim in given_back:
        room.release(claim)
    return room


def held(taken) -> dict:
    """What is left, added up by hand in thousandths."""
    left: dict = {}
    for place, hour, minutes, vcpus, is_given_back in taken:
        for at in hours_touched(START + hour * HOUR, timedelta(minutes=minutes)):
            if not is_given_back:
                of_place = left.setdefault(place, {})
                of_place[at] = of_place.get(at, 0) + round(vcpus * 1000)
    return left


@given(st.lists(claims, max_size=12), st.sampled_from([0.1, 0.2, 4.0]), st.integers(0, 800))
def test_full_hours_are_those_of_a_view(taken, needs, later) -> None:
    view = RoomView(
        {
            place: {hour: Reserved(milli / 1000, 0) for hour, milli in hours.items()}
            for place, hours in held(taken).items()
        }
    )
    asked = PLACES, LIMITS, Reserved(needs, 0), FIRST + later
    found, expected = filled(taken).full(*asked), view.full(*asked)
    # Beyond what either tells, hours are free.
    assert np.array_equal(_hours(found), _hours(expected))


def _hours(full) -> np.ndarray:
    return np.argwhere(np.zeros((len(PLACES), 1), bool) if full is None else full)


@given(st.lists(claims, max_size=12))
def test_its_canonical_form_is_that_of_a_view(taken) -> None:
    view = RoomView(
        {
            place: {hour: Reserved(milli / 1000, 0) for hour, milli in hours.items()}
            for place, hours in held(taken).items()
        }
    )
    assert filled(taken).canonical() == view.canonical()


def test_a_place_counts_where_it_is_asked_for() -> None:
    """Other places in another order are other rows."""
    room = SimulatedRoom(POLICY, START)
    room.claim(PLACES[3], range(FIRST + 2, FIRST + 4), 90.0)
    for places in (PLACES[3:], PLACES[::-1], PLACES[2:4]):
        full = room.full(places, [Reserved(100.0, 0)] * len(places), Reserved(11.0, 0), FIRST)
        assert [[places.index(PLACES[3]), hour] for hour in (2, 3)] == np.argwhere(full).tolist()


def test_room_for_longer_runs_is_full_hours_before_it_is_full() -> None:
    """An hour counts as full where one of the next two is; beyond what is told, hours are free."""
    room = SimulatedRoom(POLICY, START)
    room.claim(PLACES[0], range(FIRST + 3, FIRST + 4), 90.0)
    asked = PLACES, LIMITS, Reserved(20.0, 0), FIRST
    ahead = RoomAhead(room, 1.5 * HOUR)
    assert np.flatnonzero(ahead.full(*asked)[0]).tolist() == [1, 2, 3]
    assert ahead.canonical() == room.canonical()
    much = RoomAhead(room, 90 * HOUR).full(*asked)
    assert np.flatnonzero(much[0]).tolist() == [0, 1, 2, 3]


def test_room_for_longer_runs_is_free_where_all_is() -> None:
    ahead = RoomAhead(SimulatedRoom(POLICY, START), HOUR)
    assert ahead.full(PLACES, LIMITS, Reserved(4.0, 0), FIRST) is None
