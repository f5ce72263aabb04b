from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from domain.backtest.case import UNLIMITED_VCPUS, Case, RuleName
from domain.backtest.forecasts import Noisy, Perfect, Persistence
from domain.backtest.issued import Issued
from domain.capacity import CapacityType
from domain.errors import InvalidScenario, TraceUnreadable
from domain.forecast import Signal
from domain.prices import parse_prices
from tests.domain.backtest.scenarios import EXAMPLES, FILES, START, TABLES, TEXT, case, trace_csv

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
DE, FR = "aws:eu-central-1", "aws:eu-west-3"


def edited(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


class TestCase:
    def test_it_holds_what_the_scenario_says(self) -> None:
        """Period, jobs, policies, seed and horizon."""
        made = case()
        assert (made.name, made.seed, made.horizon) == ("small", 7, timedelta(hours=48))
        assert made.start == datetime(2022, 1, 10, tzinfo=UTC)
        assert made.end == datetime(2022, 1, 15, tzinfo=UTC)
        assert made.rules == (RuleName.RUN_AT_ONCE, RuleName.LOWTIDE)
        assert len(made.jobs) == 20
        assert made.trace_end == START + timedelta(days=20)

    def test_its_policy_is_the_scenario_s(self) -> None:
        """Rooms, walls and weights; nothing wakes late, and an issue is fresh until the next."""
        policy = case(sets=("start_up=1m", "no_harm=true", "weights.cost=0.2")).policy
        limit = policy.regions[DE].limit(SPOT)
        assert limit is not None
        assert limit.vcpus == 100
        unlimited = policy.regions[DE].limit(ON_DEMAND)
        assert unlimited is not None
        assert unlimited.vcpus == UNLIMITED_VCPUS
        assert policy.regions[FR].limit(SPOT) is None
        assert policy.weights.cost == 0.2
        assert policy.no_harm
        assert policy.start_up == timedelta(minutes=1)
        assert policy.wake_jitter == timedelta(0)
        assert policy.forecast_max_age == timedelta(hours=2)

    @pytest.mark.parametrize(
        ("forecast", "model"),
        [("perfect", Perfect), ("persistence", Persistence), ("noisy:0.1", Noisy)],
    )
    def test_the_signal_that_steers_is_forecast(self, forecast: str, model: type) -> None:
        """The other one only where no harm is to be done to it."""
        made = case(sets=(f"forecast={forecast}",))
        assert isinstance(made.forecasts, model)
        assert made.forecasts.name == forecast
        assert {item.signal for item in made.forecasts.issue(made.start)} == {Signal.AVERAGE}
        both = case(sets=(f"forecast={forecast}", "no_harm=true")).forecasts
        assert {item.signal for item in both.issue(made.start)} == set(Signal)

    def test_issued_forecasts_are_read(self) -> None:
        """Of the signal that steers; they say nothing of harm."""
        rows = "2022-01-10T00:00Z,DE,2022-01-10T00:00Z,9\n2022-01-10T00:00Z,FR,2022-01-10T00:00Z,8"
        files = {"i.csv": f"issued_at,zone,time,g_per_kwh\n{rows}".encode()}
        made = case(files=files, sets=("forecast='file:i.csv'",))
        assert isinstance(made.forecasts, Issued)
        assert [item.values for item in made.forecasts.issue(made.start)] == [(9.0,), (8.0,)]
        with pytest.raises(InvalidScenario, match="no_harm: true"):
            case(files=files, sets=("forecast='file:i.csv'", "no_harm=true"))


class TestGrid:
    def test_both_signals_are_held_over_the_same_time(self) -> None:
        """In the scenario's zones, each at its own step."""
        late = START + timedelta(days=2)
        step = timedelta(minutes=15)
        files = {"marginal.csv": trace_csv(("DE", "FR", "NL"), start=late, step=step)}
        truth = case(files=files).truth
        assert {signal: trace.step_s for signal, trace in truth.items()} == {
            Signal.AVERAGE: 3600,
            Signal.MARGINAL: 900,
        }
        for trace in truth.values():
            assert (trace.start, trace.end) == (late, START + timedelta(days=20))
            assert set(trace.zones) == {"DE", "FR"}
        assert list(truth[Signal.AVERAGE].zones["FR"][:3]) == [200, 201, 202]

    def test_annual_means_are_those_of_the_whole_traces(self) -> None:
        """Each region's, and its zone is a column of the traces for both signals."""
        made = case()
        region = made.catalogue.get(DE)
        assert region.average_annual_g_per_kwh == pytest.approx(111.5)
        assert region.marginal_annual_g_per_kwh == pytest.approx(200 - 23)
        assert {region.zone(signal) for signal in Signal} == {"DE"}
        assert region.pue == 1.35

    def test_a_region_may_say_its_zone_and_pue(self) -> None:
        """By itself, or by a map of the catalogue's zones."""
        own = case(sets=(f"regions.{DE}.zone=ES", f"regions.{DE}.pue=1.5")).catalogue.get(DE)
        assert (own.grid_zone, own.pue) == ("ES", 1.5)
        assert own.average_annual_g_per_kwh == pytest.approx(311.5)
        assert case(sets=("zone_map.DE=ES",)).catalogue.get(DE).grid_zone == "ES"
        cut = case(sets=("regions.aws:us-east-1={spot_vcpus: 5, zone: ES}",)).catalogue
        assert cut.get("aws:us-east-1").zone(Signal.MARGINAL) == "ES"

    @pytest.mark.parametrize(
        "marginal",
        [
            "annual",
            "another-year.csv",
            "other-zones.csv",
        ],
    )
    def test_published_means_stand_for_a_trace_that_is_not_there(self, marginal: str) -> None:
        """None is named, or the one named tells of another time or other zones; it is said."""
        files = {
            "another-year.csv": trace_csv(("DE", "FR"), start=START - timedelta(days=365)),
            "other-zones.csv": trace_csv(("NL", "PL")),
        }
        made = case(files=files, traces=(f"marginal={marginal}",))
        assert made.published_means == {Signal.MARGINAL}
        assert made.published_zones == frozenset()
        truth = made.truth[Signal.MARGINAL]
        assert set(truth.zones["DE"]) == {731.22}
        assert set(truth.zones["FR"]) == {394.64}
        assert truth.steps == made.truth[Signal.AVERAGE].steps
        assert made.catalogue.get(DE).marginal_annual_g_per_kwh == 731.22

    def test_a_published_mean_stands_for_a_zone_that_a_trace_lacks(self) -> None:
        """In that zone alone, and the case names it."""
        made = case(files={"marginal.csv": trace_csv(("DE", "NL"), tilt=-2)})
        assert made.published_means == frozenset()
        assert made.published_zones == {"FR"}
        zones = made.truth[Signal.MARGINAL].zones
        assert set(zones["FR"]) == {394.64}
        assert len(set(zones["DE"])) == 24
        assert made.catalogue.get(FR).marginal_annual_g_per_kwh == 394.64

    def test_the_marginal_signal_may_steer(self) -> None:
        """Then the average one may be published means."""
        made = case(sets=("steering_signal=marginal", "traces.average=annual"))
        assert made.published_means == {Signal.AVERAGE}
        assert set(made.truth[Signal.AVERAGE].zones["DE"]) == {370.93}
        assert made.forecasts.issue(made.start)[0].signal is Signal.MARGINAL


class TestPrices:
    def test_they_are_the_shipped_ones(self) -> None:
        """Of what the scenario's regions offer."""
        prices, shipped = case().prices, parse_prices(TABLES.prices, TABLES.egress)
        offered = {(DE, SPOT), (DE, ON_DEMAND), (FR, ON_DEMAND)}
        assert prices.compute == {place: shipped.compute[place] for place in offered}
        assert prices.egress == shipped.egress
        assert parse_prices(*prices.source_texts).compute == prices.compute

    def test_a_region_may_have_its_own(self) -> None:
        """By capacity type; what it does not name stays; only Spot is reclaimed."""
        sets = (
            f"regions.{DE}.usd_per_vcpu_hour={{spot: 0.5}}",
            f"regions.{DE}.reclaims_per_hour=0.1",
        )
        prices, shipped = case(sets=sets).prices, case().prices
        assert prices.price(DE, SPOT).usd_per_vcpu_hour == 0.5
        assert prices.price(DE, SPOT).reclaims_per_hour == 0.1
        assert prices.price(DE, SPOT).usd_per_gib_hour == shipped.price(DE, SPOT).usd_per_gib_hour
        assert prices.price(DE, ON_DEMAND) == shipped.price(DE, ON_DEMAND)

    @pytest.mark.parametrize(
        "lacking", ["usd_per_vcpu_hour", "usd_per_gib_hour", "reclaims_per_hour"]
    )
    def test_what_is_not_shipped_must_be_said(self, lacking: str) -> None:
        """All of it: a price that is made up would decide."""
        said = {
            "spot_vcpus": "5",
            "zone": "ES",
            "usd_per_vcpu_hour": "{spot: 0.02}",
            "usd_per_gib_hour": "{spot: 0.002}",
            "reclaims_per_hour": "0.1",
        }
        whole = [f"regions.aws:sa-east-1.{key}={value}" for key, value in said.items()]
        assert case(sets=whole).prices.price("aws:sa-east-1", SPOT).usd_per_vcpu_hour == 0.02
        part = [item for item in whole if lacking not in item]
        with pytest.raises(InvalidScenario, match=rf"sa-east-1\.{lacking}: nothing .*spot"):
            case(sets=part)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["regions.aws:eu-centrl-1={spot_vcpus: 1}"], "regions.aws:eu-centrl-1: .*perhaps"),
        ([f"regions.{DE}.zone=DEU"], f"regions.{DE}.zone: DEU .*average.csv.*perhaps DE"),
        (["regions.aws:eu-west-2={spot_vcpus: 1}"], "regions.aws:eu-west-2.zone: GB"),
        (["zone_map.FR=XX"], f"regions.{FR}.zone: XX"),
        (["traces.average=annual"], "traces.average: annual .*steers"),
        (["traces.average=none.csv"], "traces.average: none.csv .*a file that can be read"),
        (["forecast='file:none.csv'"], "forecast: none.csv .*a file that can be read"),
        (["jobs={csv: none.csv}"], "jobs.csv: none.csv .*a file that can be read"),
        (
            ["period=2021-12-31/2022-01-15"],
            "period: 2021-12-31.*within 2022-01-01T00:00Z/2022-01-21",
        ),
        (["period=2022-01-10/2022-01-22"], "period: .*which average.csv covers"),
        (
            ["period=2022-01-10/2022-01-21"],
            "period: ending .*earlier, or less slack: a job submitted",
        ),
        (["residency.eu.countries=[PL]"], "residency.eu: .*one region that is enabled"),
        (["residency.us={regions: [aws:us-est-1]}"], "aws:us-est-1 .*aws:us-east-1"),
        (["jobs.generate.residency=us"], "jobs.generate.residency: us .*one of eu, germany"),
        (
            ["jobs.generate.residency=germany", f"jobs.generate.home_region={FR}"],
            f"home_region: {FR} .*'germany' allows: {DE}",
        ),
        (
            ["jobs.generate.home_region={aws:eu-central-1: 1, aws:eu-south-2: 1}"],
            "home_region: aws:eu-south-2 .*a region that one of eu allows",
        ),
        (
            ["traces.marginal=annual", "regions.gcp:europe-north2={spot_vcpus: 1, zone: ES}"],
            "regions.gcp:europe-north2: no published annual marginal mean",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(sets: list[str], told: str) -> None:
    """By field and value, with the remedy."""
    with pytest.raises(InvalidScenario, match=told):
        case(sets=sets)


def test_traces_whose_steps_begin_apart_are_refused() -> None:
    """They would be held over different times."""
    apart = trace_csv(("DE", "FR"), start=START + timedelta(minutes=20))
    with pytest.raises(InvalidScenario, match=r"traces\.marginal: marginal\.csv .*begin with"):
        case(files={"marginal.csv": apart})


def test_a_trace_that_cannot_be_read_is_told_by_line() -> None:
    """As everywhere."""
    with pytest.raises(TraceUnreadable, match=r"average\.csv, line 3"):
        case(files={"average.csv": FILES["average.csv"].replace(b"101", b"x", 1)})


def test_a_stream_may_come_from_a_file() -> None:
    """Whose jobs keep within the scenario."""
    header = "submitted,vcpus,memory_gib,runtime_s,p95_s,deadline,residency,home_region"
    row = f"2022-01-10T18:00:00Z,8,32,3600,4000,2022-01-11T18:00:00Z,germany,{DE}"
    made = case(files={"j.csv": f"{header}\n{row}".encode()}, sets=("jobs={csv: j.csv}",))
    assert [(job.vcpus, job.residency) for job in made.jobs] == [(8, "germany")]
    bad = row.replace(DE, FR)
    with pytest.raises(InvalidScenario, match=r"j\.csv, line 2, home_region"):
        case(files={"j.csv": f"{header}\n{bad}".encode()}, sets=("jobs={csv: j.csv}",))


def example(name: str, *sets: str) -> Case:
    """A shipped scenario; files that are not shipped are stood in for by small ones."""
    world = ("AU-NSW", "BR-CS", "DE", "GB", "JP-TK", "US-CAL-CISO", "US-MIDA-PJM", "ZA")
    files = {
        "carbon-intensity-2022h1.csv": trace_csv(world, hours=181 * 24),
        "moer.csv": trace_csv(
            ("PGE", "SCE"), start=datetime(2021, 5, 1, tzinfo=UTC), hours=31 * 24
        ),
        "moer-forecasts.csv": b"issued_at,zone,time,g_per_kwh\n"
        b"2021-05-01T00:00Z,PGE,2021-05-01T00:05Z,400\n"
        b"2021-05-01T00:00Z,SCE,2021-05-01T00:05Z,400\n",
    }
    return case((EXAMPLES / f"{name}.yaml").read_text(), files=files, sets=sets)


NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def test_the_examples_are_there() -> None:
    """Those that documentation and benchmarks name."""
    assert set(NAMES) >= {
        "capacity-bound",
        "europe-under-capacity",
        "germany-time-shift",
        "interruptible",
        "six-months",
        "two-weeks",
        "world",
    }


@pytest.mark.parametrize("name", NAMES)
def test_each_example_makes_a_case(name: str) -> None:
    """Named as its file; its jobs end within its traces."""
    fewer = ("jobs.generate.jobs=1000",) if name == "six-months" else ()
    made = example(name, *fewer)
    assert made.name == name
    assert made.start <= made.jobs[0].submitted
    assert max(job.deadline for job in made.jobs) <= made.trace_end


def test_the_capacity_bound_example_takes_seven_tenths_of_all_room() -> None:
    """2,000 jobs; in the period that they are submitted in."""
    made = example("capacity-bound")
    limits = [
        region.limit(kind) for region in made.policy.regions.values() for kind in CapacityType
    ]
    vcpus = sum(limit.vcpus for limit in limits if limit is not None)
    room_s = vcpus * (made.end - made.start).total_seconds()
    taken_s = np.sum([job.vcpus * job.runtime_s for job in made.jobs])
    assert len(made.jobs) == 2000
    assert taken_s / room_s == pytest.approx(0.7, abs=0.02)
