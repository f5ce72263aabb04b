"""Fences in DynamoDB, for workers on many machines: one item a run, written in one home region.

The table is one as ``activities/stores/dynamodb_table.py`` describes them. Rows are small and stay:
a run's name never comes again, and its row outlives Batch's memory of the job.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from activities.compute.aws_batch_fence import Claim, FenceRow
from activities.contention import tries
from activities.errors import StoreContended
from activities.stores.dynamodb_table import Cancelled, Item, Key, Table, Update, stamp

_FENCE = "fence"


class DynamoFence:
    """A ``RunFence``. Threads may share it."""

    def __init__(self, table: Table) -> None:
        """Hold the table."""
        self._table = table

    def close(self) -> None:
        """Close the table's connections."""
        self._table.close()

    def read(self, region: str, run: str) -> FenceRow | None:
        """A run's row."""
        item = self._table.get(_key(region, run))
        return None if item is None else _row(item)

    def read_all(self, region: str, runs: Collection[str]) -> Mapping[str, FenceRow]:
        """The rows of those of the runs that have one."""
        items = self._table.get_all(_key(region, run) for run in runs)
        return {item["run"]: _row(item) for item in items}

    def claim(self, region: str, run: str, claim: Claim) -> FenceRow:
        """Take or renew the right to submit a run; returns what stands there then."""
        return self._step(
            region,
            run,
            change=(
                "SET run = :run, spec_sha256 = :spec, queue = if_not_exists(queue, :queue),"
                " holder = :holder, held_until = :until ADD claims :one"
            ),
            condition=(
                "attribute_not_exists(pk) OR (spec_sha256 = :spec"
                " AND attribute_not_exists(job_id) AND attribute_not_exists(stopped_at)"
                " AND (holder = :holder OR held_until <= :now))"
            ),
            values={
                ":run": run,
                ":spec": claim.spec_sha256,
                ":queue": claim.queue,
                ":holder": claim.holder,
                ":until": stamp(claim.until),
                ":now": stamp(claim.now),
                ":one": 1,
            },
        )

    def keep(self, region: str, run: str, job_id: str) -> FenceRow:
        """Remember the job of a claimed run, unless one is remembered; returns what stands then."""
        return self._step(
            region,
            run,
            change="SET job_id = :job",
            condition="attribute_exists(spec_sha256) AND attribute_not_exists(job_id)",
            values={":job": job_id},
        )

    def stop(self, region: str, run: str, reason: str, now: datetime) -> FenceRow:
        """Mark that a run must not start; returns what stands then."""
        return self._step(
            region,
            run,
            change="SET run = :run, stop_reason = :reason, stopped_at = :now",
            condition="attribute_not_exists(stopped_at)",
            values={":run": run, ":reason": reason, ":now": stamp(now)},
        )

    def _step(self, region: str, run: str, change: str, condition: str, values: Item) -> FenceRow:
        """A change of the run's row, if its condition holds, and a look at what stands there then.

        Repeated by botocore after a lost answer, it finds itself done: each change is one whose
        own result meets its condition, or is what the caller asked for.
        """
        key = _key(region, run)
        for _ in tries():
            try:
                self._table.transact([Update(key, change, condition, values)])
            except Cancelled as refused:
                if refused.passing:
                    continue
            return self.read(region, run) or FenceRow()
        raise StoreContended(self._table.name, "fencing a run")


def _key(region: str, run: str) -> Key:
    """A partition for each run: nothing is asked of them together."""
    return f"run#{region}#{run}", _FENCE


def _row(item: Item) -> FenceRow:
    return FenceRow(
        spec_sha256=item.get("spec_sha256", ""),
        queue=item.get("queue", ""),
        holder=item.get("holder", ""),
        held_until=_instant(item, "held_until"),
        claims=item.get("claims", 0),
        job_id=item.get("job_id", ""),
        stop_reason=item.get("stop_reason", ""),
        stopped_at=_instant(item, "stopped_at"),
    )


def _instant(item: Item, attribute: str) -> datetime | None:
    return datetime.fromisoformat(item[attribute]) if attribute in item else None
