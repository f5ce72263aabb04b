"""Forecasts that were really issued, as a CSV of ``issued_at,zone,time,g_per_kwh``.

Each issue of a zone is one run of steps without gaps; rows may come in any order. At any moment the
newest issue of each zone stands. Many providers begin with the step after their issue: the step in
progress is then taken from the issue before, else from the newest one's first value.
"""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from domain.backtest.case import Issue
from domain.errors import InvalidScenario, Problem
from domain.forecast import Forecast, Signal
from domain.problems import shown
from domain.trace import COARSEST, FINEST, text_of, unzipped

PROVIDER = "file"
COLUMNS = ("issued_at", "zone", "time", "g_per_kwh")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = pa.timestamp("us", tz="UTC")
_MICROS = 1_000_000

Seconds = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Zone:
    """One zone's issues, oldest first; times are Unix seconds."""

    issued_s: Seconds
    """(issues,)"""
    starts_s: Seconds
    """(issues,): each one's first step."""
    firsts: NDArray[np.intp]
    """(issues + 1,): where each one's values begin."""
    values: Floats

    def stood(self, now_s: int, step_s: int, reach: int) -> tuple[int, int, Floats] | None:
        """Issue time, start and values of what stood; ``None`` before the first issue, and where
        the newest is over.
        """
        newest = int(np.searchsorted(self.issued_s, now_s, side="right")) - 1
        if newest < 0:
            return None
        start_s = int(self.starts_s[newest])
        begin_s = start_s + (now_s - start_s) // step_s * step_s
        skipped = (begin_s - start_s) // step_s
        values = self._of(newest)
        if skipped >= len(values):
            return None
        if skipped < 0:
            values = np.concatenate((self._before(newest, begin_s, -skipped, step_s), values))
        return int(self.issued_s[newest]), begin_s, values[max(0, skipped) :][:reach]

    def _of(self, issue: int) -> Floats:
        return self.values[self.firsts[issue] : self.firsts[issue + 1]]

    def _before(self, newest: int, begin_s: int, count: int, step_s: int) -> Floats:
        """``count`` steps before the newest issue's first."""
        filled = np.full(count, self._of(newest)[0])
        if newest > 0:
            older = self._of(newest - 1)
            places = (begin_s - int(self.starts_s[newest - 1])) // step_s + np.arange(count)
            known = (places >= 0) & (places < len(older))
            filled[known] = older[places[known]]
        return filled


class Issued:
    """A ``ForecastModel`` over a file."""

    def __init__(
        self,
        name: str,
        signal: Signal,
        step_s: int,
        horizon: timedelta,
        zones: dict[str, _Zone],
    ) -> None:
        """Hold the issues; ``parse_issued`` makes them."""
        self._name = name
        self._signal = signal
        self._step_s = step_s
        self._reach = max(1, int(horizon.total_seconds() // step_s))
        self._zones = dict(sorted(zones.items()))
        issued_s = np.unique(np.concatenate([zone.issued_s for zone in zones.values()]))
        self._issued_s = issued_s.tolist()
        self._gap_s = float(np.median(np.diff(issued_s))) if len(issued_s) > 1 else step_s
        self._phase_s = int(next(iter(zones.values())).starts_s[0]) % step_s
        self._held_at = (-1, -1)
        self._held: Issue = ()

    @property
    def name(self) -> str:
        """``file:<path>``."""
        return f"file:{self._name}"

    @property
    def max_age(self) -> timedelta:
        """Twice the usual time until the next issue."""
        return timedelta(seconds=2 * max(self._gap_s, self._step_s))

    def issue(self, now: datetime) -> Issue:
        """What stood at ``now``; the same objects until a step begins or an issue comes."""
        now_s = (now - _EPOCH) // timedelta(seconds=1)
        at = (bisect_right(self._issued_s, now_s), (now_s - self._phase_s) // self._step_s)
        if at != self._held_at:
            self._held_at = at
            self._held = tuple(self._stood(now_s))
        return self._held

    def _stood(self, now_s: int) -> list[Forecast]:
        found = []
        for zone, issues in self._zones.items():
            stood = issues.stood(now_s, self._step_s, self._reach)
            if stood is not None:
                issued_s, begin_s, values = stood
                found.append(
                    Forecast(
                        zone=zone,
                        signal=self._signal,
                        provider=PROVIDER,
                        methodology="as issued",
                        issued_at=_EPOCH + timedelta(seconds=issued_s),
                        start=_EPOCH + timedelta(seconds=begin_s),
                        step_s=float(self._step_s),
                        values=tuple(values.tolist()),
                    )
                )
        return found


def parse_issued(
    name: str, content: bytes, signal: Signal, zones: Collection[str], horizon: timedelta
) -> Issued:
    """Read the file; zones that are not asked for are left out.

    Args:
        name: of the file, for errors.
        content: its bytes, gzipped or plain.
        signal: of which signal it tells.
        zones: those that it must have.
        horizon: how far issues are used.

    Raises:
        InvalidScenario: naming file, line and what is wrong.
        TraceUnreadable: the file is no text.
    """
    table = _table(name, unzipped(name, content))
    codes = {zone: code for code, zone in enumerate(sorted(zones))}
    columns = _Columns.of(table, codes)
    if lacking := [zone for zone, code in codes.items() if not (columns.zone == code).any()]:
        _refuse(name, f"no issue of {', '.join(lacking)}", "issues of every zone of the scenario")
    blocks = np.flatnonzero(np.diff(columns.zone) | np.diff(columns.issued_s)) + 1
    firsts = np.concatenate(([0], blocks))
    step_s = _step(name, columns, blocks)
    held = {}
    for zone, code in codes.items():
        first, last = np.searchsorted(columns.zone, (code, code + 1))
        own = firsts[(firsts >= first) & (firsts < last)]
        held[zone] = _Zone(
            issued_s=columns.issued_s[own],
            starts_s=columns.time_s[own],
            firsts=np.append(own, last) - first,
            values=columns.values[first:last],
        )
    return Issued(name, signal, step_s, horizon, held)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The file's rows of the zones asked for, ordered by zone, issue and time."""

    zone: NDArray[np.int64]
    issued_s: Seconds
    time_s: Seconds
    values: Floats
    lines: NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, codes: dict[str, int]) -> _Columns:
        """Take the columns out of the table."""
        known = pa.array(list(codes), pa.string())
        zone = pc.fill_null(pc.index_in(table["zone"], known), -1).to_numpy().astype(np.int64)
        # Rounded up: nothing is known before its issue.
        issued_s = -(-table["issued_at"].cast(pa.int64()).to_numpy() // _MICROS)
        time_s = table["time"].cast(pa.int64()).to_numpy() // _MICROS
        order = np.lexsort((time_s, issued_s, zone))
        order = order[np.searchsorted(zone[order], 0) :]
        return cls(
            zone[order],
            issued_s[order],
            time_s[order],
            table["g_per_kwh"].to_numpy()[order],
            order + 2,
        )


def _table(name: str, content: bytes) -> pa.Table:
    """The file's rows, each value of its type."""
    first, _, rows = content.partition(b"\n")
    header = next(csv.reader([text_of(name, first)]), [])
    if sorted(header) != sorted(COLUMNS):
        _refuse(f"{name}, line 1", shown(",".join(header)), f"the columns {','.join(COLUMNS)}")
    if not rows.strip():
        _refuse(name, "no row", "at least one issue")
    kinds = {"issued_at": _TIME, "zone": pa.string(), "time": _TIME, "g_per_kwh": pa.float64()}
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            parse_options=arrow_csv.ParseOptions(ignore_empty_lines=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=kinds, null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        _tell_first_fault(name, text_of(name, content))
        _refuse(name, "the file", f"{','.join(COLUMNS)} in each row ({error})")
    intensity = table["g_per_kwh"].to_numpy()
    if not (np.isfinite(intensity) & (intensity >= 0)).all():
        _tell_first_fault(name, text_of(name, content))
    return table


def _tell_first_fault(name: str, text: str) -> None:
    """Refuse the first row that is not as it should be. Slow: only for a file that is faulty."""
    rows = csv.reader(io.StringIO(text))
    header = next(rows)
    for cells in rows:
        place = f"{name}, line {rows.line_num}"
        if len(cells) != len(header):
            _refuse(place, f"{len(cells)} cells", f"{len(header)}, as in the header")
        row = dict(zip(header, cells, strict=True))
        for column in ("issued_at", "time"):
            if not _is_instant(row[column]):
                allowed = "an instant with a time zone, as 2022-01-10T18:00:00Z"
                _refuse(f"{place}, {column}", shown(row[column]), allowed)
        try:
            value = float(row["g_per_kwh"])
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            _refuse(f"{place}, g_per_kwh", shown(row["g_per_kwh"]), "a number of 0 or more")


def _is_instant(cell: str) -> bool:
    try:
        return datetime.fromisoformat(cell).tzinfo is not None
    except ValueError:
        return False


def _step(name: str, columns: _Columns, blocks: NDArray[np.intp]) -> int:
    """The one step of all issues, in seconds."""
    steps = np.diff(columns.time_s)
    within = np.ones(len(steps), dtype=np.bool_)
    within[blocks - 1] = False
    step_s = int(steps[within][0]) if within.any() else int(COARSEST.total_seconds())
    step = timedelta(seconds=step_s)
    if not FINEST <= step <= COARSEST or COARSEST % step:
        _refuse(name, f"a step of {step}", "from 5 minutes to 1 hour, one that divides the hour")
    for wrong, told in (
        (np.flatnonzero(within & (steps != step_s)) + 1, "after the row before it in its issue"),
        (np.flatnonzero((columns.time_s - columns.time_s[0]) % step_s), "or a multiple from all"),
    ):
        if len(wrong):
            at = _EPOCH + timedelta(seconds=int(columns.time_s[wrong[0]]))
            place = f"{name}, line {columns.lines[wrong[0]]}, time"
            _refuse(place, at.isoformat(), f"an instant {step} {told}")
    return step_s


def _refuse(field: str, value: str, allowed: str) -> NoReturn:
    raise InvalidScenario((Problem(field, value, allowed),))
