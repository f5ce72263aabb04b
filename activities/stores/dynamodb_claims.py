"""What a claim of room comes to in DynamoDB: items of a day, changed by what hours gain and lose.

An item is one (region, capacity type, UTC day). Its attributes ``v00`` to ``v23`` are the
millionths of a vCPU reserved in each hour, ``g00`` to ``g23`` the GPUs: whole numbers, since sums
of floats would drift. Old and new room of one job are netted hour by hour into one change of each
item, because a transaction may name an item only once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from activities.errors import StepTooLarge
from activities.stores.dynamodb_table import Item, Key, Update, key_of, stamp
from domain.capacity import CapacityType
from domain.room import RoomClaim, hour_start, micro_vcpus, room_beside

HOURS_A_DAY = 24

MOST_DAYS = 40
"""UTC days that one claim may touch. A job that moves changes the days of its old and its new
claim in one transaction of 100 items: so twice this leaves 20 for its row, lists and events."""


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
    def of(cls, claim: RoomClaim) -> HeldRoom | None:
        """What a claim takes; ``None`` where it has no hours.

        Raises:
            StepTooLarge: it touches more than ``MOST_DAYS``.
        """
        if not claim.hours:
            return None
        days = claim.hours[-1] // HOURS_A_DAY - claim.hours[0] // HOURS_A_DAY + 1
        if days > MOST_DAYS:
            raise StepTooLarge("days of room in one claim", days, MOST_DAYS)
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

    def full_hour(self, item: Item) -> datetime:
        """The first hour that has no room left, in an item that refused the change."""
        hours = sorted(self.walls)
        return hour_start(next(h for h in hours if reserved(item, h).exceeds(self.walls[h])))


def day_changes(
    before: HeldRoom | None, after: HeldRoom | None, claim: RoomClaim | None = None
) -> list[DayChange]:
    """The changes that turn a job's room into ``after``, within the limits of ``claim``.

    Raises:
        RoomTaken: the claim is larger than its limit.
    """
    if before == after and claim is None:
        return []
    changes: dict[Key, DayChange] = {}
    own: dict[tuple[Key, int], Amount] = {}
    if before:
        own = dict.fromkeys(before.by_place(), before.amount)
    for (key, hour), amount in own.items():
        changes.setdefault(key, DayChange(key)).gain(hour, Amount() - amount)
    if after:
        for key, hour in after.by_place():
            changes.setdefault(key, DayChange(key)).gain(hour, after.amount)
    if after and claim and not claim.over_room:
        beside = Amount(*room_beside(claim))
        for key, hour in after.by_place():
            changes[key].walls[hour] = beside + own.get((key, hour), Amount())
    return list(changes.values())


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
    region, _, capacity_type = key_of(item)[1].rpartition("|")
    return region, CapacityType(capacity_type)


def _attributes(hour: int, amount: Amount) -> Iterator[tuple[str, int]]:
    """(attribute, number) of an hour's vCPUs and GPUs."""
    yield f"v{hour % HOURS_A_DAY:02}", amount.micro_vcpus
    yield f"g{hour % HOURS_A_DAY:02}", amount.gpus
