from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import TraceUnreadable
from domain.trace import Trace, parse_trace

START = datetime(2022, 1, 1, tzinfo=UTC)
TRACE = Trace(START, {"A": np.arange(48.0), "B": np.arange(48.0) + 100}, 1800.0)

seconds = st.integers(0, 86_400)


@given(st.integers(-86_400, 2 * 86_400))
def test_the_step_in_progress_began_last(second: int) -> None:
    """Its index is negative before the trace and ``steps`` or more after it."""
    now = START + timedelta(seconds=second)
    begin = START + TRACE.step_at(now) * timedelta(minutes=30)
    assert begin <= now < begin + timedelta(minutes=30)


@given(st.tuples(seconds, seconds).map(sorted))
def test_a_cut_holds_the_steps_that_lie_within(bounds: list[int]) -> None:
    """With their whole length; their values and instants stay together."""
    first, last = (START + timedelta(seconds=second) for second in bounds)
    within = [
        step
        for step in range(48)
        if first <= START + step * timedelta(minutes=30)
        and START + (step + 1) * timedelta(minutes=30) <= last
    ]
    cut = TRACE.cut("B", first, last)
    assert list(cut.zones) == ["B"]
    assert list(cut.zones["B"]) == [100 + step for step in within]
    if within:
        assert cut.start == START + within[0] * timedelta(minutes=30)


def test_steps_and_times_of_any_zone_are_read() -> None:
    """From five minutes to an hour; instants are told in UTC."""
    read = parse_trace("t", b"time,A\n2022-01-01T01:00+01:00,1\n2022-01-01T01:05+01:00,2\n")
    assert (read.start, read.step_s, read.end) == (START, 300, START + timedelta(minutes=10))
    assert read.start.tzinfo is UTC


def test_a_step_that_does_not_divide_the_hour_is_refused() -> None:
    """Room is hourly."""
    with pytest.raises(TraceUnreadable, match=r"line 3: .*divides the hour"):
        parse_trace("t", b"time,A\n2022-01-01T00:00Z,1\n2022-01-01T00:25Z,2\n")
