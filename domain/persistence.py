"""A forecast made only of what was observed: the last resort when no provider answers.

Each hour ahead is taken from the same hour of the newest observed day and of the week before it,
then shifted by how far the newest observation lies from that pattern; the shift decays with the
lead time. Grid carbon follows the day, and its errors persist for some hours (GB forecast errors
are correlated at 0.99 from one half hour to the next), which is what the two terms use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

METHODOLOGY = "persistence/1"

YESTERDAY_WEIGHT = 0.5
"""Share of the newest day against the week's mean of the same hour."""

CORRECTION_DECAY_PER_HOUR = 0.85
"""What is left of the newest observation's deviation after each further hour."""

DAYS_OF_PATTERN = 7


def persistence_forecast(
    observed: Sequence[float] | NDArray[np.float64], horizon: int, steps_per_day: int = 24
) -> tuple[float, ...]:
    """Forecast ``horizon`` steps after the last of ``observed``.

    Args:
        observed: intensities in gCO2eq/kWh, oldest first, one a step, without gaps. A day or more
            gives a daily pattern; with less, the last value is carried on.
        horizon: how many steps to forecast.
        steps_per_day: 24 for hourly series.

    Raises:
        ValueError: nothing was observed.
    """
    series = np.asarray(observed, dtype=np.float64)
    if series.size == 0:
        raise ValueError("persistence needs at least one observation")
    if series.size < steps_per_day:
        return (float(series[-1]),) * horizon
    days = min(DAYS_OF_PATTERN, series.size // steps_per_day)
    by_day = series[-days * steps_per_day :].reshape(days, steps_per_day)
    # Column k of by_day is the step k + 1 ahead, modulo a day.
    pattern = YESTERDAY_WEIGHT * by_day[-1] + (1 - YESTERDAY_WEIGHT) * by_day.mean(axis=0)
    ahead = np.arange(horizon)
    deviation = series[-1] - pattern[-1]
    decay = CORRECTION_DECAY_PER_HOUR ** ((ahead + 1) * 24 / steps_per_day)
    values = np.maximum(0.0, pattern[ahead % steps_per_day] + deviation * decay)
    return tuple(float(value) for value in np.round(values, 3))
