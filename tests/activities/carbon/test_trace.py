from __future__ import annotations

import gzip
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.carbon.trace import (
    HISTORY_HOURS,
    SHIPPED_FILES,
    ForecastModel,
    Replay,
    Trace,
    TraceProvider,
    read_trace,
)
from domain.errors import TraceUnreadable
from domain.forecast import Signal
from domain.ports import SignalProvider
from tests.contracts.signal_provider import SignalProviderContract

TRACE_START = datetime(2019, 1, 1, tzinfo=UTC)
CLOCK = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS_IN = 25 * 24
"""Hours of the trace before the replay begins: enough for three weeks of history."""


def wave(hour: float) -> float:
    """A pure daily wave."""
    return 300 + 200 * math.sin(2 * math.pi * hour / 24)


def trace(*, zones: tuple[str, ...] = ("DE",), hours: int = 35 * 24) -> Trace:
    series = np.array([wave(hour) for hour in range(hours)])
    return Trace(TRACE_START, {zone: series + 10 * n for n, zone in enumerate(zones)})


def replay(hour_s: float = 3600.0, hours_in: int = DAYS_IN) -> Replay:
    return Replay(CLOCK, TRACE_START + hours_in * HOUR, hour_s)


def provider(
    found: Trace | None = None,
    at: Replay | None = None,
    model: ForecastModel = ForecastModel.PERSISTENCE,
) -> TraceProvider:
    return TraceProvider({Signal.AVERAGE: found or trace()}, at or replay(), model)


class OfTrace(SignalProviderContract):
    @pytest.fixture
    def zones(self) -> tuple[str, ...]:
        return ("DE", "FR")

    @pytest.fixture
    def now(self) -> datetime:
        return CLOCK + timedelta(minutes=7, seconds=3)


class TestAtItsOwnPace(OfTrace):
    @pytest.fixture
    def provider(self, zones: tuple[str, ...]) -> SignalProvider:
        return provider(trace(zones=zones))


class TestCompressed(OfTrace):
    @pytest.fixture
    def provider(self, zones: tuple[str, ...]) -> SignalProvider:
        return provider(trace(zones=zones), replay(hour_s=2.0))


class TestPerfect(OfTrace):
    @pytest.fixture
    def provider(self, zones: tuple[str, ...]) -> SignalProvider:
        return provider(trace(zones=zones), model=ForecastModel.PERFECT)


class TestShipped(OfTrace):
    @pytest.fixture
    def provider(self) -> SignalProvider:
        traces = {signal: read_trace(path) for signal, path in SHIPPED_FILES.items()}
        return TraceProvider(traces, replay(hours_in=3700))


class TestWhatWasKnownThen:
    @given(st.integers(0, 4 * 24), st.integers(0, 2**32))
    async def test_the_future_changes_no_forecast(self, hours_on: int, seed: int) -> None:
        """Two grids with the same past and different futures have the same forecast."""
        known = trace()
        now = CLOCK + hours_on * HOUR
        other = known.zones["DE"].copy()
        future = slice(DAYS_IN + hours_on, None)
        other[future] = np.random.default_rng(seed).uniform(0, 1000, other[future].size)
        [left] = (await provider(known).fetch(["DE"], now)).forecasts
        [right] = (await provider(Trace(TRACE_START, {"DE": other})).fetch(["DE"], now)).forecasts
        assert left == right

    async def test_the_perfect_model_knows_the_future_and_says_so(self) -> None:
        """It is the trace itself, for comparison, and marked in its methodology."""
        known = trace()
        [found] = (
            await provider(known, model=ForecastModel.PERFECT).fetch(["DE"], CLOCK)
        ).forecasts
        assert found.values == tuple(known.zones["DE"][DAYS_IN : DAYS_IN + 48])
        assert found.methodology == "perfect"
        [by_past] = (await provider(known).fetch(["DE"], CLOCK)).forecasts
        assert by_past.methodology == "persistence/2"

    @pytest.mark.parametrize("hours_in", [DAYS_IN, DAYS_IN + 1, DAYS_IN + 13])
    async def test_each_hour_is_forecast_at_its_own_hour(self, hours_in: int) -> None:
        """On a pure daily wave the forecast is the trace: an hour's mistake would cost 52 g."""
        at = replay(hours_in=hours_in)
        now = CLOCK + timedelta(minutes=59)
        [found] = (await provider(at=at).fetch(["DE"], now)).forecasts
        assert found.start == CLOCK
        expected = [wave(hours_in + n) for n in range(48)]
        assert found.values == pytest.approx(expected, abs=0.001)

    async def test_observations_are_the_hours_before(self) -> None:
        """The newest is the hour that has just ended, and each stands at its own time."""
        answer = await provider().fetch(["DE"], CLOCK + timedelta(minutes=30))
        starts = [item.start for item in answer.observations]
        assert starts == [CLOCK - n * HOUR for n in range(48, 0, -1)]
        assert answer.observations[-1].g_per_kwh == pytest.approx(wave(DAYS_IN - 1))
        assert answer.observations[0].g_per_kwh == pytest.approx(wave(DAYS_IN - 48))

    async def test_what_is_forecast_is_observed_later(self) -> None:
        """Every step of a forecast is, once over, an observation at the same time: no gaps."""
        answers = [
            await provider(at=replay(hour_s=2.0)).fetch(["DE"], CLOCK + timedelta(seconds=s))
            for s in (0, 61)
        ]
        [forecast] = answers[0].forecasts
        due = [forecast.start + timedelta(seconds=2 * n) for n in range(30)]
        assert set(due) <= {item.start for item in answers[1].observations}


class TestReplay:
    def test_a_compressed_hour_takes_its_seconds(self) -> None:
        """Two seconds an hour: 1,800 accounted seconds for each on the clock."""
        at = replay(hour_s=2.0)
        assert at.time_scale == 1800
        assert at.hour_at(CLOCK, trace()) == DAYS_IN
        assert at.hour_at(CLOCK + timedelta(seconds=1.99), trace()) == DAYS_IN
        assert at.hour_at(CLOCK + timedelta(seconds=2), trace()) == DAYS_IN + 1
        assert at.hour_at(CLOCK - timedelta(seconds=0.5), trace()) == DAYS_IN - 1

    @given(st.integers(-1000, 10_000), st.sampled_from([0.5, 2.0, 3600.0]))
    def test_hour_and_clock_are_inverse(self, hour: int, hour_s: float) -> None:
        """An hour's begin on the clock lies in that hour."""
        at = replay(hour_s)
        assert at.hour_at(at.clock_of(hour, trace()), trace()) == hour

    async def test_compressed_steps_have_clock_length(self) -> None:
        """Forecasts carry clock times: nothing else need know of the compression."""
        now = CLOCK + timedelta(seconds=5)
        answer = await provider(at=replay(hour_s=2.0)).fetch(["DE"], now)
        [found] = answer.forecasts
        assert (found.step_s, found.start) == (2.0, CLOCK + timedelta(seconds=4))
        assert found.end == CLOCK + timedelta(seconds=4 + 96)
        assert {item.step_s for item in answer.observations} == {2.0}

    async def test_the_trace_goes_round(self) -> None:
        """After its last hour comes its first: a demo may run for longer than a year."""
        days = trace(hours=8 * 24)
        at = replay(hours_in=8 * 24 - 1)
        [found] = (await provider(days, at, ForecastModel.PERFECT).fetch(["DE"], CLOCK)).forecasts
        assert found.values[:2] == (days.zones["DE"][-1], days.zones["DE"][0])

    async def test_a_signal_without_a_trace_is_left_out(self) -> None:
        """An average-only grid takes part when average steers."""
        both = TraceProvider(
            {Signal.AVERAGE: trace(zones=("DE", "SE")), Signal.MARGINAL: trace()}, replay()
        )
        answer = await both.fetch(["DE", "SE"], CLOCK)
        assert [(item.zone, item.signal) for item in answer.forecasts] == [
            ("DE", Signal.AVERAGE),
            ("SE", Signal.AVERAGE),
            ("DE", Signal.MARGINAL),
        ]


ROWS = ("time,DE,SE-SE3", "2022-01-01T00:00Z,216.56,26.3", "2022-01-01T01:00Z,217.0,26.28")


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


class TestFiles:
    def test_a_csv_of_other_years_and_zones(self, tmp_path: Path) -> None:
        """``time`` and one column a zone, in whatever order, plain or gzipped."""
        plain = read_trace(write(tmp_path / "t.csv", *ROWS))
        assert plain.start == datetime(2022, 1, 1, tzinfo=UTC)
        assert plain.steps == 2
        assert {zone: list(values) for zone, values in plain.zones.items()} == {
            "DE": [216.56, 217.0],
            "SE-SE3": [26.3, 26.28],
        }
        zipped = tmp_path / "t.csv.gz"
        zipped.write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
        assert read_trace(zipped).zones["DE"][1] == 217.0

    @pytest.mark.parametrize("signal", Signal)
    def test_the_shipped_trace_is_a_year_of_hours(self, signal: Signal) -> None:
        """Of at least ten grids; a week of history stands before any hour in it."""
        shipped = read_trace(SHIPPED_FILES[signal])
        assert shipped.start == TRACE_START
        assert shipped.steps == 8760 > HISTORY_HOURS
        assert len(shipped.zones) >= 10

    @pytest.mark.parametrize(
        ("rows", "line", "told"),
        [
            ((), 1, "the header must be"),
            (("when,DE",), 1, "the header must be"),
            (("time",), 1, "the header must be"),
            (("time,DE,DE", "2022-01-01T00:00Z,1,2"), 1, "the header must be"),
            (("time,DE",), 2, "at least one row"),
            (("time,DE", "2022-01-01T00:00,1"), 2, "no time with a zone"),
            (("time,DE", "yesterday,1"), 2, "yesterday"),
            (("time,DE", "2022-01-01T00:00Z,"), 2, "could not convert"),
            (("time,DE", "2022-01-01T00:00Z,nan"), 2, "nan is no carbon intensity"),
            (("time,DE", "2022-01-01T00:00Z,inf"), 2, "inf is no carbon intensity"),
            (("time,DE", "2022-01-01T00:00Z,-4"), 2, "-4 is no carbon intensity"),
            (("time,DE", "2022-01-01T00:00Z"), 2, "2 cells are expected"),
            ((*ROWS, "2022-01-01T03:00Z,1,2"), 4, "each row is 1:00:00 after"),
            ((*ROWS, "2022-01-01T01:00Z,1,2"), 4, "each row is 1:00:00 after"),
            ((*ROWS, "2022-01-01T02:00Z,1"), 4, "3 cells are expected"),
            ((*ROWS, "2022-01-01T02:00,1,2"), 4, "no time with a zone"),
            (("time,DE", "2022-01-01T00:00Z,1", "2022-01-01T00:01Z,1"), 3, "from 5 minutes"),
            (("time,DE", "2022-01-01T00:00Z,1", "2022-01-01T02:00Z,1"), 3, "from 5 minutes"),
            (("time,DE", "2022-01-01T00:00Z,1", "2022-01-01T00:07Z,1"), 3, "divides the hour"),
            (("time,DE", "2022-01-01T00:00Z," + "1" * 200_000), 2, "field larger"),
            ((*ROWS, ""), 4, "Invalid isoformat"),
        ],
    )
    def test_a_bad_file_is_told_by_file_and_line(
        self, tmp_path: Path, rows: tuple[str, ...], line: int, told: str
    ) -> None:
        """A trace is never read in part."""
        file = write(tmp_path / "bad.csv", *rows)
        with pytest.raises(TraceUnreadable, match=rf"bad.csv, line {line}: .*{told}"):
            read_trace(file)

    @pytest.mark.parametrize(
        "content", [b"\x80\x81", gzip.compress(b"time,DE\n", mtime=0)[:-4], b""]
    )
    def test_what_is_no_such_file_is_told(self, tmp_path: Path, content: bytes) -> None:
        """Another format, or one that is cut off."""
        file = tmp_path / "bad.csv.gz"
        file.write_bytes(content)
        with pytest.raises(TraceUnreadable, match=r"bad\.csv\.gz, line"):
            read_trace(file)
        with pytest.raises(TraceUnreadable, match="No such file"):
            read_trace(tmp_path / "absent.csv")

    def test_a_window_goes_round_at_either_end(self) -> None:
        """It is as long as asked, from any hour on."""
        found = replace(trace(), zones={"DE": np.arange(10.0)})
        assert list(found.window("DE", -2, 4)) == [8, 9, 0, 1]
        assert list(found.window("DE", 12, 2)) == [2, 3]
