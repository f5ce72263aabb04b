from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backtest.generator import SHAPES, Durations, Generated, generate
from domain.backtest.job import BacktestJob
from domain.backtest.stream import Frame
from domain.manifest import Interruptible
from tests.domain.backtest.scenarios import START

FRAME = Frame(
    start=START,
    end=START + timedelta(days=30),
    legal={"eu": ("aws:eu-central-1", "aws:eu-west-3"), "germany": ("aws:eu-central-1",)},
    start_up=timedelta(minutes=5),
    safety_margin=timedelta(minutes=45),
)
SPEC: dict[str, Any] = {
    "jobs": 4000,
    "runtime": {"lognormal": {"median": "3h", "p95": "9h"}},
    "slack": {"uniform": ["8h", "36h"]},
    "vcpus": {4: 3, 8: 1},
    "residency": {"eu": 3, "germany": 1},
    "home_region": {"aws:eu-central-1": 1, "aws:eu-west-3": 1},
}


def jobs(
    *, seed: int = 1, frame: Frame = FRAME, step_s: float = 3600, **changed: Any
) -> tuple[BacktestJob, ...]:
    spec = Generated.model_validate({**SPEC, **changed})
    return generate(spec, frame, step_s, seed)


def share(values: list[Any], value: Any) -> float:
    return Counter(values)[value] / len(values)


class TestStream:
    def test_the_same_seed_gives_the_same_jobs(self) -> None:
        """Another one others."""
        assert jobs() == jobs()
        assert jobs() != jobs(seed=2)

    def test_jobs_are_ordered_and_lie_within_the_period(self) -> None:
        """And are numbered in that order."""
        drawn = jobs()
        assert [job.number for job in drawn] == list(range(4000))
        submitted = [job.submitted for job in drawn]
        assert submitted == sorted(submitted)
        assert FRAME.start <= submitted[0]
        assert submitted[-1] < FRAME.end

    def test_each_job_could_have_been_submitted(self) -> None:
        """Its manifest is valid, and its home legal."""
        for job in jobs(jobs=200):
            assert job.manifest().deadline == job.deadline
            assert job.home_region in FRAME.legal[job.residency]

    def test_so_many_a_day(self) -> None:
        """Over the whole period."""
        assert len(jobs(jobs=None, jobs_per_day=2.5)) == 75

    @pytest.mark.parametrize("shape", SHAPES)
    def test_submissions_follow_the_hours_of_the_day(self, shape: str) -> None:
        """Each hour gets its weight's share of the jobs."""
        hours = Counter(job.submitted.hour for job in jobs(jobs=40_000, rate=shape))
        found = np.array([hours[hour] for hour in range(24)]) / 40_000
        weights = np.array(SHAPES[shape])
        assert found == pytest.approx(weights / weights.sum(), abs=0.006)

    def test_hours_may_be_weighed_one_by_one(self) -> None:
        """An hour of weight 0 gets no job, wherever in an hour the period starts."""
        start = START + timedelta(minutes=40)
        frame = Frame(start, start + timedelta(days=3), FRAME.legal, timedelta(0), timedelta(0))
        weights = [0] * 6 + [1] + [0] * 16 + [3]
        drawn = jobs(frame=frame, rate=weights)
        hours = [job.submitted.hour for job in drawn]
        assert set(hours) == {6, 23}
        assert share(hours, 23) == pytest.approx(0.75, abs=0.03)
        assert all(frame.start <= job.submitted < frame.end for job in drawn)

    def test_parts_of_an_hour_get_their_part_of_its_jobs(self) -> None:
        """At both ends of the period."""
        start = START + timedelta(minutes=40)
        end = start + timedelta(hours=1)
        frame = Frame(start, end, FRAME.legal, timedelta(0), timedelta(0))
        hours = [job.submitted.hour for job in jobs(frame=frame, rate="flat")]
        assert share(hours, 0) == pytest.approx(1 / 3, abs=0.03)
        assert share(hours, 1) == pytest.approx(2 / 3, abs=0.03)

    @pytest.mark.parametrize("step_s", [300, 3600])
    def test_submissions_may_keep_to_the_step(self, step_s: int) -> None:
        """Of the trace, whatever it is; else they come at any second."""
        offsets = {(job.submitted - START).total_seconds() % step_s for job in jobs(step_s=step_s)}
        assert len(offsets) > 100
        on_it = jobs(step_s=step_s, on_the_step=True)
        assert {(job.submitted - START).total_seconds() % step_s for job in on_it} == {0}

    def test_slack_ends_at_the_latest_start(self) -> None:
        """What is left between it and the deadline is start-up, p95 runtime and margin."""
        for job in jobs(slack="24h"):
            latest = job.deadline - timedelta(minutes=50, seconds=job.p95_s)
            assert latest == job.submitted + timedelta(hours=24)

    def test_p95_is_a_multiple_of_the_runtime(self) -> None:
        """Rounded to seconds."""
        for job in jobs(p95_factor=1.5):
            assert job.p95_s == pytest.approx(1.5 * job.runtime_s, abs=0.5)
            assert job.p95_s >= job.runtime_s

    def test_choices_come_as_often_as_they_weigh(self) -> None:
        """Homes are drawn of those that the job's residency allows."""
        drawn = jobs(jobs=20_000, job_class={"batch": 1, "train": 4})
        assert share([job.vcpus for job in drawn], 4) == pytest.approx(0.75, abs=0.02)
        assert share([job.residency for job in drawn], "eu") == pytest.approx(0.75, abs=0.02)
        assert share([job.job_class for job in drawn], "train") == pytest.approx(0.8, abs=0.02)
        homes = [job.home_region for job in drawn if job.residency == "eu"]
        assert share(homes, "aws:eu-west-3") == pytest.approx(0.5, abs=0.02)

    def test_memory_goes_with_vcpus(self) -> None:
        """So many GiB each."""
        assert {job.memory_gib / job.vcpus for job in jobs(memory_gib_per_vcpu=2.5)} == {2.5}

    def test_a_change_of_one_property_leaves_the_others(self) -> None:
        """So that two scenarios differ in what was changed alone."""
        for one, other in zip(jobs(), jobs(slack="72h", vcpus=2), strict=True):
            assert one.submitted == other.submitted
            assert one.runtime_s == other.runtime_s
            assert one.residency == other.residency

    def test_all_may_be_interruptible(self) -> None:
        """As the scenario says of every job."""
        chunks = Interruptible(min_chunk=timedelta(hours=1), checkpoint=True)
        frame = Frame(
            FRAME.start, FRAME.end, FRAME.legal, timedelta(0), timedelta(0), interruptible=chunks
        )
        assert {job.interruptible for job in jobs(frame=frame, jobs=10)} == {chunks}


def drawn_s(written: Any, count: int = 20_000) -> np.ndarray[Any, np.dtype[np.float64]]:
    return Durations.model_validate(written).draw_s(np.random.default_rng(3), count)


class TestDurations:
    def test_one_alone_is_fixed(self) -> None:
        """In any form that durations have."""
        assert set(drawn_s("1h30m")) == {5400}
        assert set(drawn_s({"fixed": 90})) == {90}

    def test_uniform(self) -> None:
        """From least to most."""
        values = drawn_s({"uniform": ["1h", "3h"]})
        assert values.min() >= 3600
        assert values.max() <= 3 * 3600
        assert values.mean() == pytest.approx(2 * 3600, rel=0.02)

    def test_lognormal_has_its_median_and_p95(self) -> None:
        """And is skewed: its mean lies above its median."""
        values = drawn_s({"lognormal": {"median": "3h", "p95": "9h"}}, 100_000)
        assert np.median(values) == pytest.approx(3 * 3600, rel=0.02)
        assert np.quantile(values, 0.95) == pytest.approx(9 * 3600, rel=0.03)
        assert values.mean() > 1.15 * np.median(values)

    def test_a_choice_comes_by_weight(self) -> None:
        """And nothing else comes."""
        values = drawn_s({"choice": {"1h": 1, "2h": 3}})
        assert set(values) == {3600, 7200}
        assert (values == 7200).mean() == pytest.approx(0.75, abs=0.02)

    @given(
        written=st.sampled_from(
            [
                "2h",
                {"uniform": ["0s", "9h"]},
                {"lognormal": {"median": "3h", "p95": "9h"}},
                {"choice": {"30m": 1, "20h": 1}},
            ]
        ),
        bounds=st.tuples(st.integers(0, 90_000), st.integers(0, 90_000)).map(sorted),
    )
    def test_bounds_hold_for_every_kind(self, written: Any, bounds: list[int]) -> None:
        """What is drawn beyond them becomes them."""
        parts = written if isinstance(written, dict) else {"fixed": written}
        values = drawn_s({**parts, "min": bounds[0], "max": bounds[1]}, 50)
        assert bounds[0] <= values.min() <= values.max() <= bounds[1]
