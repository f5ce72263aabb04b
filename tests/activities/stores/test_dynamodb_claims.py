"""Netting of room: whatever a job held and takes, each day's item comes out as it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from activities.stores.dynamodb_claims import Amount, day_changes, day_key, held_by, reserved
from domain.capacity import CapacityType
from domain.errors import RoomTaken
from domain.room import MICRO, RoomClaim

FIRST = 20 * 24 - 3
"""Three hours before a midnight: most claims touch two days."""
LIMIT_VCPUS, LIMIT_GPUS = 6, 2
HOURS = range(FIRST, FIRST + 6)
"""Few hours, one region mostly, amounts near the limit: claims meet."""

Place = tuple[str, CapacityType, int]

claims = st.builds(
    lambda region, start, length, vcpus, gpus, over: RoomClaim(
        region=region,
        capacity_type=CapacityType.SPOT,
        hours=range(HOURS[start], min(HOURS[start] + length, HOURS.stop)),
        vcpus=vcpus,
        gpus=gpus,
        limit_vcpus=LIMIT_VCPUS,
        limit_gpus=LIMIT_GPUS,
        expires_at=datetime(2026, 11, 25, tzinfo=UTC),
        over_room=over,
    ),
    st.sampled_from(["aws:eu-north-1", "aws:eu-north-1", "gcp:europe-west1"]),
    st.integers(0, 4),
    st.sampled_from([3, 4, 5, 1, 0]),
    st.sampled_from([3, 0.1, 2, 4, 6, 7]),
    st.sampled_from([0, 0, 1, 2, 3]),
    st.sampled_from([False, False, False, True]),
)


def holds(stretches: Sequence[RoomClaim]) -> dict[Place, Amount]:
    vcpus, gpus = Counter[Place](), Counter[Place]()
    for claim in stretches:
        for hour in claim.hours:
            place = claim.region, claim.capacity_type, hour
            vcpus[place] += round(claim.vcpus * MICRO)
            gpus[place] += claim.gpus
    return {place: Amount(vcpus[place], gpus[place]) for place in vcpus}


def items_of(*holders: dict[Place, Amount]) -> dict:
    """The table's items of a day as these holders leave them."""
    items: dict = {}
    for holder in holders:
        for (region, capacity_type, hour), amount in holder.items():
            item = items.setdefault(day_key(region, capacity_type, hour), {})
            for name, number in (("v", amount.micro_vcpus), ("g", amount.gpus)):
                attribute = f"{name}{hour % 24:02}"
                item[attribute] = item.get(attribute, 0) + number
    return items


several = st.lists(claims, max_size=3)


@settings(max_examples=100)
@given(other=several, before=several, after=several)
def test_a_move_leaves_what_release_and_take_would(
    other: list[RoomClaim], before: list[RoomClaim], after: list[RoomClaim]
) -> None:
    """One change a day comes to the same as giving all back first, limits included."""
    walled = holds([claim for claim in after if not claim.over_room])
    limit = Amount(LIMIT_VCPUS * MICRO, LIMIT_GPUS)
    fits = not any(
        (holds(other).get(place, Amount()) + amount).exceeds(limit)
        for place, amount in holds(after).items()
        if place in walled
    )
    held, taken = held_by(before), held_by(after)
    items = items_of(holds(other), holds(before))
    try:
        changes = day_changes(held, taken, after)
    except RoomTaken:
        assert not fits
        return
    assert len({change.key for change in changes}) == len(changes)
    full = [
        change
        for change in changes
        if any(
            reserved(items.get(change.key, {}), hour).exceeds(wall)
            for hour, wall in change.walls.items()
        )
    ]
    assert fits == (not full)
    for change in changes:
        item = items.setdefault(change.key, {})
        for hour, gain in change.gains.items():
            new = reserved(item, hour) + gain
            item |= {f"v{hour % 24:02}": new.micro_vcpus, f"g{hour % 24:02}": new.gpus}
    expected = items_of(holds(other), holds(after))
    for key in expected.keys() | items.keys():
        for hour in range(24):
            assert reserved(expected.get(key, {}), hour) == reserved(items.get(key, {}), hour)
