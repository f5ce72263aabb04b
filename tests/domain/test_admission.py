from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.ability import is_able, offered_types
from domain.admission import admit_check
from domain.capacity import CapacityType
from domain.decision import World
from domain.errors import DeadlinePassed, InvalidInput, NoLegalRegion
from domain.manifest import JobManifest, read_manifest
from domain.policy import Policy
from tests.domain.faults import AT_ADMISSION, LATE, Fault, manifest_text
from tests.domain.recorded import NOW, make_world

WORLD = make_world()
SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND


def manifest(**lines: str) -> JobManifest:
    return read_manifest(manifest_text(**lines), now=NOW)


def policy(**region: object) -> Policy:
    """The shipped policy with one region in it."""
    return Policy.model_validate(
        WORLD.policy.model_dump() | {"regions": {"aws:eu-central-1": region}}
    )


def world(**region: object) -> World:
    return replace(WORLD, policy=policy(**region))


class TestAdmission:
    def test_a_job_that_is_legal_and_able_is_admitted(self) -> None:
        """Nothing is raised, nothing is returned."""
        admit_check(manifest(), WORLD, NOW)

    @pytest.mark.parametrize("fault", AT_ADMISSION.values(), ids=AT_ADMISSION)
    def test_each_refusal_names_field_value_and_remedy(self, fault: Fault) -> None:
        """Whoever submits learns what to change."""
        with pytest.raises(InvalidInput) as raised:
            admit_check(read_manifest(fault.text, now=NOW), WORLD, NOW)
        assert fault.field == raised.value.problem.field
        assert fault.value in raised.value.problem.value
        assert fault.remedy in raised.value.problem.allowed

    def test_the_deadline_is_held_against_the_submission(self) -> None:
        """A job that we kept waiting past its deadline is late, not refused."""
        submitted = manifest(deadline="2026-11-24T02:30:00Z")
        admit_check(submitted, WORLD, submitted.deadline - timedelta(seconds=1))
        with pytest.raises(DeadlinePassed):
            admit_check(submitted, WORLD, submitted.deadline)
        with pytest.raises(DeadlinePassed):
            admit_check(read_manifest(LATE.text, now=NOW), WORLD, NOW)

    def test_a_home_region_need_not_be_enabled(self) -> None:
        """The counterfactual may lie where policy sends no job, never outside the law."""
        admit_check(manifest(home_region="gcp:europe-west3", residency="germany"), WORLD, NOW)

    def test_a_home_region_without_a_price_has_no_counterfactual(self) -> None:
        """So the job is refused before it could be promised anything."""
        compute = {
            key: price
            for key, price in WORLD.prices.compute.items()
            if key != ("aws:eu-central-1", SPOT)
        }
        unpriced = replace(WORLD, prices=replace(WORLD.prices, compute=compute))
        with pytest.raises(InvalidInput, match=r"home_region: aws:eu-central-1 .*spot row"):
            admit_check(manifest(), unpriced, NOW)

    def test_legal_but_unable_regions_leave_none(self) -> None:
        """The refusal lists what would have been legal."""
        with pytest.raises(NoLegalRegion, match="legal are aws:eu-central-1"):
            admit_check(manifest(), world(spot={"vcpus": 3}), NOW)


class TestAbility:
    """A manifest of 4 vCPUs and 8 GiB against one region."""

    @pytest.mark.parametrize(
        ("region", "able"),
        [
            ({"spot": {"vcpus": 4}}, True),
            ({"spot": {"vcpus": 3.9}}, False),
            ({"spot": {"vcpus": 3}, "on_demand": {"vcpus": 4}}, True),
            ({}, False),
            ({"spot": {"vcpus": 99}, "max_vcpus_per_job": 4}, True),
            ({"spot": {"vcpus": 99}, "max_vcpus_per_job": 3.5}, False),
            ({"spot": {"vcpus": 99}, "max_memory_gib_per_job": 8}, True),
            ({"spot": {"vcpus": 99}, "max_memory_gib_per_job": 7}, False),
        ],
    )
    def test_size(self, region: dict[str, object], able: bool) -> None:
        """A limit below one job's need is no room that could ever come free."""
        assert is_able(manifest(), policy(**region), "aws:eu-central-1") is able

    @pytest.mark.parametrize(
        ("models", "gpus", "able"),
        [(["t4"], 2, True), (["T4"], 2, True), (["l4"], 2, False), (["t4"], 1, False)],
    )
    def test_gpus(self, models: list[str], gpus: int, able: bool) -> None:
        """The model must be there, in any case of letters, and so must the number."""
        job = manifest(resources="{vcpus: 4, memory_gib: 8, gpus: 2, gpu_model: T4}")
        region = {"spot": {"vcpus": 9, "gpus": gpus}, "gpu_models": models}
        assert is_able(job, policy(**region), "aws:eu-central-1") is able

    def test_only_types_that_could_hold_the_job_are_offered(self) -> None:
        """Spot here, on-demand too small."""
        small = policy(spot={"vcpus": 4}, on_demand={"vcpus": 2})
        assert offered_types(manifest(), small, "aws:eu-central-1") == (SPOT,)
        both = policy(spot={"vcpus": 4}, on_demand={"vcpus": 4})
        assert offered_types(manifest(), both, "aws:eu-central-1") == (SPOT, ON_DEMAND)
