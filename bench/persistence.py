"""What the last resort's forecasts lose, by lead time, beside its first model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from activities.carbon.trace import SHIPPED_FILES, read_trace
from bench.cases import WORLD_2022, data_folder
from bench.record import Row, record
from domain.persistence import DAYS_OF_PATTERN, persistence_forecasts
from domain.trace import Trace

Floats = NDArray[np.float64]
Model = Callable[[Floats, int], Floats]
WAITS_H, RUNTIMES_H = (6, 12, 24, 48), (1, 6)
LEADS_H = (1, 3, 6, 12, 24, 48)
EVERY_H = 7
"""Between two forecasts that are looked at."""
ZONES_2022 = ("DE", "US-CAL-CISO", "GB", "ES", "IN-WE", "AU-NSW", "FR", "SE-SE3", "JP-TK", "ZA")
HISTORY = DAYS_OF_PATTERN * 24


def main() -> None:
    """Print and keep the rows."""
    record("persistence", rows())


def rows() -> Iterator[Row]:
    """Each data set: error by lead time, and the share of the best start's savings by wait."""
    for name, trace, zones in data():
        errors = {lead: error(trace, zones, lead) for lead in LEADS_H}
        told = ", ".join(f"{lead} h {share:.0%}" for lead, share in errors.items())
        yield Row(f"{name}: mean absolute error, of the mean intensity, by lead", "–", told)
        for wait in WAITS_H:
            new = np.mean(
                [kept(trace, zones, wait, run, persistence_forecasts) for run in RUNTIMES_H]
            )
            old = np.mean([kept(trace, zones, wait, run, first_model) for run in RUNTIMES_H])
            yield Row(
                f"{name}: share of the best start's savings, up to {wait} h ahead",
                "at least the first model's",
                f"{new:.1%} (first model {old:.1%}); regret {1 - new:.1%}",
                holds=bool(new >= old),
            )


def data() -> Iterator[tuple[str, Trace, tuple[str, ...]]]:
    """What is at hand."""
    for signal, path in SHIPPED_FILES.items():
        trace = read_trace(path)
        yield f"2019, {signal.value}", trace, tuple(trace.zones)
    folder = data_folder()
    if folder is not None:
        yield "2022 first half, average", read_trace(folder / WORLD_2022), ZONES_2022


def first_model(observed: Floats, horizon: int) -> Floats:
    """Persistence as it was before it was tuned: half yesterday, half the week's mean, the newest
    deviation decaying by 15 % an hour.
    """
    by_day = observed[:, -168:].reshape(len(observed), 7, 24)
    pattern = 0.5 * by_day[:, -1] + 0.5 * by_day.mean(axis=1)
    ahead = np.arange(horizon)
    deviation = observed[:, -1:] - pattern[:, -1:]
    found: Floats = np.maximum(0.0, pattern[:, ahead % 24] + deviation * 0.85 ** (ahead + 1))
    return found


def _issues(series: Floats, ahead: int) -> tuple[NDArray[np.intp], Floats]:
    """Hours of issue, and what was observed before each."""
    hours = np.arange(HISTORY, len(series) - ahead, EVERY_H)
    return hours, np.stack([series[hour - HISTORY : hour] for hour in hours])


def error(trace: Trace, zones: tuple[str, ...], lead: int) -> float:
    """Mean absolute error so many hours ahead, over the mean intensity."""
    missed = total = 0.0
    for zone in zones:
        series = trace.zones[zone]
        hours, observed = _issues(series, lead + 1)
        told, came = persistence_forecasts(observed, lead + 1)[:, lead], series[hours + lead]
        missed += float(np.abs(told - came).sum())
        total += float(came.sum())
    return missed / total


def kept(trace: Trace, zones: tuple[str, ...], wait: int, run: int, model: Model) -> float:
    """What the forecast's best start saves of what the best start up to ``wait`` h ahead does."""
    now = best = chosen = 0.0
    for zone in zones:
        series = trace.zones[zone]
        hours, observed = _issues(series, wait + run)
        told = _windows(model(observed, wait + run), run)
        came = _windows(np.stack([series[hour : hour + wait + run] for hour in hours]), run)
        now += float(came[:, 0].sum())
        best += float(came.min(axis=1).sum())
        chosen += float(came[np.arange(len(came)), told.argmin(axis=1)].sum())
    return (now - chosen) / (now - best)


def _windows(values: Floats, run: int) -> Floats:
    found: Floats = np.lib.stride_tricks.sliding_window_view(values, run, axis=1).sum(axis=2)
    return found
