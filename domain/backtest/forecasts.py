"""Forecast models over a recorded grid: what a provider would have told at each of its steps.

None but ``Perfect`` may see the future. ``Noisy`` is the truth with an error, so that what it knows
is set by its sigma; ``Persistence`` sees nothing from the step in progress on.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from domain import persistence
from domain.backtest.case import Issue
from domain.forecast import Forecast, Signal
from domain.trace import Trace

PROVIDER = "trace"
"""As it stands in each forecast."""

DAY_S = 86_400

Floats = NDArray[np.float64]


class TraceModel(ABC):
    """A model that issues once a step, of every zone and signal that it is given.

    Outside the trace, and where a model does not know enough, nothing is issued.
    """

    def __init__(self, truth: Mapping[Signal, Trace], horizon: timedelta) -> None:
        """Hold what is recorded.

        Args:
            truth: the signals that are issued.
            horizon: how far each issue reaches, the step in progress included.
        """
        self._truth = {signal: truth[signal] for signal in Signal if signal in truth}
        self._horizon = horizon
        self._zones = {signal: sorted(trace.zones) for signal, trace in self._truth.items()}
        self._series = {
            signal: np.stack([trace.zones[zone] for zone in self._zones[signal]])
            for signal, trace in self._truth.items()
        }
        self._held_at: dict[Signal, int] = {}
        self._held: dict[Signal, Issue] = {}
        self._issue: Issue = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """As scenarios name it."""

    @property
    def methodology(self) -> str:
        """As it stands in each forecast."""
        return self.name

    @property
    def max_age(self) -> timedelta:
        """After this an issue is stale: twice the time until the next."""
        return 2 * max(timedelta(seconds=trace.step_s) for trace in self._truth.values())

    def issue(self, now: datetime) -> Issue:
        """What stood at ``now``; the same objects until a step of some signal begins."""
        steps = {signal: trace.step_at(now) for signal, trace in self._truth.items()}
        if steps != self._held_at:
            for signal, step in steps.items():
                if step != self._held_at.get(signal):
                    self._held[signal] = self._issued(signal, step)
            self._held_at = steps
            self._issue = tuple(item for signal in self._truth for item in self._held[signal])
        return self._issue

    def _issued(self, signal: Signal, step: int) -> Issue:
        trace = self._truth[signal]
        if not 0 <= step < trace.steps:
            return ()
        reach = max(1, int(self._horizon.total_seconds() // trace.step_s))
        ahead = self._ahead(signal, step, reach)
        if ahead is None:
            return ()
        start = trace.start + step * timedelta(seconds=trace.step_s)
        return tuple(
            Forecast(
                zone=zone,
                signal=signal,
                provider=PROVIDER,
                methodology=self.methodology,
                issued_at=start,
                start=start,
                step_s=trace.step_s,
                values=tuple(values),
            )
            for zone, values in zip(self._zones[signal], ahead.tolist(), strict=True)
        )

    @abstractmethod
    def _ahead(self, signal: Signal, step: int, reach: int) -> Floats | None:
        """(zones, up to ``reach``): values from ``step`` on; ``None`` where too little is known."""


class Perfect(TraceModel):
    """The truth itself: the bound that no forecast reaches."""

    @property
    def name(self) -> str:
        """``perfect``."""
        return "perfect"

    def _ahead(self, signal: Signal, step: int, reach: int) -> Floats:
        return self._series[signal][:, step : step + reach]


class Persistence(TraceModel):
    """``domain/persistence.py`` on the steps that are over, as production's last resort does.

    Nothing is issued before a whole day was observed.
    """

    @property
    def name(self) -> str:
        """``persistence``."""
        return "persistence"

    @property
    def methodology(self) -> str:
        """The formula's version."""
        return persistence.METHODOLOGY

    def _ahead(self, signal: Signal, step: int, reach: int) -> Floats | None:
        steps_per_day = round(DAY_S / self._truth[signal].step_s)
        if step < steps_per_day:
            return None
        first = max(0, step - persistence.DAYS_OF_PATTERN * steps_per_day)
        observed = self._series[signal][:, first:step]
        return persistence.persistence_forecasts(observed, reach, steps_per_day)


class Noisy(TraceModel):
    """The truth times ``1 + sigma (W[target] - W[issue]) / sqrt(steps in 24 h)``, at least 0.

    ``W`` is one Brownian path for each zone and signal over the trace's steps, of unit variance a
    step. So the error is 0 at lead 0 and has the standard deviation ``sigma`` at 24 h, and hours
    and issues that lie near each other err alike.
    """

    def __init__(
        self, truth: Mapping[Signal, Trace], horizon: timedelta, sigma: float, seed: int
    ) -> None:
        """Draw the paths.

        Args:
            truth: the signals that are issued.
            horizon: how far each issue reaches.
            sigma: relative error at a lead of 24 h.
            seed: of the paths; a zone's path does not depend on which others there are.
        """
        super().__init__(truth, horizon)
        self._sigma = sigma
        self._errors = {
            signal: sigma
            * math.sqrt(trace.step_s / DAY_S)
            * np.stack([_path(seed, signal, zone, trace.steps) for zone in self._zones[signal]])
            for signal, trace in self._truth.items()
        }

    @property
    def name(self) -> str:
        """``noisy:<sigma>``."""
        return f"noisy:{self._sigma:g}"

    def _ahead(self, signal: Signal, step: int, reach: int) -> Floats:
        path = self._errors[signal][:, step : step + reach]
        return np.maximum(
            0.0, self._series[signal][:, step : step + reach] * (1 + path - path[:, :1])
        )


def _path(seed: int, signal: Signal, zone: str, steps: int) -> Floats:
    name = zlib.crc32(f"{signal.value}/{zone}".encode())
    return np.random.default_rng([seed, name]).standard_normal(steps).cumsum()
