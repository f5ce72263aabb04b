"""Cases made by hand: few hours, plain figures, and what became of each job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from domain.backtest.case import Case, ForecastModel, RuleName
from domain.backtest.forecasts import Perfect
from domain.backtest.job import BacktestJob
from domain.backtest.rules import rule_of
from domain.backtest.simulation import Simulation
from domain.backtest.truth import Runs
from domain.forecast import Forecast, Signal
from domain.policy import ResidencyClass
from domain.room import Place
from domain.trace import Trace
from tests.domain import hand_made
from tests.domain.hand_made import FRANCE, GERMANY, HOUR, SWEDEN

START = datetime(2026, 3, 2, tzinfo=UTC)
ZONES = {"DE": GERMANY, "FR": FRANCE, "SE-SE3": SWEDEN}
HORIZON = 48 * HOUR

Grid = Mapping[str, Sequence[float]]


def trace(grid: Grid, step: timedelta = HOUR) -> Trace:
    return Trace(
        START,
        {zone: np.asarray(values, dtype=np.float64) for zone, values in grid.items()},
        step.total_seconds(),
    )


def job(number: int, hour: float, runtime_h: float, slack_h: float, **fields) -> BacktestJob:
    """One that may start up to ``slack_h`` after its submission, ``hour`` hours from the start."""
    submitted, p95_h = START + hour * HOUR, fields.pop("p95_h", runtime_h)
    plain = {
        "vcpus": 4.0,
        "memory_gib": 16.0,
        "residency": "eu",
        "home_region": GERMANY,
        "deadline": submitted + (slack_h + p95_h) * HOUR,
    }
    return BacktestJob(
        number=number,
        submitted=submitted,
        runtime_s=runtime_h * 3600,
        p95_s=p95_h * 3600,
        **{**plain, **fields},
    )


def case(
    grid: Grid,
    *jobs: BacktestJob,
    marginal: Grid | None = None,
    forecasts: ForecastModel | None = None,
    seed: int = 1,
    **world,
) -> Case:
    """By average carbon alone, without start-up and margin, unless told otherwise."""
    average = trace(grid)
    truth = {Signal.AVERAGE: average, Signal.MARGINAL: trace(marginal or grid)}
    regions = tuple(region for zone, region in ZONES.items() if zone in grid)
    made = hand_made.world(
        **{
            "regions": regions,
            "forecast_max_age": 2 * HOUR,
            "residency": {
                "eu": ResidencyClass(countries=("DE", "SE", "FR")),
                "abroad": ResidencyClass(countries=("SE", "FR")),
            },
            **world,
        }
    )
    return Case(
        name="small",
        start=START,
        end=average.end,
        truth=truth,
        published_means=frozenset(),
        jobs=jobs,
        policy=made.policy,
        prices=made.prices,
        catalogue=replace(
            made.catalogue,
            regions={
                region: replace(
                    made.catalogue.get(region),
                    marginal_zone=None,
                    average_annual_g_per_kwh=float(np.mean(grid[zone])),
                    marginal_annual_g_per_kwh=float(np.mean((marginal or grid)[zone])),
                )
                for zone, region in ZONES.items()
                if zone in grid
            },
        ),
        forecasts=forecasts or Perfect({Signal.AVERAGE: average}, HORIZON),
        rules=(),
        seed=seed,
        horizon=HORIZON,
    )


class Told:
    """Forecasts as a test has them: each grid stands from its hour on."""

    name = "told"
    max_age = HORIZON

    def __init__(self, *issues: tuple[int, Grid]) -> None:
        self._issues = {
            hour: tuple(
                Forecast(
                    *(zone, Signal.AVERAGE, "told", "told", START + hour * HOUR),
                    *(START + hour * HOUR, 3600.0, tuple(map(float, values))),
                )
                for zone, values in grid.items()
            )
            for hour, grid in issues
        }

    def issue(self, now: datetime) -> tuple[Forecast, ...]:
        newest = max(hour for hour in self._issues if START + hour * HOUR <= now)
        return self._issues[newest]


def runs_under(made: Case, rule: RuleName) -> dict[Place, Runs]:
    """What ran where and when."""
    simulation = Simulation(made, rule_of(made, rule))
    simulation.run()
    return simulation.runs.by_place()


def hours_under(made: Case, rule: RuleName) -> list[tuple[str, float, float]]:
    """Region, begin and end of each run in hours from the start, in order."""
    return sorted(
        (
            (region, _hour(begin_s), _hour(end_s))
            for (region, _), runs in runs_under(made, rule).items()
            for begin_s, end_s in zip(runs.begins_s, runs.ends_s, strict=True)
        ),
        key=lambda run: run[1:],
    )


def _hour(instant_s: float) -> float:
    """``START`` is a midnight, as is a log's origin."""
    return float(instant_s / 3600)
