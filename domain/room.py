"""Room: the vCPUs and GPUs that policy allows in a region, and what is reserved of it.

Room is hourly whatever a forecast's step, so that a long run touches few items. A view counts
reservations as they were when a decision read them; the decision's event names it by hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import rfc8785

from domain.capacity import CapacityType
from domain.curves import Mask
from domain.errors import RoomTaken

Place = tuple[str, CapacityType]
"""(region, capacity type)."""

HOUR_S = 3600

MICRO = 1_000_000
"""Stores keep vCPUs as whole millionths: sums of floats would drift as claims come and go."""


def hour_of(instant: datetime) -> int:
    """Hours since the Unix epoch, UTC: the key of a room item."""
    return int(instant.timestamp()) // HOUR_S


def hour_start(hour: int) -> datetime:
    """The inverse of ``hour_of``."""
    return datetime.fromtimestamp(hour * HOUR_S, UTC)


def hours_touched(start: datetime, duration: timedelta) -> range:
    """Every hour in which a run from ``start`` for ``duration`` holds room."""
    last = start + max(duration, timedelta(microseconds=1)) - timedelta(microseconds=1)
    return range(hour_of(start), hour_of(last) + 1)


def stretches(hours: Iterable[int]) -> tuple[range, ...]:
    """The same hours as ranges, as few as there can be, in order."""
    found: list[range] = []
    for hour in sorted(set(hours)):
        if found and found[-1].stop == hour:
            found[-1] = range(found[-1].start, hour + 1)
        else:
            found.append(range(hour, hour + 1))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is reserved in one hour."""

    vcpus: float
    gpus: int


class SeenRoom(Protocol):
    """Room as a decision sees it."""

    def full(
        self, places: Sequence[Place], limits: Sequence[Reserved], needs: Reserved, first: int
    ) -> Mask | None:
        """(places, hours from ``first``): the hours in which one more machine of ``needs`` would
        go over its place's limit; ``None`` where none would. Later hours are free.
        """

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON, as of a ``RoomView``."""


@dataclass(frozen=True, slots=True)
class RoomView:
    """Reservations by (region, capacity type) and hour; an hour that is absent is free.

    The reservations of the job that decides are left out: its old room is released in the same
    transaction that takes the new.
    """

    reserved: Mapping[Place, Mapping[int, Reserved]] = field(default_factory=dict)

    def full(
        self, places: Sequence[Place], limits: Sequence[Reserved], needs: Reserved, first: int
    ) -> Mask | None:
        """As ``SeenRoom`` asks."""
        full_places: list[int] = []
        full_hours: list[int] = []
        for index, (place, limit) in enumerate(zip(places, limits, strict=True)):
            vcpus, gpus = needs.vcpus, needs.gpus
            most_vcpus, most_gpus = limit.vcpus, limit.gpus
            hours = [
                hour - first
                for hour, taken in self.reserved.get(place, {}).items()
                if hour >= first
                and (taken.vcpus + vcpus > most_vcpus or taken.gpus + gpus > most_gpus)
            ]
            full_hours += hours
            full_places += [index] * len(hours)
        if not full_hours:
            return None
        marked: Mask = np.zeros((len(places), max(full_hours) + 1), dtype=np.bool_)
        marked[full_places, full_hours] = True
        return marked

    def as_json(self) -> dict[str, Any]:
        """Plain data, sorted; ``from_json`` is its inverse."""
        return {
            f"{region}|{capacity_type.value}": {
                str(hour): [held.vcpus, held.gpus] for hour, held in sorted(hours.items())
            }
            for (region, capacity_type), hours in sorted(self.reserved.items())
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, Any]]) -> RoomView:
        """The view that ``as_json`` wrote."""
        reserved = {}
        for key, hours in data.items():
            region, _, capacity_type = key.rpartition("|")
            reserved[region, CapacityType(capacity_type)] = {
                int(hour): Reserved(float(held[0]), int(held[1])) for hour, held in hours.items()
            }
        return cls(reserved)

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.as_json())

    @property
    def sha256(self) -> str:
        """The content hash by which a decision refers to this view."""
        return hashlib.sha256(self.canonical()).hexdigest()


@dataclass(frozen=True, slots=True)
class RoomClaim:
    """A stretch of room in one place that a job takes; a commit's claims replace all it held.

    ``limit`` is enforced by the store inside the transaction, unless ``over_room`` says that the
    deadline outranks it.
    """

    region: str
    capacity_type: CapacityType
    hours: range
    vcpus: float
    gpus: int
    limit_vcpus: float
    limit_gpus: int
    expires_at: datetime
    """After this a reconciler gives the room back, should the owner be gone."""
    over_room: bool = False


def micro_vcpus(vcpus: float) -> int:
    """Whole millionths of a vCPU."""
    return round(vcpus * MICRO)


def room_beside(claim: RoomClaim) -> tuple[int, int]:
    """(millionths of a vCPU, GPUs) that others may hold in each hour for the claim to fit.

    Raises:
        RoomTaken: the claim alone is larger than its limit.
    """
    vcpus = micro_vcpus(claim.limit_vcpus) - micro_vcpus(claim.vcpus)
    gpus = claim.limit_gpus - claim.gpus
    if vcpus < 0 or gpus < 0:
        raise RoomTaken(claim.region, claim.capacity_type, hour_start(claim.hours[0]))
    return vcpus, gpus
