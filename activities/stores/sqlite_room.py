"""Room in SQLite: a job's claims, and beside them what all claims come to in each hour.

A claim is one row, since it is the same in each of its hours; the hourly sums are kept with it in
one transaction, so that a decision reads a few hundred sums and not ten thousand claims.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from activities.stores.sqlite_database import OnDatabase, micros
from domain.capacity import CapacityType
from domain.errors import RoomTaken
from domain.room import MICRO, Reserved, RoomClaim, RoomView, hour_start, micro_vcpus, room_beside


class SqliteRoom(OnDatabase):
    """The ``Room`` port."""

    def view(self, hours: range, *, excluding_job: str) -> RoomView:
        """What is reserved in ``hours``, without the job's own."""
        if not hours:
            return RoomView()
        window = {"job": excluding_job, "first": hours[0], "last": hours[-1]}
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT room.region, room.capacity_type, room.hour,"
                " room.micro_vcpus - IFNULL(SUM(own.micro_vcpus), 0),"
                " room.gpus - IFNULL(SUM(own.gpus), 0)"
                " FROM room LEFT JOIN claims AS own ON own.job = :job"
                " AND own.region = room.region AND own.capacity_type = room.capacity_type"
                " AND room.hour BETWEEN own.first_hour AND own.last_hour"
                " WHERE room.hour BETWEEN :first AND :last"
                " GROUP BY room.region, room.capacity_type, room.hour",
                window,
            ).fetchall()
        reserved: dict[tuple[str, CapacityType], dict[int, Reserved]] = {}
        for region, capacity_type, hour, vcpus, gpus in rows:
            if vcpus or gpus:
                cells = reserved.setdefault((region, CapacityType(capacity_type)), {})
                cells[hour] = Reserved(vcpus / MICRO, gpus)
        return RoomView(reserved)

    def release_expired(self, now: datetime) -> int:
        """Give back claims past their expiry; returns how many jobs held them."""
        with self._database.write() as transaction:
            jobs = transaction.execute(
                "SELECT DISTINCT job FROM claims WHERE expires_at < ?", (micros(now),)
            ).fetchall()
            for (job,) in jobs:
                release(transaction, job)
        return len(jobs)


def take(transaction: sqlite3.Connection, job: str, claims: Sequence[RoomClaim]) -> None:
    """Give a job this room in place of all it held.

    Raises:
        RoomTaken: an hour has no room left, and its claim is not ``over_room``.
    """
    release(transaction, job)
    for number, claim in enumerate(claims):
        if claim.hours:
            _take_one(transaction, job, number, claim)


def _take_one(transaction: sqlite3.Connection, job: str, number: int, claim: RoomClaim) -> None:
    _require_fit(transaction, claim)
    row = {
        "job": job,
        "number": number,
        "region": claim.region,
        "capacity_type": claim.capacity_type,
        "first": claim.hours[0],
        "last": claim.hours[-1],
        "micro_vcpus": micro_vcpus(claim.vcpus),
        "gpus": claim.gpus,
        "expires_at": micros(claim.expires_at),
    }
    transaction.execute(
        "INSERT INTO claims VALUES (:job, :number, :region, :capacity_type, :first, :last,"
        " :micro_vcpus, :gpus, :expires_at)",
        row,
    )
    transaction.executemany(
        "INSERT INTO room VALUES (:region, :capacity_type, :hour, :micro_vcpus, :gpus)"
        " ON CONFLICT (region, capacity_type, hour) DO UPDATE SET"
        " micro_vcpus = micro_vcpus + excluded.micro_vcpus, gpus = gpus + excluded.gpus",
        [row | {"hour": hour} for hour in claim.hours],
    )


def release(transaction: sqlite3.Connection, job: str) -> None:
    """Give back all the room of a job; nothing where it holds none."""
    held = transaction.execute(
        "SELECT region, capacity_type, first_hour, last_hour, micro_vcpus, gpus FROM claims"
        " WHERE job = ?",
        (job,),
    ).fetchall()
    for *cells, vcpus, gpus in held:
        transaction.execute(
            "UPDATE room SET micro_vcpus = micro_vcpus - ?, gpus = gpus - ?"
            " WHERE region = ? AND capacity_type = ? AND hour BETWEEN ? AND ?",
            (vcpus, gpus, *cells),
        )
        transaction.execute(
            "DELETE FROM room WHERE region = ? AND capacity_type = ? AND hour BETWEEN ? AND ?"
            " AND micro_vcpus = 0 AND gpus = 0",
            cells,
        )
    transaction.execute("DELETE FROM claims WHERE job = ?", (job,))


def _require_fit(transaction: sqlite3.Connection, claim: RoomClaim) -> None:
    if claim.over_room:
        return
    vcpus_left, gpus_left = room_beside(claim)
    full = transaction.execute(
        "SELECT hour FROM room WHERE region = ? AND capacity_type = ? AND hour BETWEEN ? AND ?"
        " AND (micro_vcpus > ? OR gpus > ?) ORDER BY hour LIMIT 1",
        (
            claim.region,
            claim.capacity_type,
            claim.hours[0],
            claim.hours[-1],
            vcpus_left,
            gpus_left,
        ),
    ).fetchone()
    if full is not None:
        raise RoomTaken(claim.region, claim.capacity_type, hour_start(full[0]))
