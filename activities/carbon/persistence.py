"""The last resort: a forecast made of nothing but what was observed (``domain/persistence.py``)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from activities.carbon.normalise import Series
from activities.errors import AnswerRefused
from domain import persistence
from domain.forecast import Forecast, Observation, Signal
from domain.ports import ProviderAnswer, Refusal, SignalStore

NAME = "persistence"

MAX_AGE = timedelta(hours=24)
"""Older observations say nothing about today."""

MIN_HOURS = 24
"""A day has a shape; less has none."""

HORIZON_HOURS = 48

MAX_HOLE_HOURS = 3
"""A hole of up to this is bridged by the hour before it, at the very beginning by the hour after;
a longer one ends the series."""

MIN_COVER_S = 1800.0
"""An hour counts as observed when at least this much of it was."""

HOUR = timedelta(hours=1)
HISTORY = timedelta(days=persistence.DAYS_OF_PATTERN)


class Persistence:
    """A ``SignalProvider`` of one signal over a store's own observations."""

    def __init__(
        self,
        store: SignalStore,
        signal: Signal,
        *,
        horizon_hours: int = HORIZON_HOURS,
        max_age: timedelta = MAX_AGE,
        min_hours: int = MIN_HOURS,
    ) -> None:
        """Hold the store.

        Args:
            store: where observations are.
            signal: of which signal.
            horizon_hours: how far to forecast, the hour in progress included.
            max_age: the newest observed hour must have ended since.
            min_hours: so many hours must be observed in a row.
        """
        self._store = store
        self._signal = signal
        self._horizon_hours = horizon_hours
        self._max_age = max_age
        self._min_hours = min_hours

    @property
    def name(self) -> str:
        """As it stands in each forecast."""
        return NAME

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """A forecast of each zone that was observed enough, issued now."""
        return await asyncio.to_thread(self._all, tuple(zones), now)

    def _all(self, zones: tuple[str, ...], now: datetime) -> ProviderAnswer:
        forecasts, refusals = [], []
        for zone in zones:
            try:
                forecasts.append(self._forecast(zone, now))
            except AnswerRefused as refused:
                refusals.append(Refusal(zone, self._signal, f"{NAME}: {refused}"))
        return ProviderAnswer(tuple(forecasts), (), tuple(refusals))

    def _forecast(self, zone: str, now: datetime) -> Forecast:
        found = self._store.observations(zone, self._signal, now - HISTORY - self._max_age, now)
        series = project(
            found,
            now,
            horizon_hours=self._horizon_hours,
            max_age=self._max_age,
            min_hours=self._min_hours,
        )
        providers = sorted({item.provider.partition(" (")[0] for item in found})
        return Forecast(
            zone=zone,
            signal=self._signal,
            provider=NAME,
            methodology=f"{persistence.METHODOLOGY} of {', '.join(providers)}",
            issued_at=now,
            start=series.start,
            step_s=series.step_s,
            values=series.values,
        )


def project(
    observations: Iterable[Observation],
    now: datetime,
    *,
    horizon_hours: int = HORIZON_HOURS,
    max_age: timedelta = MAX_AGE,
    min_hours: int = MIN_HOURS,
) -> Series:
    """One zone's observations carried on, hourly, from the hour in progress.

    Raises:
        AnswerRefused: too little was observed, or too long ago.
    """
    hours = hourly_means(observations, now)
    if not hours:
        raise AnswerRefused("nothing was observed")
    newest = max(hours)
    if newest + HOUR < now - max_age:
        raise AnswerRefused(f"nothing was observed since {newest + HOUR:%Y-%m-%dT%H:%MZ}")
    run = _newest_run(hours, newest)
    missing = min_hours - len(run)
    if 0 < missing <= MAX_HOLE_HOURS:
        # A provider's trailing day lacks what is not published yet: 23 hours tell as much as 24.
        run = [run[0]] * missing + run
    if len(run) < min_hours:
        raise AnswerRefused(f"{len(run)} hours were observed in a row; {min_hours} are needed")
    start = _hour(now)
    passed = (start - newest) // HOUR - 1
    values = persistence.persistence_forecast(run, passed + horizon_hours)
    return Series(start, HOUR.total_seconds(), values[passed:])


def hourly_means(observations: Iterable[Observation], now: datetime) -> dict[datetime, float]:
    """The mean of each hour that is over and was observed for half of it, whatever the steps."""
    weighed: dict[datetime, float] = defaultdict(float)
    covered: dict[datetime, float] = defaultdict(float)
    for item in observations:
        end = item.start + timedelta(seconds=item.step_s)
        hour = _hour(item.start)
        while hour < end:
            overlap_s = (min(end, hour + HOUR) - max(item.start, hour)).total_seconds()
            weighed[hour] += overlap_s * item.g_per_kwh
            covered[hour] += overlap_s
            hour += HOUR
    return {
        hour: weighed[hour] / covered[hour]
        for hour in weighed
        if covered[hour] >= MIN_COVER_S and hour + HOUR <= now
    }


def _newest_run(hours: dict[datetime, float], newest: datetime) -> list[float]:
    """The hours up to the newest without a hole that is too long, at most a pattern's worth."""
    run: list[float] = []
    hole = 0
    hour = max(min(hours), newest - HISTORY + HOUR)
    while hour <= newest:
        if hour in hours:
            run.append(hours[hour])
            hole = 0
        elif run and hole < MAX_HOLE_HOURS:
            run.append(run[-1])
            hole += 1
        else:
            run.clear()
        hour += HOUR
    return run


def _hour(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)
