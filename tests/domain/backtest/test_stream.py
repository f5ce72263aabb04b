from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backtest.job import BacktestJob
from domain.backtest.stream import OPTIONAL, REQUIRED, Frame, parse_stream
from domain.errors import InvalidScenario, TraceUnreadable
from domain.manifest import Interruptible
from tests.domain.backtest.scenarios import START

FRAME = Frame(
    start=START,
    end=START + timedelta(days=10),
    legal={"eu": ("aws:eu-central-1", "aws:eu-west-3"), "germany": ("aws:eu-central-1",)},
    start_up=timedelta(minutes=5),
    safety_margin=timedelta(minutes=45),
)
ROW = {
    "submitted": "2022-01-02T18:00:00Z",
    "vcpus": "8",
    "memory_gib": "32",
    "runtime_s": "3600",
    "p95_s": "5400.5",
    "deadline": "2022-01-03T18:00:00+01:00",
    "residency": "eu",
    "home_region": "aws:eu-west-3",
}


def csv_of(*rows: dict[str, str]) -> bytes:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [",".join(row.get(column, "") for column in columns) for row in rows]
    return "\n".join((",".join(columns), *lines)).encode()


def read(*rows: dict[str, str], frame: Frame = FRAME) -> tuple[BacktestJob, ...]:
    return parse_stream("jobs.csv", csv_of(*rows), frame)


durations_s = st.integers(1, 40 * 3600).map(float)


@st.composite
def some_jobs(draw: st.DrawFn) -> list[BacktestJob]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        runtime_s = draw(durations_s)
        residency = draw(st.sampled_from(sorted(FRAME.legal)))
        submitted = START + timedelta(seconds=draw(st.integers(0, 10 * 86_400 - 1)))
        portable = draw(st.sampled_from([None, True, False]))
        found.append(
            BacktestJob(
                number=0,
                submitted=submitted,
                vcpus=draw(st.sampled_from([0.25, 4.0, 64.0])),
                memory_gib=draw(st.sampled_from([0.5, 16.0])),
                runtime_s=runtime_s,
                p95_s=runtime_s * draw(st.sampled_from([1.0, 1.5])),
                deadline=submitted + timedelta(seconds=draw(durations_s)),
                residency=residency,
                home_region=draw(st.sampled_from(FRAME.legal[residency])),
                job_class=draw(st.sampled_from(["batch", "train"])),
                interruptible=None
                if portable is None
                else Interruptible(
                    min_chunk=timedelta(minutes=30),
                    checkpoint=True,
                    resume_overhead=timedelta(minutes=draw(st.integers(0, 5))),
                    portable_checkpoint=portable,
                ),
            )
        )
    return found


def as_row(job: BacktestJob) -> dict[str, str]:
    row = {column: str(getattr(job, column)) for column in (*REQUIRED, "job_class")}
    chunks = job.interruptible
    told = (
        ("", "", "")
        if chunks is None
        else (
            str(chunks.min_chunk.total_seconds()),
            str(chunks.resume_overhead.total_seconds()),
            str(chunks.portable_checkpoint).lower(),
        )
    )
    return row | dict(zip(OPTIONAL[1:], told, strict=True))


@given(some_jobs())
def test_what_is_written_is_read(written: list[BacktestJob]) -> None:
    """Every field of every job, ordered and numbered by submission."""
    ordered = sorted(written, key=lambda job: job.submitted)
    numbered = tuple(replace(job, number=number) for number, job in enumerate(ordered))
    assert read(*map(as_row, written)) == numbered


def test_jobs_outside_the_period_are_left_out() -> None:
    """Its end is outside."""
    early, last = "2021-12-31T23:59:59Z", "2022-01-10T23:59:59Z"
    late = {"deadline": "2022-02-01T00:00Z"}
    rows = [
        {**ROW, "submitted": early},
        {**ROW, "submitted": last} | late,
        {**ROW, "submitted": "2022-01-11T00:00:00Z"} | late,
    ]
    assert [job.submitted for job in read(*rows)] == [FRAME.end - timedelta(seconds=1)]
    with pytest.raises(InvalidScenario, match=r"jobs\.csv: no job"):
        read(rows[0])


def test_the_scenario_speaks_for_jobs_that_do_not() -> None:
    """A row's own word on chunks comes first."""
    chunks = Interruptible(min_chunk=timedelta(hours=2), checkpoint=True)
    frame = replace(FRAME, interruptible=chunks)
    own, other = read({**ROW, "min_chunk_s": "600"}, {**ROW, "min_chunk_s": ""}, frame=frame)
    assert own.interruptible is not None
    assert own.interruptible.min_chunk == timedelta(minutes=10)
    assert other.interruptible == chunks


def test_a_file_may_be_gzipped_and_end_with_empty_lines() -> None:
    """As people bring them."""
    content = csv_of(ROW) + b"\n\n"
    assert parse_stream("jobs.csv.gz", gzip.compress(content), FRAME) == read(ROW)
    with pytest.raises(TraceUnreadable, match=r"jobs\.csv\.gz"):
        parse_stream("jobs.csv.gz", b"\xff\xfe", FRAME)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("submitted", "yesterday", "'yesterday' .*an instant with a time zone"),
        ("submitted", "2022-01-02T18:00:00", "an instant with a time zone"),
        ("submitted", "", "nothing .*an instant"),
        ("deadline", "2022-01-02T18:00:00Z", "after its submission"),
        ("deadline", "9999-01-02T18:00:00Z", "an instant with a time zone"),
        ("vcpus", "0", "'0' .*a number above 0"),
        ("vcpus", "-4", "'-4' .*a number above 0"),
        ("vcpus", "nan", "'nan'"),
        ("vcpus", "inf", "'inf'"),
        ("memory_gib", "much", "'much'"),
        ("runtime_s", "1e12", "'1e12'"),
        ("p95_s", "3599", "'3599' .*from 3600"),
        ("residency", "mars", "'mars' .*one of eu, germany"),
        ("residency", "germny", "perhaps germany"),
        (
            "home_region",
            "aws:us-east-1",
            "'aws:us-east-1' .*one of aws:eu-central-1, aws:eu-west-3",
        ),
        ("job_class", "Batch!", "'Batch!' .*lower-case letters"),
        ("min_chunk_s", "0", "'0' .*a number from 1"),
    ],
)
def test_a_bad_cell_is_told_by_line_and_column(column: str, value: str, told: str) -> None:
    """With its value and what is allowed."""
    with pytest.raises(InvalidScenario, match=rf"jobs\.csv, line 3, {column}: .*{told}"):
        read(ROW, {**ROW, column: value})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"residency": "germany"},
            r"home_region: 'aws:eu-west-3' .*one of aws:eu-central-1, perhaps",
        ),
        ({"min_chunk_s": "60", "resume_overhead_s": "-1"}, "resume_overhead_s: '-1'"),
        ({"min_chunk_s": "60", "portable_checkpoint": "perhaps"}, "portable_checkpoint: 'perhaps'"),
    ],
)
def test_cells_must_go_together(changed: dict[str, str], told: str) -> None:
    """A home that the residency allows; chunks as a manifest has them."""
    with pytest.raises(InvalidScenario, match=rf"jobs\.csv, line 2, {told}"):
        read({**ROW, **changed})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "line 1: nothing .*the columns submitted"),
        (csv_of({**ROW, "vcpu": "1"}), "line 1: 'vcpu' .*perhaps vcpus"),
        (csv_of(ROW).replace(b"vcpus", b"deadline", 1), "line 1: 'deadline' .*each once"),
        (csv_of(ROW).replace(b",8,", b",", 1), "line 2: 7 cells .*8"),
        (csv_of(ROW).partition(b"\n")[0], "no job"),
        (csv_of({**ROW, "vcpus": "1" * 200_000}), "line 2: field larger"),
    ],
)
def test_a_bad_file_is_told(content: bytes, told: str) -> None:
    """Columns and cells that lack or are too many."""
    with pytest.raises(InvalidScenario, match=rf"jobs\.csv.*{told}"):
        parse_stream("jobs.csv", content, FRAME)
