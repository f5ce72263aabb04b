"""Cases for the backtest's benchmarks, read as ``lowtide backtest`` reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from activities.carbon.trace import SHIPPED_FILES
from domain.backtest.build import Tables, build_case
from domain.backtest.case import Case
from domain.backtest.scenario import parse_scenario
from domain.forecast import Signal
from workers.settings import POLICIES

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "backtests"
WORLD_2022 = "carbon-intensity-2022h1.csv"
_SHIPPED = {f"shipped-{signal.value}": SHIPPED_FILES[signal] for signal in Signal}


def data_folder() -> Path | None:
    """Where ``carbon-intensity-2022h1.csv`` lies, as ``LOWTIDE_BENCH_DATA`` names it."""
    folder = Path(os.environ.get("LOWTIDE_BENCH_DATA", EXAMPLES))
    return folder if (folder / WORLD_2022).exists() else None


def case_of(fields: dict[str, Any], folder: Path = EXAMPLES) -> Case:
    """A case of a scenario's fields; files are looked for in ``folder``."""
    return _built(yaml.safe_dump(fields), folder)


def example(name: str, *, traces: Sequence[str] = (), sets: Sequence[str] = ()) -> Case:
    """A case of a scenario that ships, with what overrides it."""
    return _built((EXAMPLES / f"{name}.yaml").read_text(), EXAMPLES, traces, sets)


def _built(text: str, folder: Path, traces: Sequence[str] = (), sets: Sequence[str] = ()) -> Case:
    scenario = parse_scenario(text, traces=traces, sets=sets)
    tables = Tables(*((POLICIES / f"{name}.csv").read_text() for name in TABLES))
    return build_case(scenario, lambda path: _SHIPPED.get(path, folder / path).read_bytes(), tables)


TABLES = ("regions", "prices", "egress")
