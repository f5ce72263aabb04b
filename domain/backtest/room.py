"""Room in a simulation: arrays of places and hours, changed in place as jobs come and go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from domain.capacity import CapacityType
from domain.curves import Mask
from domain.policy import Policy
from domain.room import MICRO, Place, Reserved, RoomView, SeenRoom, hour_of, micro_vcpus

_Micros = NDArray[np.int64]

_MONTH_H = 31 * 24
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Claim:
    """Room that one job holds."""

    row: int
    hours: range
    micros: int


class SimulatedRoom:
    """What is reserved of each place in each hour, in millionths of a vCPU as stores keep it.

    A decision sees it as ``SeenRoom``; whoever decides releases its own claim first. Backtests
    know no GPUs.
    """

    def __init__(self, policy: Policy, start: datetime) -> None:
        """Room of all places of ``policy``, free from the hour of ``start`` on."""
        places = [(region, kind) for region in sorted(policy.regions) for kind in CapacityType]
        self._index: Mapping[Place, int] = {place: row for row, place in enumerate(places)}
        self._first = hour_of(start)
        self._taken: _Micros = np.zeros((len(places), _MONTH_H), dtype=np.int64)
        self._end = self._first
        """After the last hour that was ever claimed."""
        self._asked: dict[tuple[Place, ...], tuple[NDArray[np.intp], _Micros]] = {}

    def claim(self, place: Place, hours: range, vcpus: float) -> Claim:
        """Take room in some hours, whether or not it fits."""
        self._end = max(self._end, hours.stop)
        missing = self._end - self._first - self._taken.shape[1]
        if missing > 0:
            more = np.zeros((len(self._index), missing + _MONTH_H), dtype=np.int64)
            self._taken = np.concatenate((self._taken, more), axis=1)
        claim = Claim(self._index[place], hours, micro_vcpus(vcpus))
        self._hours(claim)[...] += claim.micros
        return claim

    def release(self, claim: Claim) -> None:
        """Give all of it back, as the end of a job does; hours gone by no longer matter."""
        self._hours(claim)[...] -= claim.micros

    def full(
        self, places: Sequence[Place], limits: Sequence[Reserved], needs: Reserved, first: int
    ) -> Mask | None:
        """As ``SeenRoom`` asks."""
        rows, most = self._rows_and_limits(tuple(places), limits)
        taken = self._taken[rows, first - self._first : self._end - self._first]
        full: Mask = taken > (most - micro_vcpus(needs.vcpus))[:, None]
        return full if full.any() else None

    def view(self, first: int) -> RoomView:
        """The same as stores tell it, from hour ``first`` on."""
        reserved: dict[Place, dict[int, Reserved]] = {}
        for place, row in self._index.items():
            taken = self._taken[row, first - self._first : self._end - self._first]
            hours = {
                first + int(hour): Reserved(int(taken[hour]) / MICRO, 0)
                for hour in np.flatnonzero(taken)
            }
            if hours:
                reserved[place] = hours
        return RoomView(reserved)

    def _hours(self, claim: Claim) -> _Micros:
        hours: _Micros = self._taken[
            claim.row, claim.hours.start - self._first : claim.hours.stop - self._first
        ]
        return hours

    def _rows_and_limits(
        self, places: tuple[Place, ...], limits: Sequence[Reserved]
    ) -> tuple[NDArray[np.intp], _Micros]:
        """Where these places stand; limits go with the place, as there is one policy."""
        if places not in self._asked:
            rows = np.array([self._index[place] for place in places], dtype=np.intp)
            most = np.array([micro_vcpus(limit.vcpus) for limit in limits], dtype=np.int64)
            self._asked[places] = rows, most
        return self._asked[places]

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON, as of a ``RoomView``."""
        return self.view(self._first).canonical()


@dataclass(frozen=True, slots=True)
class RoomAhead:
    """Room for runs that are longer than the decision knows: an hour counts as full where one of
    those after it is.
    """

    room: SeenRoom
    longer: timedelta

    def full(
        self, places: Sequence[Place], limits: Sequence[Reserved], needs: Reserved, first: int
    ) -> Mask | None:
        """As ``SeenRoom`` asks."""
        full = self.room.full(places, limits, needs, first)
        if full is None:
            return None
        ahead, width = full.copy(), full.shape[1]
        for hours in range(1, min(math.ceil(self.longer / _HOUR) + 1, width)):
            ahead[:, : width - hours] |= full[:, hours:]
        return ahead

    def canonical(self) -> bytes:
        """As of the room itself."""
        return self.room.canonical()
