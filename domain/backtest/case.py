"""A case: everything that a backtest runs on, read, checked and ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from domain.backtest.job import BacktestJob
from domain.energy import METHODOLOGY, Methodology
from domain.forecast import Forecast, Signal
from domain.policy import Policy
from domain.prices import PriceTable
from domain.regions import RegionCatalogue
from domain.trace import Trace

UNLIMITED_VCPUS = 1e9
"""Room that no stream of jobs fills: what a scenario's ``unlimited`` stands for."""


class RuleName(StrEnum):
    """The policies that can be compared. ``optimum`` is no rule: it knows the future."""

    RUN_AT_ONCE = "run-at-once"
    """The baseline: at home, at submission."""
    STATIC_GREENEST = "static-greenest"
    """The greenest allowed region by annual mean that has room, at once."""
    CHEAPEST = "cheapest"
    LOWEST_POINT = "lowest-point"
    """Where and when the forecast has its lowest single value."""
    LOWEST_WINDOW = "lowest-window"
    """At home, when the forecast's mean over the run is lowest: climate-aware-task-scheduler."""
    LOWTIDE = "lowtide"
    """The product: score, room, looks, re-planning after reclaims."""
    LOWTIDE_ONCE = "lowtide-once"
    """The same without looking again."""
    OPTIMUM = "optimum"


Issue = tuple[Forecast, ...]
"""The forecasts that stood at one moment."""


class ForecastModel(Protocol):
    """What a provider would have told at some moment of the trace."""

    @property
    def name(self) -> str:
        """As scenarios name it: ``persistence``, ``noisy:0.1``."""

    @property
    def max_age(self) -> timedelta:
        """How old an issue may be before it is stale."""

    def issue(self, now: datetime) -> Issue:
        """The forecast of every zone and steered-by signal that stood at ``now``, ordered by
        signal and zone. Its first step is the one in progress. The same objects again as long as
        nothing newer was issued.
        """


@dataclass(frozen=True, slots=True)
class Case:
    """What one backtest runs on."""

    name: str
    start: datetime
    """First submission at the earliest."""
    end: datetime
    """Jobs are submitted before it; they may run on after it, as far as the traces reach."""
    truth: Mapping[Signal, Trace]
    """What the grid was. Both signals, over the same time, in the same zones; each at the step
    that it was recorded at.
    """
    published_means: frozenset[Signal]
    """Signals whose truth is a published annual mean for want of a trace: said in every result."""
    jobs: Sequence[BacktestJob]
    """Ordered by submission."""
    policy: Policy
    prices: PriceTable
    """Reclaim rates included."""
    catalogue: RegionCatalogue
    """Its regions' zones are the traces'; its annual means are those of the traces, whole."""
    forecasts: ForecastModel
    rules: tuple[RuleName, ...]
    seed: int
    """Of reclaims; streams and noise have drawn from it too."""
    horizon: timedelta
    """How far forecasts reach."""
    methodology: Methodology = METHODOLOGY
    published_zones: frozenset[str] = frozenset()
    """Zones that the trace of the signal that does not steer lacks: there its truth is a published
    annual mean too.
    """

    @property
    def trace_end(self) -> datetime:
        """Where the truth ends. No deadline lies after it."""
        return min(trace.end for trace in self.truth.values())
