"""What every history does with points: one for each (zone, signal, start)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from activities.errors import HistoryFault
from domain.forecast import Observation

LONGEST_STEP = timedelta(days=1)
"""How far before the time asked for a reader looks for steps that reach into it. Providers publish
steps of five minutes to an hour."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")


def last_of_each(observations: Iterable[Observation]) -> tuple[Observation, ...]:
    """Each point once, as it was given last: what one request holds twice has no order."""
    return tuple({(item.zone, item.signal, item.start): item for item in observations}.values())


def overlapping(
    observations: Iterable[Observation], start: datetime, end: datetime
) -> tuple[Observation, ...]:
    """Those whose step overlaps [start, end), ordered by start."""
    found = [
        item
        for item in observations
        if item.start < end and item.start + timedelta(seconds=item.step_s) > start
    ]
    return tuple(sorted(found, key=lambda item: item.start))


def micros(instant: datetime) -> int:
    """Microseconds since the Unix epoch, exactly."""
    return (instant - EPOCH) // MICROSECOND


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``items`` in order, ``size`` at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


@contextmanager
def readable(history: str, what: str) -> Iterator[None]:
    """Tell what is not of the form that this build writes as a ``HistoryFault``."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise HistoryFault(history, f"{what} cannot be read ({type(error).__name__})") from None
