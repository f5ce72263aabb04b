"""A recorded grid: intensities of some zones, step by step, as a CSV holds them."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from domain.errors import TraceUnreadable

FINEST, COARSEST = timedelta(minutes=5), timedelta(hours=1)
"""Steps between which a trace may be recorded; each divides the hour, as room is hourly."""

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Trace:
    """Intensities of one signal, gCO2eq/kWh, by zone; each value holds for one step."""

    start: datetime
    zones: Mapping[str, NDArray[np.float64]]
    step_s: float = 3600.0

    @property
    def steps(self) -> int:
        """Length of every zone's series."""
        return len(next(iter(self.zones.values())))

    @property
    def end(self) -> datetime:
        """Where every series ends."""
        return self.start + timedelta(seconds=self.step_s * self.steps)

    def step_at(self, instant: datetime) -> int:
        """Index of the step in progress; negative before the trace, ``steps`` or more after it."""
        return (instant - self.start) // timedelta(seconds=self.step_s)

    def cut(self, zones: Iterable[str], start: datetime, end: datetime) -> Trace:
        """Some zones, and the steps that lie within ``start`` and ``end`` with their whole length.

        Both are instants of the trace.
        """
        first, last = -((self.start - start) // timedelta(seconds=self.step_s)), self.step_at(end)
        return Trace(
            start=self.start + timedelta(seconds=self.step_s * first),
            zones={zone: self.zones[zone][first:last] for zone in zones},
            step_s=self.step_s,
        )

    def window(self, zone: str, first: int, count: int) -> NDArray[np.float64]:
        """``count`` values from step ``first``, going round at the end of the trace."""
        series = self.zones[zone]
        return series[np.arange(first, first + count) % len(series)]


def parse_trace(name: str, content: bytes) -> Trace:
    """Read a CSV of ``time`` and one column a zone; the step is that of its first two rows.

    Args:
        name: of the file, for errors.
        content: its bytes, gzipped or plain.

    Raises:
        TraceUnreadable: naming file, line and what is wrong: a gap, an empty cell, a bad number.
    """
    rows = csv.reader(io.StringIO(text_of(name, content)))
    times: list[datetime] = []
    values: list[list[float]] = []
    try:
        header = next(rows, [])
        if header[:1] != ["time"] or len(header) < 2 or len(set(header)) < len(header):  # noqa: PLR2004
            raise TraceUnreadable(name, 1, "the header must be 'time' and one column a zone")
        for row in rows:
            times.append(_instant(row[0] if row else ""))
            values.append(_intensities(row[1:], len(header) - 1))
    except (ValueError, csv.Error) as error:
        raise TraceUnreadable(name, max(1, rows.line_num), str(error)) from None
    if not times:
        raise TraceUnreadable(name, 2, "at least one row is expected")
    step = _step(name, times)
    columns = np.asarray(values, dtype=np.float64).T
    zones = dict(zip(header[1:], columns, strict=True))
    return Trace(start=times[0], zones=zones, step_s=step.total_seconds())


def text_of(name: str, content: bytes) -> str:
    """The text of a file that may be gzipped. Raises ``TraceUnreadable``."""
    try:
        return unzipped(name, content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceUnreadable(name, 0, str(error)) from None


def unzipped(name: str, content: bytes) -> bytes:
    """The bytes of a file that may be gzipped. Raises ``TraceUnreadable``."""
    try:
        return gzip.decompress(content) if content[:2] == _GZIP else content
    except (OSError, EOFError, zlib.error) as error:
        raise TraceUnreadable(name, 0, str(error)) from None


def _step(name: str, times: list[datetime]) -> timedelta:
    """The one step of a whole trace; an hour where there is a single row."""
    step = times[1] - times[0] if len(times) > 1 else COARSEST
    if not FINEST <= step <= COARSEST:
        raise TraceUnreadable(name, 3, f"a step of {step}; from 5 minutes to 1 hour is allowed")
    if COARSEST % step:
        raise TraceUnreadable(name, 3, f"a step of {step}; one that divides the hour is allowed")
    for line, at in enumerate(times, start=2):
        if at != times[0] + step * (line - 2):
            raise TraceUnreadable(name, line, f"each row is {step} after the one before")
    return step


def _instant(cell: str) -> datetime:
    at = datetime.fromisoformat(cell)
    if at.tzinfo is None:
        raise ValueError(f"{cell} is no time with a zone")
    return at.astimezone(UTC)


def _intensities(cells: list[str], count: int) -> list[float]:
    if len(cells) != count:
        raise ValueError(f"{count + 1} cells are expected, as in the header")
    return [_intensity(cell) for cell in cells]


def _intensity(cell: str) -> float:
    value = float(cell)
    if not 0 <= value < math.inf:
        raise ValueError(f"{cell} is no carbon intensity")
    return value
