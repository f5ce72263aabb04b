"""Signals in SQLite: one forecast for each zone and signal, and every observation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from activities.stores.sqlite_database import EPOCH, MICROSECOND, OnDatabase, micros
from domain.forecast import Forecast, Observation, Signal, one_of_each


class SqliteSignals(OnDatabase):
    """The ``SignalStore`` port."""

    def put_forecasts(self, forecasts: Sequence[Forecast]) -> None:
        """Keep each forecast unless one of its provider, issued later, is there already."""
        rows = [
            (item.zone, item.signal.value, micros(item.issued_at), item.canonical())
            for item in one_of_each(forecasts)
        ]
        with self._database.write() as transaction:
            changed = transaction.executemany(
                "INSERT INTO forecasts VALUES (?, ?, ?, ?) ON CONFLICT (zone, signal)"
                " DO UPDATE"
                " SET issued_at = excluded.issued_at, body = excluded.body"
                " WHERE excluded.body <> body AND (excluded.issued_at >= issued_at"
                " OR json_extract(CAST(excluded.body AS TEXT), '$.provider')"
                " <> json_extract(CAST(body AS TEXT), '$.provider'))",
                rows,
            ).rowcount
            if changed > 0:
                transaction.execute("UPDATE forecast_revision SET revision = revision + 1")

    def revision(self) -> int:
        """A number that changes whenever a forecast does."""
        with self._database.read() as connection:
            [revision] = connection.execute("SELECT revision FROM forecast_revision").fetchone()
        return int(revision)

    def forecasts(self) -> tuple[Forecast, ...]:
        """The forecast of every (zone, signal), ordered by both."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT body FROM forecasts ORDER BY zone, signal").fetchall()
        return tuple(Forecast.from_json(json.loads(body)) for (body,) in rows)

    def put_observations(self, observations: Sequence[Observation]) -> None:
        """Keep each observation; the same (zone, signal, start) again replaces it."""
        rows = [
            (
                item.zone,
                item.signal.value,
                micros(item.start),
                timedelta(seconds=item.step_s) // MICROSECOND,
                item.g_per_kwh,
                item.provider,
            )
            for item in observations
        ]
        with self._database.write() as transaction:
            transaction.executemany(
                "INSERT OR REPLACE INTO observations VALUES (?, ?, ?, ?, ?, ?)", rows
            )

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        """Observations whose step overlaps [start, end), ordered by start."""
        window = {"zone": zone, "signal": signal, "start": micros(start), "end": micros(end)}
        with self._database.read() as connection:
            # The longest step bounds how far back a row may begin: years before are not read.
            rows = connection.execute(
                "SELECT start, step_us, g_per_kwh, provider FROM observations"
                " WHERE zone = :zone AND signal = :signal AND start < :end"
                " AND start > :start - (SELECT MAX(step_us) FROM observations)"
                " AND start + step_us > :start ORDER BY start",
                window,
            ).fetchall()
        return tuple(
            Observation(
                zone=zone,
                signal=signal,
                start=EPOCH + begun * MICROSECOND,
                step_s=step * MICROSECOND / timedelta(seconds=1),
                g_per_kwh=value,
                provider=provider,
            )
            for begun, step, value, provider in rows
        )
