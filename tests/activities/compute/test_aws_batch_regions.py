"""Which queue takes a run, and how fast a region is asked."""

from __future__ import annotations

import asyncio
import selectors
from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.compute.aws_batch_api import USUAL, BatchApi
from activities.compute.aws_batch_regions import (
    BatchRegion,
    Platform,
    Queues,
    Target,
    fits_fargate,
    target_of,
)
from activities.errors import RunRefused
from domain.capacity import CapacityType
from domain.job import RunSpec

REGION = BatchRegion(
    region="aws:eu-north-1",
    bucket="lowtide-eu-north-1",
    gpus={"t4": Queues("t4-spot", "t4-on-demand")},
    prefer=Platform.FARGATE,
    execution_role_arn="arn:aws:iam::123456789012:role/lowtide-execution",
)


def spec(**changed: Any) -> RunSpec:
    fields = {
        "run": "job-default-x-0-s0-a1",
        "workflow_id": "job-default-x",
        "attempt": 1,
        "region": REGION.region,
        "capacity_type": CapacityType.SPOT,
        "image": "registry.example/genomics/align:1.4.2",
        "command": (),
        "environment": {},
        "vcpus": 4.0,
        "memory_gib": 16.0,
        "gpus": 0,
        "gpu_model": None,
        "max_runtime_s": 3600.0,
    }
    return RunSpec.model_validate(fields | changed)


@pytest.mark.parametrize(
    ("changed", "queue", "vcpus", "memory_mib"),
    [
        ({}, "lowtide-fargate-spot", "4", 16384),
        ({"vcpus": 0.25, "memory_gib": 0.5}, "lowtide-fargate-spot", "0.25", 512),
        ({"vcpus": 0.5, "memory_gib": 8.0}, "lowtide-ec2-spot", "1", 8192),
        ({"vcpus": 3.0}, "lowtide-ec2-spot", "3", 16384),
        ({"vcpus": 2.5}, "lowtide-ec2-spot", "3", 16384),
        ({"memory_gib": 16.5}, "lowtide-ec2-spot", "4", 16896),
        ({"vcpus": 16.0, "memory_gib": 120.0}, "lowtide-fargate-spot", "16", 122880),
        ({"vcpus": 32.0, "memory_gib": 240.0}, "lowtide-ec2-spot", "32", 245760),
        ({"gpus": 1, "gpu_model": "t4"}, "t4-spot", "4", 16384),
        (
            {"gpus": 1, "gpu_model": "t4", "capacity_type": CapacityType.ON_DEMAND},
            *("t4-on-demand", "4", 16384),
        ),
    ],
)
def test_what_fargate_cannot_run_goes_to_ec2(
    changed: dict[str, Any], queue: str, vcpus: str, memory_mib: int
) -> None:
    """GPUs and shapes that Fargate does not have; on EC2, vCPUs are whole."""
    target = target_of(spec(**changed), REGION)
    platform = Platform.FARGATE if "fargate" in queue else Platform.EC2
    expected = Target(queue, platform, vcpus, memory_mib, changed.get("gpus", 0))
    assert target == expected


def test_a_gpu_model_without_a_queue_is_refused() -> None:
    """A job definition cannot name a model: another one's queue would give any."""
    with pytest.raises(RunRefused, match="a100-80"):
        target_of(spec(gpus=1, gpu_model="a100-80"), REGION)


@given(st.floats(0.1, 64.0), st.integers(128, 262_144))
def test_fargates_shapes_keep_their_proportion(vcpus: float, memory_mib: int) -> None:
    """Between 2 and 8 GiB a vCPU, but for the smallest; at most 16 vCPUs and 120 GiB."""
    if fits_fargate(vcpus, memory_mib):
        assert vcpus <= 16
        assert 1.875 * 1024 <= memory_mib / vcpus <= 8192


def test_fargate_needs_a_role() -> None:
    """Told when it is set up, not at the first run."""
    with pytest.raises(ValueError, match="execution_role_arn"):
        BatchRegion(region="aws:eu-north-1", bucket="any")
    assert BatchRegion(region="aws:eu-north-1", bucket="any", fargate=None).queues == (
        "lowtide-ec2-spot",
        "lowtide-ec2-on-demand",
    )


class Leaps(selectors.DefaultSelector):
    """Never waits: what a loop would wait for has come. A turn takes a microsecond."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += max(timeout or 0.0, 1e-6)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only by what it waits for."""

    def __init__(self) -> None:
        self._leaps = Leaps()
        super().__init__(self._leaps)

    def time(self) -> float:
        return self._leaps.now_s


def test_no_second_has_more_requests_than_batch_allows() -> None:
    """Wherever a second begins: bursts do not add up to more than 50."""
    at_s: list[float] = []

    async def ask(api: BatchApi) -> None:
        async with api._limit:
            at_s.append(asyncio.get_running_loop().time())

    async def ask_much() -> None:
        api = BatchApi(REGION, USUAL)
        await asyncio.gather(*(ask(api) for _ in range(400)))
        api.close()

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(ask_much())
    at_s.sort()
    busiest = max(bisect_left(at_s, start + 1.0) - n for n, start in enumerate(at_s))
    assert busiest <= 50
    assert at_s[-1] == pytest.approx(400 / USUAL.calls_per_s, rel=0.1), "and not much slower"
