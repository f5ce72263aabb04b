"""What a provider answered, made into one tidy series, or refused with a clear reason.

A forecast is all or nothing: one bad point makes the whole answer suspect. Observations stand each
for itself, so a step that is not published yet (or never) is only absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from activities.errors import AnswerRefused

MAX_G_PER_KWH = 2000.0
"""No grid emits more. Lignite (364 g/kWh of heat) burnt at 20 %, worse than any plant that runs,
gives 1,820; the dirtiest hours that providers publish are some 1,300. A figure above is an error
of unit (lb/MWh are 2.2 times g/kWh) or of the provider. 0 is allowed: the next kWh may be wind."""

MIN_STEP_S = 300.0
MAX_STEP_S = 3600.0
GRID_S = 300
"""Providers issue on multiples of five minutes; the curves of a decision rely on it."""

AHEAD = timedelta(minutes=10)
"""``now`` is when the refresh began: answers that come minutes later may be as much newer."""

FAR = timedelta(days=31)
"""No point that we ask for lies further from now."""


class Point(NamedTuple):
    """One step's intensity, gCO2eq/kWh; ``at`` is where the step begins."""

    at: datetime
    g_per_kwh: float
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Even steps without a gap, from the step in progress on."""

    start: datetime
    step_s: float
    values: tuple[float, ...]


def tidy(
    points: Sequence[Point],
    issued_at: datetime,
    now: datetime,
    *,
    min_horizon: timedelta,
    stale_after: timedelta,
) -> Series:
    """A forecast's points as a series from the step in progress on.

    Args:
        points: as answered, oldest first.
        issued_at: when the provider made the forecast.
        now: when the refresh began.
        min_horizon: the least time that the points must cover.
        stale_after: how old a forecast may be.

    Raises:
        AnswerRefused: naming the first thing wrong.
    """
    at_s = _checked(points, now)
    step_s = _step_s(points, at_s)
    covered = timedelta(seconds=step_s * len(points))
    if covered < min_horizon:
        raise AnswerRefused(f"covers {covered}, less than {min_horizon}")
    if issued_at > now + AHEAD:
        raise AnswerRefused(f"issued {issued_at - now} in the future: a clock is wrong")
    if issued_at < now - stale_after:
        raise AnswerRefused(f"stale: issued {_shown(issued_at)}, more than {stale_after} ago")
    if points[0].at > now + AHEAD:
        raise AnswerRefused(f"begins at {_shown(points[0].at)}, after now")
    over = int(np.count_nonzero(at_s + step_s <= now.timestamp()))
    if over == len(points):
        raise AnswerRefused(f"ends at {_shown(points[0].at + covered)}, before now")
    return Series(
        start=points[over].at.astimezone(UTC),
        step_s=step_s,
        values=tuple(point.g_per_kwh for point in points[over:]),
    )


def observed(points: Sequence[Point], step_s: float, now: datetime) -> tuple[Point, ...]:
    """What was published for steps that are over. Steps may be missing.

    Raises:
        AnswerRefused: naming the first thing wrong.
    """
    at_s = _checked(points, now)
    _check_step(step_s)
    off = (at_s - at_s[:1]) % step_s != 0
    if off.any():
        raise AnswerRefused(f"{_shown(points[_first(off)].at)} is not on the steps of {step_s:g} s")
    step = timedelta(seconds=step_s)
    return tuple(
        point._replace(at=point.at.astimezone(UTC)) for point in points if point.at + step <= now
    )


def _checked(points: Sequence[Point], now: datetime) -> NDArray[np.float64]:
    """Where each step begins, epoch seconds, once every point is fit to be one and in order."""
    for point in points:
        if point.at.tzinfo is None:
            raise AnswerRefused(f"{point.at.isoformat()} has no time zone")
    at_s = np.array([point.at.timestamp() for point in points])
    value = np.array([point.g_per_kwh for point in points])
    far = np.abs(at_s - now.timestamp()) > FAR.total_seconds()
    off_grid = at_s % GRID_S != 0
    for wrong, reason in (
        (far, f"more than {FAR.days} days from now"),
        (off_grid, "not on a multiple of five minutes"),
    ):
        if wrong.any():
            raise AnswerRefused(f"{points[_first(wrong)].at.isoformat()} is {reason}")
    absurd = ~((value >= 0) & (value <= MAX_G_PER_KWH))
    if absurd.any():
        point = points[_first(absurd)]
        raise AnswerRefused(
            f"{point.g_per_kwh:g} g/kWh at {_shown(point.at)}; 0 to {MAX_G_PER_KWH:g} can be"
        )
    backwards = np.diff(at_s) <= 0
    if backwards.any():
        before, after = points[_first(backwards)], points[_first(backwards) + 1]
        if after.at == before.at:
            raise AnswerRefused(f"{_shown(after.at)} comes twice")
        raise AnswerRefused(f"out of order: {_shown(after.at)} follows {_shown(before.at)}")
    return at_s


def _step_s(points: Sequence[Point], at_s: NDArray[np.float64]) -> float:
    """The one distance between all points."""
    if len(points) < 2:  # noqa: PLR2004 - two ends
        raise AnswerRefused(f"{len(points)} points make no series")
    steps_s = np.diff(at_s)
    uneven = steps_s != steps_s[0]
    if uneven.any():
        before, after = points[_first(uneven)], points[_first(uneven) + 1]
        raise AnswerRefused(
            f"a gap or uneven step: {_shown(after.at)} follows {_shown(before.at)}"
            f" in steps of {steps_s[0]:g} s"
        )
    _check_step(steps_s[0])
    return float(steps_s[0])


def _check_step(step_s: float) -> None:
    if not MIN_STEP_S <= step_s <= MAX_STEP_S:
        raise AnswerRefused(f"steps of {step_s:g} s; {MIN_STEP_S:g} to {MAX_STEP_S:g} are used")


def _first(wrong: NDArray[np.bool_]) -> int:
    return int(np.argmax(wrong))


def _shown(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
