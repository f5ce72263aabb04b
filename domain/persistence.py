"""A forecast made only of what was observed: the last resort when no provider answers.

Each hour ahead is taken from the same hour of the last three weeks, newer days counting for more,
then shifted by how far the newest observation lies from that pattern; the shift decays with the
lead time. Grid carbon follows the day, and its errors persist for some hours (GB forecast errors
are correlated at 0.99 from one half hour to the next), which is what the two terms use. Both
constants were fitted on 2019 and 2022 (`python -m bench persistence` has what they lose).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

METHODOLOGY = "persistence/2"

DAY_WEIGHT = 0.9
"""What a day counts for of the day after it."""

CORRECTION_DECAY_PER_HOUR = 0.93
"""What is left of the newest observation's deviation after each further hour."""

DAYS_OF_PATTERN = 21


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
    ahead = persistence_forecasts(
        np.asarray(observed, dtype=np.float64)[None], horizon, steps_per_day
    )
    return tuple(ahead[0].tolist())


def persistence_forecasts(
    observed: NDArray[np.float64], horizon: int, steps_per_day: int = 24
) -> NDArray[np.float64]:
    """The same for several zones: (zones, observed steps) to (zones, ``horizon``).

    Raises:
        ValueError: nothing was observed.
    """
    zones, steps = observed.shape
    if steps == 0:
        raise ValueError("persistence needs at least one observation")
    newest = observed[:, -1:]
    if steps < steps_per_day:
        return np.repeat(newest, horizon, axis=1)
    days = min(DAYS_OF_PATTERN, steps // steps_per_day)
    by_day = observed[:, -days * steps_per_day :].reshape(zones, days, steps_per_day)
    # Column k of by_day is the step k + 1 ahead, modulo a day.
    weights = DAY_WEIGHT ** np.arange(days - 1, -1, -1.0)
    pattern = np.average(by_day, axis=1, weights=weights)
    ahead = np.arange(horizon)
    deviation = newest - pattern[:, -1:]
    decay = CORRECTION_DECAY_PER_HOUR ** ((ahead + 1) * 24 / steps_per_day)
    values: NDArray[np.float64] = pattern[:, ahead % steps_per_day] + deviation * decay
    return np.maximum(0.0, values).round(3)
