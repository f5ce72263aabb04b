from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.timing import next_look, spread, wake_time

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SIX = 6 * HOUR


def looks(
    wait: timedelta, min_remaining: timedelta = SIX, every: timedelta | None = None
) -> list[timedelta]:
    """How long before the start each look is taken, the one before starting included."""
    start, now, taken = NOW + wait, NOW, []
    while (look := next_look(now, start, min_remaining, every)) is not None:
        taken.append(start - look)
        now = look
    return [*taken, timedelta(0)]


def test_a_day_costs_three_looks() -> None:
    """At twelve and at six hours before the start, and the one before starting."""
    assert looks(24 * HOUR) == [12 * HOUR, 6 * HOUR, timedelta(0)]


def test_eight_hours_cost_one_look() -> None:
    """Only the one before starting; so does a wait that is over."""
    assert looks(8 * HOUR) == [timedelta(0)]
    assert looks(timedelta(0)) == [timedelta(0)]
    assert looks(-HOUR) == [timedelta(0)]


def test_looks_may_be_asked_for_more_often() -> None:
    """No longer than ``every`` passes, and halving still counts."""
    assert looks(5 * HOUR, every=2 * HOUR) == [3 * HOUR, HOUR, timedelta(0)]
    assert looks(HOUR, every=HOUR) == [timedelta(0)]
    told = looks(16 * HOUR, every=7 * HOUR)
    assert told == [9 * HOUR, 2 * HOUR, timedelta(0)]
    assert looks(12 * HOUR, every=7 * HOUR)[0] == SIX


def test_a_look_that_comes_some_moments_late_costs_none_after_it() -> None:
    """Twelve hours have a look at six, so have they less some seconds; less a few minutes, none."""
    assert looks(12 * HOUR) == [SIX, timedelta(0)]
    late = timedelta(seconds=30)
    assert looks(12 * HOUR - late) == [SIX - late / 2, timedelta(0)]
    assert looks(12 * HOUR - timedelta(minutes=3)) == [timedelta(0)]


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=366)))
def test_looks_are_few_however_long_the_wait(wait: timedelta) -> None:
    """They grow with its logarithm: a year's wait costs less than a dozen."""
    assert len(looks(wait)) <= 12


@given(
    st.text(min_size=1, max_size=20),
    st.timedeltas(min_value=-HOUR, max_value=24 * HOUR),
    st.timedeltas(min_value=timedelta(0), max_value=HOUR),
)
def test_a_wake_lies_within_jitter_and_wall(job: str, slack: timedelta, jitter: timedelta) -> None:
    """Never before the start, never past the wall but where the start itself is."""
    wake = wake_time(job, NOW, NOW + slack, jitter)
    assert NOW <= wake <= max(NOW, min(NOW + slack, NOW + jitter))
    assert wake == wake_time(job, NOW, NOW + slack, jitter)


def test_a_thousand_jobs_wake_apart() -> None:
    """Ten minutes hold them evenly: no minute has more than twice its share."""
    wakes = [
        wake_time(f"job-default-sample-{n}", NOW, NOW + HOUR, timedelta(minutes=10))
        for n in range(1000)
    ]
    minutes = Counter((wake - NOW) // timedelta(minutes=1) for wake in wakes)
    assert set(range(10)) == set(minutes)
    assert max(minutes.values()) < 200


def test_jobs_near_their_wall_are_spread_over_what_is_there() -> None:
    """The share is of the window that is left, so they do not all wake at the wall."""
    wakes = {
        wake_time(f"job-{n}", NOW, NOW + timedelta(seconds=10), timedelta(minutes=10))
        for n in range(50)
    }
    assert len(wakes) == 50
    assert max(wakes) <= NOW + timedelta(seconds=10)


def test_a_jobs_share_never_changes() -> None:
    """A build that spread otherwise would move the timers of running jobs."""
    assert spread("job-default-align-sample-17", HOUR) == timedelta(seconds=1143.710218)
