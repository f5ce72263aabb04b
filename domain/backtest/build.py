"""From a scenario and the files that it names to a ``Case``, everything checked.

Pure: whoever calls reads the files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from domain.backtest.case import Case, ForecastModel
from domain.backtest.forecasts import Noisy, Perfect, Persistence
from domain.backtest.generator import generate
from domain.backtest.grid import Grid, grid_of
from domain.backtest.issued import parse_issued
from domain.backtest.job import BacktestJob
from domain.backtest.scenario import Scenario
from domain.backtest.stream import Frame, parse_stream
from domain.capacity import CapacityType
from domain.errors import InvalidInput, InvalidPolicy, InvalidScenario, Problem
from domain.forecast import Signal
from domain.policy import Policy, parse_policy
from domain.prices import PriceTable, parse_prices
from domain.regions import RegionCatalogue
from domain.trace import Trace, parse_trace

ReadFile = Callable[[str], bytes]
"""The bytes of a file that a scenario names, or of the shipped trace that ``shipped-average`` or
``shipped-marginal`` stands for. Raises ``OSError``."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The texts of the shipped catalogue and price tables, which scenarios start from."""

    regions: str
    prices: str
    egress: str


def build_case(scenario: Scenario, read: ReadFile, tables: Tables) -> Case:
    """Read what a scenario names and check that it fits together.

    Args:
        scenario: as ``parse_scenario`` made it.
        read: gives the bytes of a file by the path that the scenario has.
        tables: what scenarios start from.

    Raises:
        InvalidScenario: with field, value and what is allowed.
        TraceUnreadable: naming the file and the line.
    """
    try:
        return _case(scenario, read, tables)
    except InvalidInput as error:
        raise InvalidScenario((error.problem,)) from None
    except InvalidPolicy as error:
        raise InvalidScenario(error.problems) from None


def _case(scenario: Scenario, read: ReadFile, tables: Tables) -> Case:
    def read_trace(signal: Signal) -> Trace:
        file = scenario.traces.of(signal)
        return parse_trace(file, _content(read, f"traces.{signal}", file))

    grid = grid_of(scenario, read_trace, tables.regions)
    forecasts = _forecasts(scenario, grid, read)
    policy = _policy(scenario, grid.catalogue, forecasts)
    jobs = _jobs(scenario, grid, policy, read)
    case = Case(
        name=scenario.name,
        start=scenario.period.start,
        end=scenario.period.end,
        truth=grid.truth,
        published_means=grid.published_means,
        published_zones=grid.published_zones,
        jobs=jobs,
        policy=policy,
        prices=_prices(scenario, tables),
        catalogue=grid.catalogue,
        forecasts=forecasts,
        rules=scenario.policies,
        seed=scenario.seed,
        horizon=scenario.horizon,
    )
    _check_deadlines(case)
    return case


def _content(read: ReadFile, field: str, file: str) -> bytes:
    try:
        return read(file)
    except OSError as error:
        _refuse(field, file, f"a file that can be read ({error.strerror or error})")


def _forecasts(scenario: Scenario, grid: Grid, read: ReadFile) -> ForecastModel:
    """The model, of the signal that steers, and of the other one where it is asked for."""
    steering, horizon = scenario.steering_signal, scenario.horizon
    if (file := scenario.forecast_file) is not None:
        if scenario.no_harm:
            told = "false with issued forecasts, which tell of the steering signal alone"
            _refuse("no_harm", "true", told)
        content = _content(read, "forecast", file)
        return parse_issued(file, content, steering, grid.truth[steering].zones, horizon)
    signals = (steering, steering.other) if scenario.no_harm else (steering,)
    truth = {signal: grid.truth[signal] for signal in signals}
    if scenario.sigma is not None:
        return Noisy(truth, horizon, scenario.sigma, scenario.seed)
    model = Perfect if scenario.forecast == "perfect" else Persistence
    return model(truth, horizon)


def _policy(scenario: Scenario, catalogue: RegionCatalogue, forecasts: ForecastModel) -> Policy:
    """What the scenario says of placement, as a policy. Raises ``InvalidPolicy``."""
    same = {"weights", "residency", "look_again", "job_classes", "no_harm", "max_usd_per_vcpu_hour"}
    same |= {"steering_signal", "start_up", "safety_margin"}
    data = scenario.model_dump(mode="json", include=same)
    data["version"] = scenario.name
    data["regions"] = {
        region: {kind.value: {"vcpus": vcpus} for kind, vcpus in spec.rooms.items()}
        for region, spec in scenario.regions.items()
    }
    data["forecast_max_age"] = forecasts.max_age.total_seconds()
    data["wake_jitter"] = 0
    return parse_policy(json.dumps(data), catalogue)


def _prices(scenario: Scenario, tables: Tables) -> PriceTable:
    """The shipped prices of the scenario's regions, with its own in their place."""
    shipped = parse_prices(tables.prices, tables.egress)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(("region", "capacity_type", *_PRICES))
    for region, spec in sorted(scenario.regions.items()):
        for kind in spec.rooms:
            known = shipped.compute.get((region, kind))
            own = {
                "usd_per_vcpu_hour": spec.usd_per_vcpu_hour.get(kind),
                "usd_per_gib_hour": spec.usd_per_gib_hour.get(kind),
                "usd_per_gpu_hour": None if known else 0.0,
                "reclaims_per_hour": spec.reclaims_per_hour if kind is CapacityType.SPOT else 0.0,
            }
            for column, value in own.items():
                if value is None and known is None:
                    told = f"a value for {kind.value}: the shipped prices have none of this region"
                    _refuse(f"regions.{region}.{column}", "nothing", told)
            cells = (
                getattr(known, column) if value is None else value for column, value in own.items()
            )
            writer.writerow((region, kind.value, *map(repr, cells)))
    text = f"# version: {shipped.version}, as {scenario.name} has it\n{written.getvalue()}"
    return parse_prices(text, tables.egress)


_PRICES = ("usd_per_vcpu_hour", "usd_per_gib_hour", "usd_per_gpu_hour", "reclaims_per_hour")


def _jobs(scenario: Scenario, grid: Grid, policy: Policy, read: ReadFile) -> Sequence[BacktestJob]:
    frame = Frame(
        start=scenario.period.start,
        end=scenario.period.end,
        legal={name: policy.legal_regions(name, grid.catalogue) for name in policy.residency},
        start_up=scenario.start_up,
        safety_margin=scenario.safety_margin,
        interruptible=scenario.interruptible,
    )
    if scenario.jobs.csv is not None:
        content = _content(read, "jobs.csv", scenario.jobs.csv)
        return parse_stream(scenario.jobs.csv, content, frame)
    spec = scenario.jobs.generate
    assert spec is not None  # noqa: S101 - the model takes one of both
    field = "jobs.generate"
    for residency in spec.residency:
        if residency not in frame.legal:
            _refuse(f"{field}.residency", residency, f"one of {', '.join(sorted(frame.legal))}")
        if not spec.homes(residency, frame):
            told = f"one that residency '{residency}' allows: {', '.join(frame.legal[residency])}"
            _refuse(f"{field}.home_region", ", ".join(spec.home_region), told)
    for region in spec.home_region:
        if not any(region in frame.legal[residency] for residency in spec.residency):
            told = f"a region that one of {', '.join(spec.residency)} allows"
            _refuse(f"{field}.home_region", region, told)
    step_s = grid.truth[scenario.steering_signal].step_s
    return generate(spec, frame, step_s, scenario.seed)


def _check_deadlines(case: Case) -> None:
    """What runs until a deadline must be known until then."""
    last = max(case.jobs, key=lambda job: job.deadline)
    over = last.deadline - case.trace_end
    if over.total_seconds() > 0:
        _refuse(
            "period",
            f"ending {case.end:%Y-%m-%dT%H:%MZ}",
            f"an end at least {over} earlier, or less slack: a job submitted"
            f" {last.submitted:%Y-%m-%dT%H:%MZ} has until {last.deadline:%Y-%m-%dT%H:%MZ},"
            f" and the traces end {case.trace_end:%Y-%m-%dT%H:%MZ}",
        )


def _refuse(field: str, value: str, allowed: str) -> NoReturn:
    raise InvalidScenario((Problem(field, value, allowed),))
