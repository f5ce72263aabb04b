"""A seeded job stream: submissions by hour of day, distributions of runtime and slack.

Each property of the jobs has a stream of random numbers of its own, so that a change of one, as of
the slack, leaves all others as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from domain.backtest.job import BacktestJob
from domain.backtest.stream import MOST_GIB, MOST_VCPUS, Frame
from domain.manifest import LONGEST_RUN, Duration, Name

HOUR_S = 3600

P95_DEVIATIONS = 1.6448536269514722
"""Standard deviations above the mean below which 95 % of a normal distribution lie."""

SHAPES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "flat": (1.0,) * 24,
        # Few by night, most from morning to late afternoon.
        "business": (0.05,) * 7 + (0.5,) + (1.0,) * 10 + (0.5,) + (0.05,) * 5,
        # What the day has measured is queued in the evening.
        "nightly": (0.5,) * 2 + (0.1,) * 16 + (1.0,) * 6,
    }
)
"""Named rates: a weight for each hour of the day, UTC."""

Key = TypeVar("Key")
Floats = NDArray[np.float64]
Weight = Annotated[float, Field(gt=0, le=1e9)]
Hours = Annotated[
    tuple[Annotated[float, Field(ge=0, le=1e9)], ...], Field(min_length=24, max_length=24)
]
Length = Annotated[Duration, Field(ge=timedelta(0), le=LONGEST_RUN)]


def _alone(value: object) -> object:
    """One value stands for the only choice."""
    return {value: 1.0} if isinstance(value, str | int | float) else value


Choice = Annotated[dict[Key, Weight], BeforeValidator(_alone), Field(min_length=1)]
"""Values and how often each comes, relative to the others."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lognormal(_Frozen):
    """A skewed distribution: half of the values stay under the median, 95 % under ``p95``."""

    median: Annotated[Length, Field(gt=timedelta(0))]
    p95: Length

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.p95 < self.median:
            raise ValueError(f"a p95 of at least the median, which is {self.median}")
        return self


class Durations(_Frozen):
    """A distribution of durations, of one kind; a duration alone is fixed."""

    fixed: Length | None = None
    uniform: tuple[Length, Length] | None = None
    """Least and most."""
    lognormal: Lognormal | None = None
    choice: Choice[Length] | None = None
    min: Length = timedelta(0)
    """What is drawn below it becomes it."""
    max: Length = LONGEST_RUN

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        return value if isinstance(value, dict | cls) else {"fixed": value}

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        kinds = (self.fixed, self.uniform, self.lognormal, self.choice)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("a duration, or one of fixed, uniform, lognormal and choice")
        if self.uniform is not None and self.uniform[0] > self.uniform[1]:
            raise ValueError("the least before the most in uniform")
        if self.min > self.max:
            raise ValueError("a min of at most max")
        return self

    @property
    def least(self) -> timedelta:
        """Nothing below it is drawn."""
        drawn = (
            self.fixed or (self.uniform and self.uniform[0]) or min(self.choice or {timedelta(0)})
        )
        return max(self.min, timedelta(seconds=1) if self.lognormal else drawn)

    def draw_s(self, rng: np.random.Generator, count: int) -> Floats:
        """``count`` durations, whole seconds."""
        least_s, most_s = self.min.total_seconds(), self.max.total_seconds()
        return np.clip(self._drawn_s(rng, count), least_s, most_s).round()

    def _drawn_s(self, rng: np.random.Generator, count: int) -> Floats:
        if self.uniform is not None:
            first, last = self.uniform
            return rng.uniform(first.total_seconds(), last.total_seconds(), count)
        if self.lognormal is not None:
            median_s, p95_s = (
                item.total_seconds() for item in (self.lognormal.median, self.lognormal.p95)
            )
            sigma = math.log(p95_s / median_s) / P95_DEVIATIONS
            return rng.lognormal(math.log(median_s), sigma, count)
        lengths = self.choice or {self.fixed or timedelta(0): 1.0}
        seconds = np.array([length.total_seconds() for length in lengths])
        return seconds[_places(rng, list(lengths.values()), count)]


class Generated(_Frozen):
    """What is drawn. ``examples/backtests/two-weeks.yaml`` explains."""

    jobs: int | None = Field(default=None, gt=0, le=10_000_000)
    jobs_per_day: float | None = Field(default=None, gt=0, le=10_000_000)
    rate: Literal["flat", "business", "nightly"] | Hours = "nightly"
    """A named shape, or 24 weights, one for each hour of the day, UTC."""
    on_the_step: bool = False
    """Submit when a step of the trace begins, not anywhere in it."""
    runtime: Durations
    p95_factor: float = Field(default=1.3, ge=1, le=100)
    """p95 runtime over runtime."""
    slack: Durations
    """From a job's submission to its latest start on machines that are not reclaimed."""
    vcpus: Choice[Annotated[float, Field(gt=0, le=MOST_VCPUS)]]
    memory_gib_per_vcpu: float = Field(default=4.0, gt=0, le=MOST_GIB / MOST_VCPUS)
    residency: Choice[str]
    home_region: Choice[str]
    """Of each residency class, those that it allows."""
    job_class: Choice[Name] = {"batch": 1.0}

    @field_validator("runtime")
    @classmethod
    def _takes_time(cls, value: Durations) -> Durations:
        if value.least < timedelta(seconds=1):
            raise ValueError("durations of a second or more")
        return value

    @model_validator(mode="after")
    def _of_one_number(self) -> Self:
        if (self.jobs is None) == (self.jobs_per_day is None):
            raise ValueError("one of jobs and jobs_per_day")
        if not sum(self.hour_weights):
            raise ValueError("a rate above 0 in some hour")
        return self

    @property
    def hour_weights(self) -> tuple[float, ...]:
        """How many jobs each hour of the day gets, relative to the others."""
        return SHAPES[self.rate] if isinstance(self.rate, str) else self.rate

    def homes(self, residency: str, frame: Frame) -> dict[str, float]:
        """Home regions that a class allows, and their weights; none where it allows none."""
        legal = frame.legal[residency]
        return {region: weight for region, weight in self.home_region.items() if region in legal}


def generate(spec: Generated, frame: Frame, step_s: float, seed: int) -> tuple[BacktestJob, ...]:
    """Draw a stream.

    Args:
        spec: what to draw; every residency class has a home region.
        frame: what jobs must keep within.
        step_s: of the trace.
        seed: the same one gives the same jobs.
    """
    days = (frame.end - frame.start) / timedelta(days=1)
    count = spec.jobs or max(1, round((spec.jobs_per_day or 0) * days))
    rngs = np.random.default_rng([seed, _STREAM]).spawn(7)
    submitted_s = _submissions_s(spec, frame, count, rngs[0])
    if spec.on_the_step:
        submitted_s -= submitted_s % step_s
    longest_s = LONGEST_RUN.total_seconds()
    runtime_s = np.clip(spec.runtime.draw_s(rngs[1], count), 1, longest_s / spec.p95_factor)
    p95_s = np.minimum((runtime_s * spec.p95_factor).round(), longest_s)
    margins_s = (frame.start_up + frame.safety_margin).total_seconds()
    deadline_s = submitted_s + spec.slack.draw_s(rngs[2], count) + margins_s + p95_s
    vcpus = _chosen(rngs[3], spec.vcpus, count)
    residencies = _chosen(rngs[4], spec.residency, count)
    homes = _homes(spec, frame, residencies, rngs[5])
    classes = _chosen(rngs[6], spec.job_class, count)
    columns = zip(
        submitted_s.tolist(), runtime_s.tolist(), p95_s.tolist(), deadline_s.tolist(), strict=True
    )
    return tuple(
        BacktestJob(
            number=number,
            submitted=frame.start + timedelta(seconds=submitted),
            vcpus=vcpus[number],
            memory_gib=vcpus[number] * spec.memory_gib_per_vcpu,
            runtime_s=runtime,
            p95_s=p95,
            deadline=frame.start + timedelta(seconds=deadline),
            residency=residencies[number],
            home_region=homes[number],
            job_class=classes[number],
            interruptible=frame.interruptible,
        )
        for number, (submitted, runtime, p95, deadline) in enumerate(columns)
    )


_STREAM = 1
"""Beside the seed: reclaims and noise draw other numbers from the same seed."""


def _submissions_s(spec: Generated, frame: Frame, count: int, rng: np.random.Generator) -> Floats:
    """Seconds after the period's start, in order."""
    length_s = (frame.end - frame.start).total_seconds()
    into_hour_s = (frame.start.minute * 60 + frame.start.second) % HOUR_S
    hours = np.arange(math.ceil((length_s + into_hour_s) / HOUR_S))
    begins_s = np.maximum(0, hours * HOUR_S - into_hour_s)
    ends_s = np.minimum(length_s, (hours + 1) * HOUR_S - into_hour_s)
    weights = np.array(spec.hour_weights)[(frame.start.hour + hours) % 24] * (ends_s - begins_s)
    if not weights.any():
        weights = ends_s - begins_s
    slots = _places(rng, weights, count)
    within = rng.random(count)
    return np.sort(np.floor(begins_s[slots] + within * (ends_s - begins_s)[slots]))


def _homes(
    spec: Generated, frame: Frame, residencies: Sequence[str], rng: np.random.Generator
) -> list[str]:
    """A home for each job, of those that its residency allows."""
    drawn = {
        residency: _chosen(rng, spec.homes(residency, frame), len(residencies))
        for residency in sorted(spec.residency)
    }
    return [drawn[residency][number] for number, residency in enumerate(residencies)]


def _chosen(rng: np.random.Generator, choice: Mapping[Key, float], count: int) -> list[Key]:
    values = list(choice)
    return [values[place] for place in _places(rng, list(choice.values()), count)]


def _places(
    rng: np.random.Generator, weights: Sequence[float] | Floats, count: int
) -> NDArray[np.intp]:
    """``count`` indices, each as often as its weight says."""
    cumulative = np.cumsum(weights)
    drawn = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    places: NDArray[np.intp] = np.minimum(drawn, len(cumulative) - 1)
    return places
