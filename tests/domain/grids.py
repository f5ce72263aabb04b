"""Made grids, and forecasts of them, for tests of what is learned of forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from domain.forecast import Forecast, Observation, Signal
from domain.regions import Region
from domain.settlement import Observed

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HOURS = 70 * 24

Series = Mapping[str, np.ndarray]


def wandering(seed: int, zones: str = "AB") -> Series:
    """A daily wave with noise on it, another for each zone."""
    chance = np.random.default_rng(seed)
    wave = 60 * np.sin(np.arange(HOURS) * 2 * np.pi / 24)
    return {zone: 300 + wave + chance.normal(0, 40, HOURS) for zone in zones}


def noise(seed: int, zones: str = "AB") -> Series:
    """Nothing but chance, from hour to hour."""
    chance = np.random.default_rng(seed)
    return {zone: chance.normal(300, 50, HOURS).clip(0) for zone in zones}


def issue(told: Series, hour: int, ahead: int = 48) -> tuple[Forecast, ...]:
    """What ``told`` says from an hour on, issued then."""
    at = START + hour * HOUR
    return tuple(
        Forecast(
            *(zone, Signal.AVERAGE, "test", "test", at, at, 3600.0),
            tuple(series[hour : hour + ahead].tolist()),
        )
        for zone, series in told.items()
    )


def issues(told: Series, days: range, every: int = 6) -> list[tuple[Forecast, ...]]:
    """One each ``every`` hours of some days."""
    return [issue(told, hour) for hour in range(days.start * 24, days.stop * 24, every)]


def came(real: Series, until: datetime | None = None) -> Observed:
    """Hourly observations of a grid."""
    last = HOURS if until is None else (until - START) // HOUR

    def observed(
        zone: str, signal: Signal, start: datetime, end: datetime
    ) -> Sequence[Observation]:
        hours = range((start - START) // HOUR, min(last, -((START - end) // HOUR)))
        return [
            Observation(zone, signal, START + n * HOUR, 3600.0, float(real[zone][n]), "test")
            for n in hours
            if zone in real
        ]

    return observed


def compressed(
    told: Iterable[tuple[Forecast, ...]], real: Observed, scale: float
) -> tuple[list[tuple[Forecast, ...]], Observed]:
    """The same with ``scale`` accounted seconds for each second on the clock from START on."""

    def clock(at: datetime) -> datetime:
        return START + (at - START) / scale

    def observed(
        zone: str, signal: Signal, start: datetime, end: datetime
    ) -> Sequence[Observation]:
        points = real(zone, signal, START + (start - START) * scale, START + (end - START) * scale)
        return [
            replace(point, start=clock(point.start), step_s=point.step_s / scale)
            for point in points
        ]

    moved = [
        tuple(
            replace(
                item,
                issued_at=clock(item.issued_at),
                start=clock(item.start),
                step_s=item.step_s / scale,
            )
            for item in one
        )
        for one in told
    ]
    return moved, observed


def region(zone: str, annual: float | None = None, pue: float = 1.0) -> Region:
    return Region(f"aws:{zone}", "", "XX", None, None, zone, None, None, pue, annual, None)
