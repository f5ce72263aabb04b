"""Signals in DynamoDB: one forecast for each zone and signal, and every observation.

The table may be a global one, written in more regions than one, where the last writer of an item
wins. A condition holds within a region: there no forecast ever replaces one that its provider
issued later. Across regions it may, within the second or so that replication takes, until the next
refresh. The revision is random and no counter, of which two regions could reach the same number
with other forecasts. It may reach a region before its forecasts do: a decision there then sees
those of a refresh earlier.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from activities.contention import tries
from activities.errors import StoreContended
from activities.stores.dynamodb_table import (
    ABSENT,
    PARTITION,
    SHARDS,
    SORT,
    TRANSACTION_ITEMS,
    Cancelled,
    Item,
    Key,
    Put,
    Table,
    Update,
    chunks,
    key_of,
    keyed,
    shard_of,
    stamp,
)
from domain.forecast import Forecast, Observation, Signal, one_of_each

KEPT_AFTER_END = timedelta(days=7)
"""How long a forecast outlives its horizon, so that people see what went stale."""

FORECASTS_A_TRANSACTION = TRANSACTION_ITEMS - 1
"""The revision changes in each transaction too: no forecast changes without it."""

EXPIRES = "expires_epoch_s"
"""The attribute by which DynamoDB's TTL removes forecasts, and nothing else."""

_WHAT_TELLS = PARTITION, SORT, "provider", "issued_at", "sha256"
"""What of a forecast's item is read to tell whether another replaces it."""

_REVISION = "revision", "forecasts"
_LONGEST_STEP = "observed", "longest-step"
_REVISION_BITS = 63
_MICROSECOND = timedelta(microseconds=1)


class DynamoSignals:
    """The ``SignalStore`` port."""

    def __init__(self, table: Table) -> None:
        """Hold the signals' table."""
        self._signals = table
        self._last_put: Mapping[Key, Observation] = {}
        self._longest_step_us = 0

    def put_forecasts(self, forecasts: Sequence[Forecast]) -> None:
        """Keep each forecast unless one of its provider, issued later, is there already.

        For each 99 of them one request to read what is there, and one to write what changes:
        14 for 300 zones of two signals, 7 where nothing is new.

        Raises:
            StoreContended: others were writing the same forecasts for too long.
        """
        for chunk in chunks(one_of_each(forecasts), FORECASTS_A_TRANSACTION):
            self._put_forecasts({_forecast_key(item): item for item in chunk})

    def revision(self) -> int:
        """A number that changes whenever a forecast does. One request for one small item.

        Not where DynamoDB removes a forecast whose horizon is long past: it gives no cells.
        """
        item = self._signals.get(_REVISION)
        return 0 if item is None else int(item["revision"])

    def forecasts(self) -> tuple[Forecast, ...]:
        """The forecast of every (zone, signal), ordered by both.

        ``SHARDS`` requests, more only where one shard is over 1 MB.
        """
        items = (
            item
            for shard in range(SHARDS)
            for item in self._signals.query(_forecast_partition(shard))
        )
        found = (Forecast.from_json(json.loads(item["body"])) for item in items)
        return tuple(sorted(found, key=lambda item: (item.zone, item.signal)))

    def put_observations(self, observations: Sequence[Observation]) -> None:
        """Keep each observation; the same (zone, signal, start) again replaces it.

        Providers repeat their last hours in every answer: what this process put the last time is
        not sent again. One request for 25 others, and one for a step longer than any before.
        """
        wanted = {_observation_key(item): item for item in observations}
        new = {key: item for key, item in wanted.items() if self._last_put.get(key) != item}
        if new:
            self._reach_back(max(_step_us(item) for item in new.values()))
        self._signals.put_all(
            keyed(
                key,
                step_s=repr(item.step_s),
                g_per_kwh=repr(item.g_per_kwh),
                provider=item.provider,
            )
            for key, item in new.items()
        )
        self._last_put = wanted

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        """Observations whose step overlaps [start, end), ordered by start.

        One request for the longest step there is, which bounds how far back one may begin, and
        one for each MB.
        """
        longest = self._signals.get(_LONGEST_STEP)
        if longest is None:
            return ()
        first = stamp(start - longest["step_us"] * _MICROSECOND)
        found = []
        for item in self._signals.query(_series(zone, signal), first, stamp(end)):
            begun = datetime.fromisoformat(item[SORT])
            step = float(item["step_s"])
            if begun < end and begun + timedelta(seconds=step) > start:
                value, provider = float(item["g_per_kwh"]), item["provider"]
                found.append(Observation(zone, signal, begun, step, value, provider))
        return tuple(found)

    def _put_forecasts(self, forecasts: Mapping[Key, Forecast]) -> None:
        """Put those that replace what is there, and change the revision with them."""
        for _ in tries():
            seen = self._signals.get_all(forecasts, _WHAT_TELLS)
            there = {key_of(item): item for item in seen}
            changed = [
                _forecast_put(key, item)
                for key, item in forecasts.items()
                if _replaces(item, there.get(key))
            ]
            if not changed:
                return
            revision = {":revision": secrets.randbits(_REVISION_BITS)}
            change = Update(_REVISION, "SET revision = :revision", values=revision)
            try:
                self._signals.transact([change, *changed])
            except Cancelled:
                continue
            return
        raise StoreContended(self._signals.name, "a refresh")

    def _reach_back(self, step_us: int) -> None:
        """Let readers look back as far as ``step_us``, before there is such an observation."""
        for _ in tries():
            if step_us <= self._longest_step_us:
                return
            longer = Update(
                _LONGEST_STEP,
                "SET step_us = :step",
                "attribute_not_exists(step_us) OR step_us < :step",
                {":step": step_us},
            )
            try:
                self._signals.transact([longer])
            except Cancelled as cancelled:
                if cancelled.passing:
                    continue
            self._longest_step_us = step_us
            return
        raise StoreContended(self._signals.name, "a refresh")


def expire_forecasts(table: Table) -> None:
    """Switch on the TTL of a table that ``create_table`` made. Blobs and events have none."""
    table.client.update_time_to_live(
        TableName=table.name,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES},
    )


def _replaces(item: Forecast, there: Item | None) -> bool:
    """``Forecast.replaces`` for the item that stands there; not where that is the same."""
    if there is None:
        return True
    if item.sha256 == there["sha256"]:
        return False
    return bool(item.provider != there["provider"] or stamp(item.issued_at) >= there["issued_at"])


def _forecast_put(key: Key, item: Forecast) -> Put:
    issued_at = stamp(item.issued_at)
    return Put(
        keyed(
            key,
            provider=item.provider,
            issued_at=issued_at,
            sha256=item.sha256,
            body=item.canonical(),
            **{EXPIRES: int((item.end + KEPT_AFTER_END).timestamp())},
        ),
        f"{ABSENT} OR provider <> :provider OR issued_at <= :issued_at",
        {":provider": item.provider, ":issued_at": issued_at},
    )


def _forecast_key(item: Forecast) -> Key:
    name = f"{item.zone}|{item.signal.value}"
    return _forecast_partition(shard_of(name)), name


def _forecast_partition(shard: int) -> str:
    return f"forecasts#{shard}"


def _observation_key(item: Observation) -> Key:
    return _series(item.zone, item.signal), stamp(item.start)


def _series(zone: str, signal: Signal) -> str:
    return f"observed#{zone}|{signal.value}"


def _step_us(item: Observation) -> int:
    return timedelta(seconds=item.step_s) // _MICROSECOND
