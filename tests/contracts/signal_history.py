"""What every ``SignalHistory`` does.

An adapter's tests subclass this with a fixture ``open_history``: each call opens one more writer of
the same, at first empty, history.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.forecast import Observation, Signal
from domain.ports import SignalHistory

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

OpenHistory = Callable[[], SignalHistory]

numbers = itertools.count()


def observed(
    start: datetime = NOW,
    g_per_kwh: float = 25.0,
    step_s: float = 3600.0,
    zone: str = "SE-SE3",
    signal: Signal = Signal.AVERAGE,
    provider: str = "electricity-maps",
) -> Observation:
    return Observation(zone, signal, start, step_s, g_per_kwh, provider)


def read(history: SignalHistory, zone: str = "SE-SE3") -> tuple[Observation, ...]:
    """All of a zone's averages, from a month before to a month after ``NOW``."""
    return history.observations(zone, Signal.AVERAGE, NOW - 30 * DAY, NOW + 30 * DAY)


ANY = st.builds(
    observed,
    # Few starts, on three days, so that many fall on one point.
    start=st.integers(0, 11).map(lambda n: NOW + n * 5 * HOUR),
    g_per_kwh=st.floats(-1e6, 1e6),
    step_s=st.sampled_from([300.0, 900.0, 3600.0, 21600.0]),
    signal=st.sampled_from(Signal),
    provider=st.sampled_from(["electricity-maps", "watttime (estimated)", 'a "b" \\ c']),
)


class SignalHistoryContract:
    def test_an_observation_is_read_back_as_it_was_put(self, open_history: OpenHistory) -> None:
        """Every figure and instant to the last bit."""
        history = open_history()
        odd = observed(NOW + timedelta(microseconds=7), 1 / 3, 0.1, provider='é, "x" = \\y')
        history.put_observations([odd])
        assert read(history) == (odd,)

    @pytest.mark.parametrize("g_per_kwh", [0.0, -12.5, 1e-7, 5e-324, 1.7976931348623157e308, 371.0])
    def test_any_finite_figure_is_kept(self, open_history: OpenHistory, g_per_kwh: float) -> None:
        """Whatever way it is written down on."""
        history = open_history()
        history.put_observations([observed(g_per_kwh=g_per_kwh)])
        assert [item.g_per_kwh for item in read(history)] == [g_per_kwh]

    def test_steps_that_overlap_are_found_in_order(self, open_history: OpenHistory) -> None:
        """One that only begins or ends within the time asked for counts, one beside does not."""
        history = open_history()
        hours = [observed(NOW + n * HOUR, float(n)) for n in range(6)]
        history.put_observations(hours[::-1])
        within = ("SE-SE3", Signal.AVERAGE, NOW + 1.5 * HOUR)
        assert history.observations(*within, NOW + 3 * HOUR) == tuple(hours[1:3])
        assert history.observations(*within, NOW + 3.5 * HOUR) == tuple(hours[1:4])

    def test_a_days_step_is_found_from_far_within(self, open_history: OpenHistory) -> None:
        """Steps of different length live together, and across midnight."""
        history = open_history()
        day, quarter = observed(NOW, step_s=86400.0), observed(NOW + 23 * HOUR, step_s=900.0)
        history.put_observations([day, quarter])
        last_hour = ("SE-SE3", Signal.AVERAGE, NOW + 23 * HOUR, NOW + 24 * HOUR)
        assert history.observations(*last_hour) == (day, quarter)

    def test_days_are_read_together(self, open_history: OpenHistory) -> None:
        """A trend is over many days; those without observations are no trouble."""
        history = open_history()
        days = [observed(NOW + n * DAY) for n in (-20, -1, 0, 1, 2, 15)]
        for item in days:
            history.put_observations([item])
        assert read(history) == tuple(days)
        around = ("SE-SE3", Signal.AVERAGE, NOW - DAY, NOW + DAY + HOUR)
        assert history.observations(*around) == tuple(days[1:4])

    def test_the_same_point_again_replaces(self, open_history: OpenHistory) -> None:
        """A correction is one point, also by another provider, in another step, another writer."""
        history = open_history()
        history.put_observations([observed(NOW, 25.0), observed(NOW + HOUR, 30.0)])
        corrected = observed(NOW, 26.0, step_s=900.0, provider="watttime")
        open_history().put_observations([corrected])
        assert read(history) == (corrected, observed(NOW + HOUR, 30.0))

    def test_a_point_given_twice_at_once_stands_as_given_last(
        self, open_history: OpenHistory
    ) -> None:
        """One answer may hold an hour and its correction."""
        history = open_history()
        history.put_observations([observed(g_per_kwh=value) for value in (1.0, 2.0, 3.0)])
        assert read(history) == (observed(g_per_kwh=3.0),)

    def test_zones_and_signals_are_apart(self, open_history: OpenHistory) -> None:
        """An observation answers for its own zone and signal only."""
        history = open_history()
        zones = ["SE", "SE-SE3", "SE-SE3,x=y", "a b", "it's"]
        everything = [observed(zone=zone, signal=signal) for zone in zones for signal in Signal]
        history.put_observations(everything)
        for item in everything:
            assert history.observations(item.zone, item.signal, NOW, NOW + HOUR) == (item,)

    def test_where_nothing_was_put_nothing_is(self, open_history: OpenHistory) -> None:
        """Neither in an empty history, nor after nothing was put, nor of an unknown zone."""
        history = open_history()
        assert read(history) == ()
        history.put_observations([])
        assert read(history) == ()
        history.put_observations([observed()])
        assert read(history, "DE") == read(history, "x' OR 'x' = 'x") == ()

    def test_three_writers_at_once_lose_and_double_nothing(self, open_history: OpenHistory) -> None:
        """Three clocks bring the same hours, and each an hour of its own."""
        shared = [observed(NOW + n * HOUR, float(n)) for n in range(3)]
        own = [observed(NOW + (3 + n) * HOUR, float(n)) for n in range(3)]
        begin = threading.Barrier(3)
        writers = [open_history() for _ in own]

        def write(writer: SignalHistory, item: Observation) -> None:
            begin.wait(timeout=30)
            for _ in range(3):
                writer.put_observations([*shared, item])

        with ThreadPoolExecutor(3) as threads:
            list(threads.map(write, writers, own))
        assert read(open_history()) == (*shared, *own)

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(puts=st.lists(st.lists(ANY, max_size=8), max_size=5))
    def test_it_holds_what_a_dictionary_would(
        self, open_history: OpenHistory, puts: list[list[Observation]]
    ) -> None:
        """Whatever is put in whatever order: the last of each point, once."""
        zone = f"Z{next(numbers)}"
        history = open_history()
        expected = {}
        for put in puts:
            items = [replace(item, zone=zone) for item in put]
            history.put_observations(items)
            expected |= {(item.signal, item.start): item for item in items}
        for signal in Signal:
            found = history.observations(zone, signal, NOW - DAY, NOW + 4 * DAY)
            assert found == tuple(
                item for (of, _), item in sorted(expected.items()) if of is signal
            )
