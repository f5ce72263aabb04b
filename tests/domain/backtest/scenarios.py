"""Small scenarios on small grids, for the tests of a backtest's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.backtest.build import Tables, build_case
from domain.backtest.case import Case
from domain.backtest.scenario import parse_scenario

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "backtests"
SHIPPED = ROOT / "activities" / "carbon" / "traces"
TABLES = Tables(
    *((ROOT / "policies" / f"{name}.csv").read_text() for name in ("regions", "prices", "egress"))
)
START = datetime(2022, 1, 1, tzinfo=UTC)

TEXT = """
name: small
traces: {average: average.csv, marginal: marginal.csv}
period: 2022-01-10/2022-01-15
regions:
  aws:eu-central-1: {spot_vcpus: 100, on_demand_vcpus: unlimited}
  aws:eu-west-3: {on_demand_vcpus: 50}
residency:
  eu: {countries: [DE, FR]}
  germany: {countries: [DE]}
weights: {carbon: 1.0, cost: 0.0}
forecast: persistence
policies: [run-at-once, lowtide]
seed: 7
jobs:
  generate:
    jobs: 20
    runtime: 2h
    slack: 24h
    vcpus: 4
    residency: eu
    home_region: aws:eu-central-1
"""


def trace_csv(
    zones: Sequence[str],
    *,
    start: datetime = START,
    hours: int = 24 * 20,
    step: timedelta = timedelta(hours=1),
    tilt: float = 1.0,
) -> bytes:
    """A grid whose zones differ: zone k is ``100 k`` plus an hour of day times ``tilt``."""
    lines = [",".join(("time", *zones))]
    for number in range(int(timedelta(hours=hours) / step)):
        at = start + number * step
        cells = (f"{100 * (place + 1) + tilt * at.hour:g}" for place in range(len(zones)))
        lines.append(",".join((f"{at:%Y-%m-%dT%H:%MZ}", *cells)))
    return "\n".join(lines).encode()


FILES: Mapping[str, bytes] = {
    "average.csv": trace_csv(("DE", "FR", "ES")),
    "marginal.csv": trace_csv(("FR", "DE"), tilt=-2),
}


def case(
    text: str = TEXT,
    *,
    files: Mapping[str, bytes] | None = None,
    traces: Sequence[str] = (),
    period: str | None = None,
    sets: Sequence[str] = (),
) -> Case:
    """A scenario's case, over files that are here, in the examples or shipped."""

    def read(path: str) -> bytes:
        known = {**FILES, **(files or {})}
        if path in known:
            return known[path]
        if path.startswith("shipped-"):
            return (SHIPPED / f"europe-2019-{path.removeprefix('shipped-')}.csv.gz").read_bytes()
        return (EXAMPLES / path).read_bytes()

    scenario = parse_scenario(text, traces=traces, period=period, sets=sets)
    return build_case(scenario, read, TABLES)
