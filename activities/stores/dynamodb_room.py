"""Room in DynamoDB: read for decisions by the UTC day, and given back when it has expired."""

from __future__ import annotations

from datetime import datetime

from activities.contention import tries
from activities.errors import StoreContended
from activities.stores.dynamodb_claims import (
    HOURS_A_DAY,
    Amount,
    day_changes,
    day_partition,
    place_of,
    reserved,
)
from activities.stores.dynamodb_jobs import EXPIRING, read_list, read_row, writes
from activities.stores.dynamodb_table import Cancelled, Table, stamp
from domain.capacity import CapacityType
from domain.room import MICRO, Reserved, RoomView


class DynamoRoom:
    """The ``Room`` port. It is written by ``DynamoLedger.commit``, in the ledger's table."""

    def __init__(self, table: Table) -> None:
        """Hold the ledger's table."""
        self._table = table

    def view(self, hours: range, *, excluding_job: str) -> RoomView:
        """What is reserved in ``hours``, without the job's own.

        One request for each UTC day, and one for the job's row. That is read last: if the job's
        room is given back meanwhile, the view has too much in it rather than too little.
        """
        if not hours:
            return RoomView()
        days = range(hours[0] // HOURS_A_DAY, hours[-1] // HOURS_A_DAY + 1)
        amounts: dict[tuple[str, CapacityType, int], Amount] = {}
        for day in days:
            of_day = range(day * HOURS_A_DAY, (day + 1) * HOURS_A_DAY)
            for item in self._table.query(day_partition(day)):
                for hour in range(max(hours[0], of_day[0]), min(hours[-1], of_day[-1]) + 1):
                    amounts[*place_of(item), hour] = reserved(item, hour)
        row = read_row(self._table, excluding_job) if excluding_job else None
        for held in row.held if row is not None else ():
            for hour in held.hours:
                key = held.region, held.capacity_type, hour
                if key in amounts:
                    amounts[key] -= held.amount
        view: dict[tuple[str, CapacityType], dict[int, Reserved]] = {}
        for (region, capacity_type, hour), amount in amounts.items():
            if amount.exceeds(Amount()):
                vcpus = amount.micro_vcpus / MICRO
                view.setdefault((region, capacity_type), {})[hour] = Reserved(vcpus, amount.gpus)
        return RoomView(view)

    def release_expired(self, now: datetime) -> int:
        """Give back claims past their expiry; returns how many jobs held them.

        ``SHARDS`` requests, and two for each job.
        """
        expired = read_list(self._table, EXPIRING, last=stamp(now))
        return sum(self._release(item["job"], now) for item in expired)

    def _release(self, job: str, now: datetime) -> bool:
        for _ in tries():
            row = read_row(self._table, job)
            if row is None or row.expires_at is None or row.expires_at >= stamp(now):
                return False
            given_back = [change.update() for change in day_changes(row.held, ())]
            try:
                self._table.transact([*writes(row, row.without_room()), *given_back])
            except Cancelled:
                continue
            return True
        raise StoreContended(self._table.name, f"the release of {job}'s room")
