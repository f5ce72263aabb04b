"""The job stream of a backtest as a CSV: one job a row, with what it really takes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from domain.backtest.job import BacktestJob
from domain.errors import InvalidScenario, Problem, near
from domain.manifest import LAST_YEAR, LONGEST_RUN, Interruptible, Name
from domain.problems import shown
from domain.trace import text_of

REQUIRED = (
    "submitted",
    "vcpus",
    "memory_gib",
    "runtime_s",
    "p95_s",
    "deadline",
    "residency",
    "home_region",
)
OPTIONAL = (
    "job_class",
    "min_chunk_s",
    "resume_overhead_s",
    "portable_checkpoint",
)
"""With a ``min_chunk_s`` a job is interruptible; without one the scenario says."""

MOST_VCPUS, MOST_GIB = 100_000, 1_000_000
"""As manifests have it."""

_NAME: TypeAdapter[str] = TypeAdapter(Name)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a stream's jobs must keep within."""

    start: datetime
    end: datetime
    """Jobs are submitted before it."""
    legal: Mapping[str, tuple[str, ...]]
    """Residency class -> the regions that it allows, of those that the scenario has."""
    start_up: timedelta
    safety_margin: timedelta
    interruptible: Interruptible | None = None
    """Of every job that does not say so itself."""


def parse_stream(name: str, content: bytes, frame: Frame) -> tuple[BacktestJob, ...]:
    """Read a CSV of ``REQUIRED`` columns and any of ``OPTIONAL``; rows may come in any order.

    Jobs that were submitted outside the period are left out.

    Args:
        name: of the file, for errors.
        content: its bytes, gzipped or plain.
        frame: what jobs must keep within.

    Raises:
        InvalidScenario: naming file, line, column, value and what is allowed.
        TraceUnreadable: the file is no text.
    """
    rows = csv.reader(io.StringIO(text_of(name, content)))
    jobs: list[BacktestJob] = []
    try:
        header = next(rows, [])
        _check_header(name, header)
        read = _Row(name, frame, header)
        for cells in rows:
            if not cells:
                continue
            job = read.job(rows.line_num, cells)
            if frame.start <= job.submitted < frame.end:
                jobs.append(job)
    except csv.Error as error:
        _refuse(f"{name}, line {rows.line_num}", str(error), "a row of a CSV file")
    if not jobs:
        _refuse(name, "no job", "at least one that was submitted within the period")
    jobs.sort(key=lambda job: job.submitted)
    return tuple(replace(job, number=number) for number, job in enumerate(jobs))


class _Row:
    """Reads the rows of one file."""

    def __init__(self, name: str, frame: Frame, header: list[str]) -> None:
        self._name = name
        self._frame = frame
        self._header = header
        self._at = {column: place for place, column in enumerate(header)}
        self._classes: set[str] = set()
        self._chunked: dict[tuple[str, ...], Interruptible] = {}
        self._line = 1
        self._cells: list[str] = []

    def job(self, line: int, cells: list[str]) -> BacktestJob:
        """One row's job, not yet numbered."""
        self._line, self._cells = line, cells
        if len(cells) != len(self._header):
            allowed = f"{len(self._header)}, as in the header"
            _refuse(f"{self._name}, line {line}", f"{len(cells)} cells", allowed)
        submitted = self._instant("submitted")
        runtime_s = self._number("runtime_s", LONGEST_RUN.total_seconds())
        residency = self._one_of("residency", self._frame.legal)
        return BacktestJob(
            number=0,
            submitted=submitted,
            vcpus=self._number("vcpus", MOST_VCPUS),
            memory_gib=self._number("memory_gib", MOST_GIB),
            runtime_s=runtime_s,
            p95_s=self._number("p95_s", LONGEST_RUN.total_seconds(), runtime_s),
            deadline=self._deadline(submitted),
            residency=residency,
            home_region=self._one_of("home_region", self._frame.legal[residency]),
            job_class=self._job_class(),
            interruptible=self._interruptible() or self._frame.interruptible,
        )

    def _cell(self, column: str) -> str:
        return self._cells[self._at[column]].strip()

    def _optional(self, column: str) -> str:
        return self._cell(column) if column in self._at else ""

    def _bad(self, column: str, allowed: str) -> NoReturn:
        value = shown(self._cell(column) or None)
        _refuse(f"{self._name}, line {self._line}, {column}", value, allowed)

    def _read(self, column: str, kind: Callable[[str], Value], allowed: str) -> Value:
        try:
            return kind(self._cell(column))
        except ValueError:
            self._bad(column, allowed)

    def _number(self, column: str, most: float, least: float | None = None) -> float:
        """A number above 0, or from ``least`` on, up to ``most``."""
        allowed = f"a number {'above 0' if least is None else f'from {least:g}'} to {most:g}"
        number = self._read(column, float, allowed)
        if not (0 if least is None else least) <= number <= most or (least is None and not number):
            self._bad(column, allowed)
        return number

    def _instant(self, column: str) -> datetime:
        allowed = "an instant with a time zone, as 2022-01-10T18:00:00Z"
        instant = self._read(column, datetime.fromisoformat, allowed)
        if instant.tzinfo is None or not 1 < instant.year <= LAST_YEAR:
            self._bad(column, allowed)
        return instant.astimezone(UTC)

    def _deadline(self, submitted: datetime) -> datetime:
        deadline = self._instant("deadline")
        if deadline <= submitted:
            self._bad("deadline", f"an instant after its submission, {submitted.isoformat()}")
        return deadline

    def _one_of(self, column: str, allowed: Mapping[str, object] | tuple[str, ...]) -> str:
        value = self._cell(column)
        if value not in allowed:
            self._bad(column, f"one of {', '.join(sorted(allowed))}{near(value, allowed)}")
        return value

    def _job_class(self) -> str:
        name = self._optional("job_class") or "batch"
        if name not in self._classes:
            try:
                self._classes.add(_NAME.validate_python(name))
            except ValidationError as error:
                self._bad("job_class", error.errors()[0]["msg"].removeprefix("Value error, "))
        return name

    def _interruptible(self) -> Interruptible | None:
        """What the row says of chunks. Rows that say the same share one object."""
        told = tuple(self._optional(column) for column in OPTIONAL[1:])
        if not told[0]:
            return None
        if told not in self._chunked:
            portable = told[2].lower() or "false"
            if portable not in {"true", "false"}:
                self._bad("portable_checkpoint", "true or false")
            most_s = LONGEST_RUN.total_seconds()
            resume_s = self._number("resume_overhead_s", most_s, 0) if told[1] else 0
            self._chunked[told] = Interruptible(
                min_chunk=timedelta(seconds=self._number("min_chunk_s", most_s, 1)),
                checkpoint=True,
                resume_overhead=timedelta(seconds=resume_s),
                portable_checkpoint=portable == "true",
            )
        return self._chunked[told]


def _check_header(name: str, header: list[str]) -> None:
    known = REQUIRED + OPTIONAL
    for column in header:
        if column not in known or header.count(column) > 1:
            told = f"each once: {', '.join(known)}{near(column, known)}"
            _refuse(f"{name}, line 1", shown(column), told)
    if missing := [column for column in REQUIRED if column not in header]:
        _refuse(f"{name}, line 1", "nothing", f"the columns {', '.join(missing)} too")


def _refuse(field: str, value: str, allowed: str) -> NoReturn:
    raise InvalidScenario((Problem(field, value, allowed),))
