"""What a claim of room comes to in DynamoDB: items of a day, changed by what hours gain and lose.

An item is one (region, capacity type, UTC day). Its attributes ``v00`` to ``v23`` are the
millionths of a vCPU reserved in each hour, ``g00`` to ``g23`` the GPUs: whole numbers, since sums
of floats would drift. Old and new room of one job, however many stretches each has, are netted hour
by hour into one change of each item, because a transaction may name an item only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from activities.errors import StepTooLarge
from activities.stores.dynamodb_table import Item, Key, Update, key_of, stamp
from domain.capacity import CapacityType
from domain.errors import RoomTaken
from domain.room import RoomClaim, hour_start, micro_vcpus

HOURS_A_DAY = 24

MOST_DAYS = 40
"""Items of a day that one job's claims may touch. A job that moves changes those of its old and of
its new claims in one transaction of 100 items: twice this leaves 20 for row, lists and events."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What a job holds in an hour."""

    micro_vcpus: int = 0
    gpus: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.micro_vcpus + other.micro_vcpus, self.gpus + other.gpus)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.micro_vcpus - other.micro_vcpus, self.gpus - other.gpus)

    def exceeds(self, wall: Amount) -> bool:
        """Whether it is more than ``wall`` of either."""
        return self.micro_vcpus > wall.micro_vcpus or self.gpus > wall.gpus


@dataclass(frozen=True, slots=True)
class HeldRoom:
    """A claim as the job's row remembers it, so that all of it can be given back."""

    region: str
    capacity_type: CapacityType
    hours: range
    amount: Amount
    expires_at: str
    """As ``stamp`` writes it."""

    @classmethod
    def of(cls, claim: RoomClaim) -> HeldRoom:
        """What a claim takes; it has at least one hour."""
        return cls(
            region=claim.region,
            capacity_type=claim.capacity_type,
            hours=claim.hours,
            amount=Amount(micro_vcpus(claim.vcpus), claim.gpus),
            expires_at=stamp(claim.expires_at),
        )

    @classmethod
    def from_item(cls, item: Item) -> HeldRoom:
        """The inverse of ``as_item``."""
        return cls(
            region=item["region"],
            capacity_type=CapacityType(item["capacity_type"]),
            hours=range(item["first_hour"], item["last_hour"] + 1),
            amount=Amount(item["micro_vcpus"], item["gpus"]),
            expires_at=item["expires_at"],
        )

    def as_item(self) -> Item:
        """Plain values, for the row."""
        return {
            "region": self.region,
            "capacity_type": self.capacity_type.value,
            "first_hour": self.hours[0],
            "last_hour": self.hours[-1],
            "micro_vcpus": self.amount.micro_vcpus,
            "gpus": self.amount.gpus,
            "expires_at": self.expires_at,
        }

    def by_place(self) -> Iterator[tuple[Key, int]]:
        """(key of the day's item, hour) for each hour."""
        for hour in self.hours:
            yield day_key(self.region, self.capacity_type, hour), hour


def held_by(claims: Sequence[RoomClaim]) -> tuple[HeldRoom, ...]:
    """What claims take together.

    Raises:
        StepTooLarge: they touch more than ``MOST_DAYS``.
    """
    held = tuple(HeldRoom.of(claim) for claim in claims if claim.hours)
    days = len({key for item in held for key, _ in item.by_place()})
    if days > MOST_DAYS:
        raise StepTooLarge("days of room in one step", days, MOST_DAYS)
    return held


@dataclass(slots=True)
class DayChange:
    """What one day's item gains and loses, and how full its hours may be before."""

    key: Key
    gains: dict[int, Amount] = field(default_factory=dict)
    walls: dict[int, Amount] = field(default_factory=dict)

    def gain(self, hour: int, amount: Amount) -> None:
        """Add to what an hour gains."""
        self.gains[hour] = self.gains.get(hour, Amount()) + amount

    def update(self) -> Update:
        """The write: 24 hours with both walls come to 2.2 KB and 191 operators, of 4 KB and 300."""
        values: dict[str, Any] = {}

        def named(number: int) -> str:
            name = f":n{number}".replace("-", "m")
            values[name] = number
            return name

        gains = [
            f"{attribute} {named(number)}"
            for hour, amount in sorted(self.gains.items())
            for attribute, number in _attributes(hour, amount)
        ]
        walls = [
            f"(attribute_not_exists({attribute}) OR {attribute} <= {named(number)})"
            for hour, amount in sorted(self.walls.items())
            for attribute, number in _attributes(hour, amount)
        ]
        return Update(self.key, "ADD " + ", ".join(gains), " AND ".join(walls), values)

    def taken(self, item: Item) -> RoomTaken:
        """The first hour that has no room left, in an item that refused the change."""
        hours = sorted(self.walls)
        full = next(h for h in hours if reserved(item, h).exceeds(self.walls[h]))
        return RoomTaken(*_place(self.key), hour_start(full))


def day_changes(
    before: Sequence[HeldRoom], after: Sequence[HeldRoom], claims: Sequence[RoomClaim] = ()
) -> list[DayChange]:
    """The changes that turn a job's room into ``after``, within the limits of ``claims``.

    Raises:
        RoomTaken: the claims alone are larger than a limit.
    """
    if before == after and not claims:
        return []
    changes: dict[Key, DayChange] = {}
    own, wanted = _by_place(before), _by_place(after)
    for (key, hour), amount in own.items():
        changes.setdefault(key, DayChange(key)).gain(hour, Amount() - amount)
    for (key, hour), amount in wanted.items():
        changes.setdefault(key, DayChange(key)).gain(hour, amount)
    for claim in claims:
        if claim.over_room or not claim.hours:
            continue
        limit = Amount(micro_vcpus(claim.limit_vcpus), claim.limit_gpus)
        for place in HeldRoom.of(claim).by_place():
            if wanted[place].exceeds(limit):
                raise RoomTaken(claim.region, claim.capacity_type, hour_start(place[1]))
            key, hour = place
            changes[key].walls[hour] = limit - wanted[place] + own.get(place, Amount())
    return list(changes.values())


def _by_place(held: Sequence[HeldRoom]) -> Mapping[tuple[Key, int], Amount]:
    """What is held in each hour of each place, by (key of the day's item, hour)."""
    amounts: dict[tuple[Key, int], Amount] = {}
    for item in held:
        for place in item.by_place():
            amounts[place] = amounts.get(place, Amount()) + item.amount
    return amounts


def reserved(item: Item, hour: int) -> Amount:
    """What a day's item has reserved in an hour of its day."""
    vcpus, gpus = (name for name, _ in _attributes(hour, Amount()))
    return Amount(item.get(vcpus, 0), item.get(gpus, 0))


def day_partition(day: int) -> str:
    """Partition of all regions' items of one UTC day, counted from 1970-01-01."""
    return f"room#{hour_start(day * HOURS_A_DAY).date().isoformat()}"


def day_key(region: str, capacity_type: CapacityType, hour: int) -> Key:
    """Key of the item that an hour belongs to."""
    return day_partition(hour // HOURS_A_DAY), f"{region}|{capacity_type.value}"


def place_of(item: Item) -> tuple[str, CapacityType]:
    """The (region, capacity type) of a day's item: the inverse of ``day_key``."""
    return _place(key_of(item))


def _place(key: Key) -> tuple[str, CapacityType]:
    region, _, capacity_type = key[1].rpartition("|")
    return region, CapacityType(capacity_type)


def _attributes(hour: int, amount: Amount) -> Iterator[tuple[str, int]]:
    """(attribute, number) of an hour's vCPUs and GPUs."""
    yield f"v{hour % HOURS_A_DAY:02}", amount.micro_vcpus
    yield f"g{hour % HOURS_A_DAY:02}", amount.gpus
