from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.backtest.case import UNLIMITED_VCPUS, RuleName
from domain.backtest.scenario import ANNUAL, Scenario, parse_scenario
from domain.capacity import CapacityType
from domain.errors import InvalidScenario
from domain.forecast import Signal
from tests.domain.backtest.scenarios import TEXT


def edited(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


class TestReading:
    def test_what_is_left_out_has_a_default(self) -> None:
        """Margins, horizon and seed are there without being named."""
        read = parse_scenario(edited("seed: 7\n", ""))
        assert read.start_up == timedelta(minutes=5)
        assert read.safety_margin == timedelta(minutes=45)
        assert read.horizon == timedelta(hours=48)
        assert read.seed == 0
        assert read.steering_signal is Signal.AVERAGE

    def test_all_policies_are_compared_where_none_is_named(self) -> None:
        """The optimum included."""
        read = parse_scenario(edited("policies: [run-at-once, lowtide]\n", ""))
        assert read.policies == tuple(RuleName)

    def test_room_may_be_unlimited_and_a_type_without_room_is_not_offered(self) -> None:
        """A region offers what it has vCPUs of."""
        regions = parse_scenario(TEXT).regions
        assert regions["aws:eu-central-1"].rooms == {
            CapacityType.SPOT: 100,
            CapacityType.ON_DEMAND: UNLIMITED_VCPUS,
        }
        assert regions["aws:eu-west-3"].rooms == {CapacityType.ON_DEMAND: 50}

    @pytest.mark.parametrize(
        ("written", "start", "end"),
        [
            (
                "2022-01-10/2022-01-15",
                datetime(2022, 1, 10, tzinfo=UTC),
                datetime(2022, 1, 15, tzinfo=UTC),
            ),
            (
                "2022-01-10T06:00Z/2022-01-10T12:00:00+02:00",
                datetime(2022, 1, 10, 6, tzinfo=UTC),
                datetime(2022, 1, 10, 10, tzinfo=UTC),
            ),
        ],
    )
    def test_a_period_is_of_dates_or_instants(
        self, written: str, start: datetime, end: datetime
    ) -> None:
        """Dates are midnight UTC, and instants are told in UTC."""
        period = parse_scenario(edited("2022-01-10/2022-01-15", written)).period
        assert (period.start, period.end) == (start, end)
        assert period.end.tzinfo is UTC

    @pytest.mark.parametrize(
        ("name", "sigma", "file"),
        [
            ("perfect", None, None),
            ("persistence", None, None),
            ("noisy:0.1", 0.1, None),
            ("noisy:0", 0.0, None),
            ("file:a:b.csv", None, "a:b.csv"),
        ],
    )
    def test_a_forecast_is_one_of_four(
        self, name: str, sigma: float | None, file: str | None
    ) -> None:
        """Two of them with what they take."""
        read = parse_scenario(edited("forecast: persistence", f"forecast: {name}"))
        assert (read.sigma, read.forecast_file) == (sigma, file)

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("name: small", "name: ''", "name: ''"),
            ("name: small", "nmae: small", "nmae: .*perhaps name"),
            ("weights", "wieghts", "wieghts: .*perhaps weights"),
            ("spot_vcpus: 100", "spot_vcpu: 100", "spot_vcpu: .*perhaps spot_vcpus"),
            ("slack: 24h", "slak: 24h", "jobs.generate.slak: .*perhaps slack"),
            ("lowtide", "lowtied", "policies.1: 'lowtied' .*'run-at-once'"),
            ("run-at-once, ", "lowtide, ", "each of policies once"),
            ("policies: [run-at-once, lowtide]", "policies: []", "policies: a list"),
            ("seed: 7", "seed: -7", "seed: -7"),
            ("carbon: 1.0", "carbon: .nan", "weights.carbon: '.nan'"),
            ("carbon: 1.0", "carbon: -1", "weights.carbon: -1"),
            ("spot_vcpus: 100", "spot_vcpus: -1", "spot_vcpus: -1"),
            ("spot_vcpus: 100", "spot_vcpus: many", "spot_vcpus: 'many'"),
            ("{on_demand_vcpus: 50}", "{}", "eu-west-3: .*spot_vcpus, on_demand_vcpus or both"),
            ("on_demand_vcpus: 50", "on_demand_vcpus: 50, pue: 0.9", "pue: 0.9"),
            ("2022-01-10/2022-01-15", "2022-01-10", "period: '2022-01-10' .*START/END"),
            ("2022-01-10/2022-01-15", "2022-01-15/2022-01-10", "period: .*START before END"),
            ("2022-01-10/2022-01-15", "2022-01-10T00:00/2022-01-15", "period.start: .*time zone"),
            ("2022-01-10/2022-01-15", "2022-02-30/2022-03-15", "period.start: '2022-02-30'"),
            ("forecast: persistence", "forecast: guess", "forecast: 'guess' .*noisy:SIGMA"),
            ("forecast: persistence", "forecast: noisy:-1", "forecast: 'noisy:-1'"),
            ("forecast: persistence", "forecast: noisy:nan", "forecast: 'noisy:nan'"),
            ("forecast: persistence", "forecast: 'file:'", "forecast: 'file:'"),
            ("forecast: persistence", "horizon: 0s", "horizon: '0s'"),
            ("forecast: persistence", "horizon: soon", "horizon: 'soon' .*a duration"),
            ("jobs: 20\n", "jobs: 20\n    jobs_per_day: 4\n", "one of jobs and jobs_per_day"),
            ("jobs: 20\n", "jobs: 0\n", "jobs.generate.jobs: 0"),
            ("generate:", "csv: a.csv\n  generate:", "jobs: .*one of csv and generate"),
            ("runtime: 2h", "runtime: 0s", "runtime: .*a second or more"),
            ("runtime: 2h", "runtime: {uniform: [0s, 1h]}", "runtime: .*a second or more"),
            ("runtime: 2h", "runtime: {choice: {1h: 1, 0s: 1}}", "runtime: .*a second or more"),
            ("runtime: 2h", "runtime: {fixed: 2h, uniform: [1h, 2h]}", "one of fixed, uniform"),
            ("runtime: 2h", "runtime: {min: 2h}", "one of fixed, uniform"),
            ("runtime: 2h", "runtime: {uniform: [3h, 2h]}", "the least before the most"),
            ("runtime: 2h", "runtime: {fixed: 2h, min: 3h, max: 2h}", "a min of at most max"),
            ("runtime: 2h", "runtime: {lognormal: {median: 3h, p95: 2h}}", "at least the median"),
            ("runtime: 2h", "runtime: {choice: {}}", "runtime.choice: a mapping"),
            ("runtime: 2h", "runtime: {choice: {1h: 0}}", "runtime.choice.1h: 0"),
            ("vcpus: 4\n", "vcpus: {0: 1}\n", "vcpus.0: 0"),
            ("vcpus: 4\n", "vcpus: {four: 1}\n", "vcpus.four: 'four'"),
            ("vcpus: 4\n", "vcpus: [4]\n", "vcpus: a list"),
            ("slack: 24h", "slack: 24h\n    rate: rush", "rate"),
            ("slack: 24h", "slack: 24h\n    rate: [1, 2]", "rate"),
            ("seed: 7", "interruptible: {min_chunk: 1h}", "interruptible.checkpoint: nothing"),
            ("name: small", "{", "scenario: the text"),
            (TEXT, "[]", "scenario: a list .*fields"),
        ],
    )
    def test_a_fault_is_told_by_field_and_value(self, old: str, new: str, told: str) -> None:
        """A scenario is taken whole or not at all."""
        with pytest.raises(InvalidScenario, match=told):
            parse_scenario(edited(old, new))


def set_to(*sets: str) -> Scenario:
    return parse_scenario(TEXT, sets=sets)


class TestOverrides:
    def test_a_trace_alone_is_of_the_average_signal(self) -> None:
        """One of another signal is named with it; a path may hold an equals sign."""
        read = parse_scenario(TEXT, traces=("/data/a=b.csv", "marginal=m=n.csv"))
        assert read.traces.average == "/data/a=b.csv"
        assert read.traces.marginal == "m=n.csv"
        assert parse_scenario(TEXT, traces=("marginal=annual",)).traces.marginal == ANNUAL

    def test_the_period_is_replaced(self) -> None:
        """By one in the scenario's own form."""
        read = parse_scenario(TEXT, period="2022-01-11/2022-01-12")
        assert read.period.start == datetime(2022, 1, 11, tzinfo=UTC)

    def test_any_field_can_be_set(self) -> None:
        """By its dotted key, the value as YAML; the last one holds; ``null`` takes a part away."""
        read = set_to(
            "weights.carbon=0.3",
            "weights.carbon=0.5",
            "regions.aws:eu-central-1.spot_vcpus=unlimited",
            "regions.aws:eu-south-2={spot_vcpus: 5}",
            "jobs.generate.runtime={uniform: [1h, 2h]}",
            "policies=[optimum]",
            "interruptible=null",
            "look_again.min_gain=0.1",
        )
        assert read.weights.carbon == 0.5
        assert read.regions["aws:eu-central-1"].spot_vcpus == UNLIMITED_VCPUS
        assert read.regions["aws:eu-south-2"].spot_vcpus == 5
        assert read.policies == (RuleName.OPTIMUM,)
        assert read.look_again.min_gain == 0.1

    @pytest.mark.parametrize(
        ("item", "told"),
        [
            ("weights.carbn=1", "weights.carbn: 1 .*perhaps carbon"),
            ("seeds=1", "seeds: 1 .*perhaps seed"),
            ("seed", "--set: 'seed' .*KEY=VALUE"),
            ("=1", "--set: '=1' .*KEY=VALUE"),
            ("seed=[", "--set seed: the text"),
            ("seed=x", "seed: 'x'"),
            ("name.first=x", "--set name.first: name .*it is 'small'"),
            ("regions.aws:eu-west-9.pue=1.2", "eu-west-9: .*spot_vcpus, on_demand_vcpus or both"),
        ],
    )
    def test_a_bad_override_is_told(self, item: str, told: str) -> None:
        """A key that a scenario does not have, or a value that it cannot take."""
        with pytest.raises(InvalidScenario, match=told):
            set_to(item)
