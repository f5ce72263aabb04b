"""Settlement by hand: a run of 10 vCPUs and no memory to speak of, in three invented regions.

Power is 10 x 2.12 W = 21.2 W (memory: 0.001 GiB, left out below by a tolerance of 1e-4).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.energy import METHODOLOGY
from domain.forecast import Observation, Signal
from domain.job import Cell, Counterfactual, Estimate, RunReport, RunState
from domain.manifest import JobManifest, parse_manifest
from domain.messages import AttemptRecord
from domain.policy import Policy, RegionPolicy, RoomLimit
from domain.prices import parse_prices
from domain.regions import parse_catalogue
from domain.settlement import (
    MARKET_BASIS,
    Accounting,
    NotYetPublished,
    Observed,
    Settlement,
    Stretch,
    mean_intensity,
    observed_from,
    settle,
)

START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOME, CLEAN, DARK = "aws:home", "aws:clean", "aws:dark"
SPOT = CapacityType.SPOT

CATALOGUE = parse_catalogue(
    "# version: t\n"
    "id,location,country,latitude,longitude,grid_zone,watttime_region,pue,"
    "average_annual_g_per_kwh,marginal_annual_g_per_kwh,annual_year\n"
    "aws:home,Home,XX,,,H,,1.5,,,\naws:clean,Clean,XX,,,C,,1.0,,,\naws:dark,Dark,XX,,,D,,1.2,,,\n"
)
PRICES = parse_prices(
    "# version: t\nregion,capacity_type,usd_per_vcpu_hour,usd_per_gib_hour,usd_per_gpu_hour,"
    "reclaims_per_hour\naws:home,spot,0.02,0,0,0.1\naws:home,on_demand,0.05,0,0,0\n"
    "aws:clean,spot,0.01,0,0,0.1\naws:clean,on_demand,0.04,0,0,0\naws:dark,spot,0.01,0,0,0.1\n",
    "# version: t\nsource_region,destination_region,usd_per_gib\naws:*,aws:*,0.03\n",
)
POLICY = Policy.model_validate(
    {
        "version": "t",
        "weights": {"carbon": 1, "cost": 0},
        "steering_signal": "average",
        "residency": {},
        "regions": {},
    }
)
PINNED = RegionPolicy(spot=RoomLimit(vcpus=1), cpu_families=("m6g",))
PUBLISHED = frozenset(
    {("H", signal) for signal in Signal} | {("C", signal) for signal in Signal}
) | {("D", Signal.AVERAGE)}

LEVELS = {
    ("H", Signal.AVERAGE): 400.0,
    ("H", Signal.MARGINAL): 700.0,
    ("C", Signal.AVERAGE): 20.0,
    ("C", Signal.MARGINAL): 800.0,
    ("D", Signal.AVERAGE): 100.0,
}


def observe(hours: int = 48, **levels: Sequence[float]) -> Observed:
    """Hourly observations from START on; ``H_average=[...]`` gives a zone's own figures."""
    series = {}
    for (zone, signal), level in LEVELS.items():
        values = levels.get(f"{zone}_{signal}", [level] * hours)
        series[zone, signal] = [
            Observation(zone, signal, START + n * HOUR, 3600.0, value, "test")
            for n, value in enumerate(values)
        ]
    return observed_from(series)


def manifest(**fields: object) -> JobManifest:
    return parse_manifest(
        {
            "name": "x",
            "image": "x",
            "resources": {"vcpus": 10, "memory_gib": 0.001},
            "deadline": START + 24 * HOUR,
            "runtime": "1h",
            "p95_runtime": "2h",
            "max_runtime": "3h",
            "residency": "any",
            "home_region": HOME,
            **fields,
        }
    )


def attempt(
    region: str = CLEAN,
    start: float = 5,
    hours: float = 1,
    ends: RunState = RunState.SUCCEEDED,
    number: int = 1,
    exit_code: int | None = None,
) -> AttemptRecord:
    begin = START + start * HOUR
    return AttemptRecord(
        attempt=number,
        cell=Cell(region=region, capacity_type=SPOT, start=begin),
        submitted_at=begin,
        report=RunReport(
            run=f"x-a{number}",
            region=region,
            workflow_id="job-default-x",
            state=ends,
            started_at=begin,
            ended_at=begin + hours * HOUR,
            exit_code=exit_code,
        ),
    )


def never_began() -> AttemptRecord:
    record = attempt(ends=RunState.TERMINATED)
    report = record.report.model_copy(update={"started_at": None})
    return record.model_copy(update={"report": report})


def books(
    *attempts: AttemptRecord,
    observed: Observed | None = None,
    time_scale: float = 1.0,
    policy: Policy = POLICY,
    **fields: object,
) -> Settlement:
    nothing = Estimate(energy_kwh=0, average_carbon_g=0, marginal_carbon_g=0, cost_usd=0)
    return settle(
        manifest(**fields),
        attempts,
        Counterfactual(cell=Cell(region=HOME, capacity_type=SPOT, start=START), estimate=nothing),
        Accounting(CATALOGUE, PRICES, METHODOLOGY, policy, time_scale, PUBLISHED),
        observed or observe(),
    )


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-4)


class TestByHand:
    def test_one_run_in_a_cleaner_region(self) -> None:
        """An hour: 0.0212 kWh at PUE 1.0 against 0.0318 kWh at home's 1.5.

        Average: 0.0212 x 20 = 0.424 g against 0.0318 x 400 = 12.72 g; marginal: 16.96 g against
        22.26 g; embodied: 10 x 0.5 = 5 g in both; $0.10 against $0.20.
        """
        settled = books(attempt())
        actual, counterfactual = settled.actual, settled.counterfactual
        assert (actual.energy_kwh, counterfactual.energy_kwh) == (near(0.0212), near(0.0318))
        assert (actual.average_carbon_g, counterfactual.average_carbon_g) == (
            near(0.424),
            near(12.72),
        )
        assert (actual.marginal_carbon_g, counterfactual.marginal_carbon_g) == (
            near(16.96),
            near(22.26),
        )
        assert actual.embodied_carbon_g == counterfactual.embodied_carbon_g == near(5.0)
        assert (actual.cost_usd, counterfactual.cost_usd) == (near(0.1), near(0.2))

    def test_the_three_books_stand_apart(self) -> None:
        """Each inventory holds its own emissions; only the impact is a difference, by marginal."""
        told = books(attempt()).as_json()["books"]
        assert told == {
            "inventory_location_based": {"operational_g": near(0.424), "embodied_g": near(5.0)},
            "inventory_market_based": {"operational_g": near(0.424), "basis": MARKET_BASIS},
            "impact": {
                "actual_g": near(16.96),
                "counterfactual_g": near(22.26),
                "avoided_g": near(5.3),
            },
        }

    def test_avoided_may_be_negative(self) -> None:
        """Cleaner by average and worse by the next kWh: the impact book says so."""
        dear = observe(C_marginal=[1500.0] * 48)
        told = books(attempt(), observed=dear).as_json()
        assert told["books"]["impact"]["avoided_g"] == near(22.26 - 0.0212 * 1500)
        assert told["actual"]["average_carbon_g"] < told["counterfactual"]["average_carbon_g"]

    def test_each_hour_counts_at_its_own_intensity(self) -> None:
        """Half an hour at 20 g, an hour at 200 g."""
        changing = observe(C_average=[0.0] * 5 + [20.0, 200.0] + [0.0] * 41)
        settled = books(attempt(start=5.5, hours=1.5), observed=changing)
        assert settled.actual.average_carbon_g == near(0.0212 * (0.5 * 20 + 1.0 * 200))

    def test_a_compressed_trace_accounts_whole_hours(self) -> None:
        """Two seconds that stand for an hour cost an hour, at the intensity of those seconds."""
        seconds = [
            Observation(zone, signal, START + timedelta(seconds=2 * n), 2.0, level, "test")
            for (zone, signal), level in LEVELS.items()
            for n in range(50)
        ]
        series: dict[tuple[str, Signal], list[Observation]] = {}
        for point in seconds:
            series.setdefault((point.zone, point.signal), []).append(point)
        settled = books(
            attempt(start=10 / 3600, hours=2 / 3600),
            observed=observed_from(series),
            time_scale=1800.0,
        )
        assert settled.actual == books(attempt()).actual


class TestWhatIsCharged:
    def test_reclaimed_work_is_charged_to_the_actual_side_only(self) -> None:
        """Half an hour lost in the dark region; the counterfactual runs undisturbed."""
        settled = books(attempt(DARK, 3, 0.5, RunState.RECLAIMED), attempt(CLEAN, 5, 1, number=2))
        assert settled.actual.average_carbon_g == near(0.424 + 0.0212 * 0.5 * 1.2 * 100)
        assert settled.actual.cost_usd == near(0.05 + 0.1)
        assert settled.counterfactual == books(attempt()).counterfactual

    def test_a_run_that_we_stopped_is_charged_too(self) -> None:
        """Cancelled or moved: the machine ran."""
        settled = books(attempt(hours=0.5, ends=RunState.TERMINATED))
        assert settled.actual.cost_usd == near(0.05)
        assert settled.counterfactual.cost_usd == 0
        assert settled.counterfactual.average_carbon_g == 0

    def test_a_failed_program_would_have_failed_at_home_too(self) -> None:
        """Its runs count on both sides."""
        settled = books(attempt(ends=RunState.FAILED), attempt(start=7, number=2))
        assert settled.counterfactual.cost_usd == near(0.4)

    def test_a_run_that_never_began_costs_nothing(self) -> None:
        """It was submitted, and no machine took it."""
        settled = books(never_began())
        assert settled.actual.energy_kwh == settled.actual.cost_usd == 0

    def test_the_counterfactual_is_at_home_at_submission(self) -> None:
        """It takes the hour of submission, not the hour that Lowtide waited for."""
        home = observe(H_average=[500.0] + [1.0] * 47)
        settled = books(attempt(HOME, start=5), observed=home)
        assert settled.counterfactual.average_carbon_g == near(0.0318 * 500)
        assert settled.actual.average_carbon_g == near(0.0318 * 1)

    @given(st.floats(0.1, 3.9))
    def test_a_run_cut_in_two_costs_the_same(self, cut: float) -> None:
        """Energy, carbon and cost add up over stretches."""
        changing = observe(C_average=[float(n * 37 % 100) for n in range(48)])
        whole = books(attempt(hours=4), observed=changing).actual
        parts = books(
            attempt(hours=cut), attempt(start=5 + cut, hours=4 - cut, number=2), observed=changing
        ).actual
        assert parts.average_carbon_g == pytest.approx(whole.average_carbon_g, abs=1e-6)
        assert parts.cost_usd == pytest.approx(whole.cost_usd, abs=1e-9)


class TestUnconfirmed:
    def test_a_run_that_may_live_is_charged_as_long_as_it_may(self) -> None:
        """Its region was out of reach: from its submission to its ``max_runtime``."""
        lost = attempt(region=DARK).model_copy(update={"unconfirmed": True})
        silent = lost.report.model_copy(
            update={"state": RunState.UNKNOWN, "started_at": None, "ended_at": None}
        )
        lost = lost.model_copy(update={"report": silent})
        ran = attempt(CLEAN, 5, 1, number=2)
        longest = attempt(DARK, 0, manifest().max_runtime / HOUR, RunState.RECLAIMED)
        assert books(lost, ran).actual == books(longest, ran).actual
        assert books(lost, ran).counterfactual == books(ran).counterfactual


class TestMachines:
    def test_the_machine_that_it_ran_on_counts_on_both_sides(self) -> None:
        """An Arm machine draws half of the mean; at home it would have been one too."""
        ran, mean = attempt(region=CLEAN), books(attempt(region=CLEAN))
        on_arm = ran.model_copy(
            update={"report": ran.report.model_copy(update={"machine": "m6g.xlarge"})}
        )
        arm = books(on_arm)
        share = METHODOLOGY.vcpu_w(["m6g"]) / METHODOLOGY.vcpu_w()
        assert share < 0.6
        for side in ("actual", "counterfactual"):
            cpu_alone = getattr(arm, side).energy_kwh / getattr(mean, side).energy_kwh
            assert cpu_alone < 1
        assert arm.actual.energy_kwh / arm.counterfactual.energy_kwh == pytest.approx(
            mean.actual.energy_kwh / mean.counterfactual.energy_kwh
        )

    def test_pinned_pools_count_where_the_machine_is_not_told(self) -> None:
        """By the families that policy names for the region."""
        ran = attempt(region=DARK)
        told = ran.model_copy(
            update={"report": ran.report.model_copy(update={"machine": "m6g.xlarge"})}
        )
        pinned = POLICY.model_copy(update={"regions": {DARK: PINNED}})
        assert books(ran, policy=pinned).actual.energy_kwh == books(told).actual.energy_kwh
        assert books(ran, policy=pinned).actual.energy_kwh < books(ran).actual.energy_kwh


class TestInputs:
    INPUTS = ({"uri": "s3://x", "region": HOME, "gib": 50},)

    def test_moving_inputs_costs_energy_carbon_and_egress(self) -> None:
        """50 GiB are 53.7 GB: 0.537 kWh at both ends' mean, 210 g/kWh, and 50 x $0.03."""
        settled = books(attempt(), inputs=self.INPUTS)
        assert settled.actual.energy_kwh == near(0.0212 + 0.536870912)
        assert settled.actual.average_carbon_g == near(0.424 + 0.536870912 * 210)
        assert settled.actual.cost_usd == near(0.1 + 1.5)

    def test_at_home_nothing_moves(self) -> None:
        """The counterfactual reads its inputs where they lie."""
        assert (
            books(attempt(), inputs=self.INPUTS).counterfactual == books(attempt()).counterfactual
        )

    def test_every_run_fetches_them_again(self) -> None:
        """A reclaimed machine takes its copy with it."""
        settled = books(
            attempt(hours=0.5, ends=RunState.RECLAIMED),
            attempt(start=7, number=2),
            inputs=self.INPUTS,
        )
        assert settled.actual.cost_usd == near(0.15 + 2 * 1.5)

    def test_an_end_without_the_signal_takes_the_other_ends(self) -> None:
        """Inputs in a zone without a marginal signal are moved at the run's own."""
        inputs = ({"uri": "s3://x", "region": DARK, "gib": 50},)
        settled = books(attempt(), inputs=inputs)
        assert settled.actual.marginal_carbon_g == near(16.96 + 0.536870912 * 800)


class TestWhatIsNotKnown:
    def test_a_zone_without_a_signal_leaves_the_figure_open(self) -> None:
        """Unknown is not zero: the whole sum is open, and so is the difference."""
        told = books(attempt(DARK, 3, 0.5, RunState.RECLAIMED), attempt(number=2)).as_json()
        assert told["actual"]["marginal_carbon_g"] is None
        assert told["actual"]["average_carbon_g"] is not None
        assert told["books"]["impact"]["avoided_g"] is None
        assert told["books"]["impact"]["counterfactual_g"] == near(22.26)

    def test_an_hour_that_is_not_published_yet_waits(self) -> None:
        """On either side, and a run's last minute is enough."""
        with pytest.raises(NotYetPublished, match="C"):
            books(attempt(start=5, hours=1.01), observed=observe(hours=6))
        assert books(attempt(start=5, hours=1), observed=observe(hours=6))
        with pytest.raises(NotYetPublished, match="H"):
            books(attempt(start=5, hours=1), observed=observe(H_average=[]))

    def test_a_gap_is_bridged_by_the_mean_of_the_rest(self) -> None:
        """An hour that the provider never published, between two that it did."""
        points = [
            Observation("C", Signal.AVERAGE, START + n * HOUR, 3600.0, value, "test")
            for n, value in ((0, 100.0), (2, 300.0))
        ]
        observed = observed_from({("C", Signal.AVERAGE): points})
        stretch = Stretch(CLEAN, SPOT, START, START + 3 * HOUR)
        assert mean_intensity("C", Signal.AVERAGE, stretch, observed) == near(200.0)
