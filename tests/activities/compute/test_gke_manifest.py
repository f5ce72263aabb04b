"""The Job that a run becomes, as the API server gets it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio import client

from activities.compute.gke_manifest import job_of, spec_sha256
from activities.errors import ComputeUnavailable, RunRefused, SpecConflict
from domain.capacity import CapacityType
from domain.job import RunSpec, RunState, run_name
from tests.activities.compute.gke_site import REGIONS, GkeSite, cluster_of, gke_site
from tests.servers.kubernetes_store import Object
from tests.servers.kubernetes_types import require_typed, require_valid_job


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[GkeSite]:
    async with gke_site(tmp_path) as site:
        yield site


def spec_of(**changed: object) -> RunSpec:
    fields: dict[str, object] = {
        "run": run_name("job-default-align", segment=0, attempt=1),
        "workflow_id": "job-default-align",
        "attempt": 1,
        "region": REGIONS[0],
        "capacity_type": CapacityType.SPOT,
        "image": "registry.example/genomics/align:1.4.2",
        "command": ("align", "--all"),
        "environment": {"SAMPLE": "17"},
        "vcpus": 3.5,
        "memory_gib": 7.5,
        "gpus": 0,
        "gpu_model": None,
        "max_runtime_s": 5400.2,
    }
    return RunSpec.model_validate(fields | changed)


OFFICIAL = client.ApiClient()
"""Only writes here; it makes no connection."""


def manifest_of(spec: RunSpec, **cluster: object) -> Object:
    """As the official client writes it, checked as the API server checks it."""
    job = job_of(cluster_of(spec.region, **cluster), spec)
    written: Object = OFFICIAL.sanitize_for_serialization(job)
    require_typed("jobs", written)
    require_valid_job(written)
    return written


def pod_of(spec: RunSpec, **cluster: object) -> Object:
    pod: Object = manifest_of(spec, **cluster)["spec"]["template"]["spec"]
    return pod


def test_a_run_is_one_pod_that_is_tried_once() -> None:
    """No retry, no overlap of two pods, no restart; any failure ends the Job."""
    job = manifest_of(spec_of())["spec"]
    assert (
        job["backoffLimit"],
        job["podReplacementPolicy"],
        job["template"]["spec"]["restartPolicy"],
    ) == (0, "Failed", "Never")
    [disruption, failure] = job["podFailurePolicy"]["rules"]
    assert disruption == {
        "action": "FailJob",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert failure["action"] == "FailJob"


def test_max_runtime_counts_on_the_node_and_not_in_the_queue() -> None:
    """It is the pod's limit, in whole seconds and never less; the Job has none."""
    job = manifest_of(spec_of())["spec"]
    assert job["template"]["spec"]["activeDeadlineSeconds"] == 5401
    assert "activeDeadlineSeconds" not in job


def test_an_ended_job_stays_longer_than_any_retry() -> None:
    """A week: its name must not be free again while somebody may still submit."""
    assert manifest_of(spec_of())["spec"]["ttlSecondsAfterFinished"] == 7 * 86_400


@pytest.mark.parametrize("autopilot", [True, False])
def test_a_spot_run_selects_spot_and_tolerates_its_taint(autopilot: bool) -> None:
    """Standard pools have the taint only where somebody put it; 15 s is all the grace there is."""
    pod = pod_of(spec_of(), autopilot=autopilot)
    assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert pod["tolerations"] == [
        {
            "key": "cloud.google.com/gke-spot",
            "operator": "Equal",
            "value": "true",
            "effect": "NoSchedule",
        }
    ]
    assert pod["terminationGracePeriodSeconds"] == 15


def test_an_on_demand_run_does_not_ask_for_spot() -> None:
    """Neither selects nor tolerates it."""
    pod = pod_of(spec_of(capacity_type=CapacityType.ON_DEMAND))
    assert "nodeSelector" not in pod
    assert "tolerations" not in pod


def test_on_autopilot_limits_equal_requests() -> None:
    """GPUs too."""
    [container] = pod_of(spec_of(gpus=2, gpu_model="L4"))["containers"]
    wanted = {"cpu": "3500m", "memory": "7680Mi", "nvidia.com/gpu": "2"}
    assert {"requests": wanted, "limits": wanted} == container["resources"]


def test_on_standard_only_memory_is_limited() -> None:
    """Idle CPU may be used; a neighbour's memory may not."""
    [container] = pod_of(spec_of(), autopilot=False)["containers"]
    assert container["resources"]["limits"] == {"memory": "7680Mi"}


def test_a_gpu_run_selects_its_model() -> None:
    """By GKE's own name, beside Spot."""
    assert pod_of(spec_of(gpus=1, gpu_model="t4"))["nodeSelector"] == {
        "cloud.google.com/gke-spot": "true",
        "cloud.google.com/gke-accelerator": "nvidia-tesla-t4",
    }


async def test_a_gpu_that_gke_has_not_is_refused(site: GkeSite) -> None:
    """Before anything is created, with what there is."""
    with pytest.raises(RunRefused, match="l4"):
        await site.backend.submit(site.spec("gpu", gpus=1, gpu_model="a10g"))
    assert not site.cluster().calls["create", "jobs"]


@pytest.mark.parametrize(
    ("autopilot", "capacity_type", "kept"),
    [
        (False, CapacityType.SPOT, True),
        (False, CapacityType.ON_DEMAND, True),
        (True, CapacityType.ON_DEMAND, True),
        (True, CapacityType.SPOT, False),
    ],
)
def test_the_autoscaler_leaves_a_run_alone(
    autopilot: bool, capacity_type: CapacityType, kept: bool
) -> None:
    """Wherever GKE takes such a wish."""
    job = manifest_of(spec_of(capacity_type=capacity_type), autopilot=autopilot)
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert kept == (annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict") == "false")


def test_a_run_gets_no_credentials_unless_it_is_given_an_account() -> None:
    """Neither a service account's token nor the addresses of services."""
    pod = pod_of(spec_of())
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    given_one = pod_of(spec_of(), service_account="aligner")
    assert (
        given_one["serviceAccountName"],
        given_one["automountServiceAccountToken"],
    ) == ("aligner", True)


def test_data_belong_to_the_bucket_of_the_region_and_ours_cannot_be_overridden() -> None:
    """Wherever residency put the run, its checkpoint and output stay there."""
    spec = spec_of(environment={"LOWTIDE_OUTPUT_URI": "gs://elsewhere", "SAMPLE": "17"})
    [container] = pod_of(spec, bucket="runs-of-belgium")["containers"]
    assert {
        "SAMPLE": "17",
        "LOWTIDE_JOB": "job-default-align",
        "LOWTIDE_ATTEMPT": "1",
        "LOWTIDE_REGION": REGIONS[0],
        "LOWTIDE_CHECKPOINT_URI": "gs://runs-of-belgium/job-default-align/checkpoint",
        "LOWTIDE_OUTPUT_URI": "gs://runs-of-belgium/job-default-align/output",
    } == {item["name"]: item["value"] for item in container["env"]}


async def test_dollar_signs_reach_the_program_as_they_are(site: GkeSite) -> None:
    """Kubernetes has a meaning of its own for ``$$`` and ``$(NAME)``; the manifest has none."""
    value = "$$ $(LOWTIDE_JOB) $HOME $"
    spec = site.spec(
        "dollars",
        command=(*site.script('[ "$(printf %s "$1")" = "$SAMPLE" ]'), "sh", value),
        environment={"SAMPLE": value},
    )
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    assert value == site.environment(spec)["SAMPLE"]


def test_an_image_keeps_its_entry_point() -> None:
    """The command is its arguments, as on AWS Batch; without one the image's own stands."""
    [container] = pod_of(spec_of())["containers"]
    assert container["args"] == ["align", "--all"]
    assert "command" not in container
    [plain] = pod_of(spec_of(command=()))["containers"]
    assert "args" not in plain


@settings(max_examples=25)
@given(
    st.from_regex(r"job-[a-z0-9]{1,32}-[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?", fullmatch=True),
    st.floats(min_value=0.001, max_value=1e5),
    st.floats(min_value=0.001, max_value=1e6),
    st.floats(min_value=0.001, max_value=366 * 86_400),
)
def test_every_run_is_a_valid_job(
    workflow_id: str, vcpus: float, memory_gib: float, max_runtime_s: float
) -> None:
    """Ids longer than a label holds, the smallest and the largest of resources."""
    spec = spec_of(
        run=run_name(workflow_id, segment=0, attempt=99),
        workflow_id=workflow_id,
        vcpus=vcpus,
        memory_gib=memory_gib,
        max_runtime_s=max_runtime_s,
    )
    job = manifest_of(spec)
    assert workflow_id == job["metadata"]["annotations"]["lowtide.dev/job"]
    cpu = job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    assert int(cpu.removesuffix("m")) >= vcpus * 1000 - 1e-6


def test_a_field_that_a_later_build_adds_does_not_make_another_run() -> None:
    """What is not set is not in the hash; what is set is."""

    class Later(RunSpec):
        disk_gib: float | None = None

    fields = spec_of().model_dump()
    assert spec_sha256(spec_of()) == spec_sha256(Later.model_validate(fields))
    assert spec_sha256(spec_of()) != spec_sha256(Later.model_validate(fields | {"disk_gib": 9.0}))


async def test_a_job_of_somebody_else_is_neither_adopted_nor_ended(site: GkeSite) -> None:
    """The name is taken: a conflict, no trace of a run, and no stop."""
    spec = site.spec("foreign")
    job = manifest_of(spec)
    del job["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    key = ("jobs", "lowtide", spec.run)
    site.cluster().create(key, job)
    with pytest.raises(SpecConflict):
        await site.backend.submit(spec)
    before = site.job(spec)["spec"]
    with pytest.raises(ComputeUnavailable, match="again and again"):
        await site.terminated(spec)
    assert before == site.job(spec)["spec"]


async def test_what_the_api_server_does_not_take_is_refused_with_its_words(site: GkeSite) -> None:
    """A body that no retry can mend."""
    spec = site.spec("bad", environment={"NÄME": "x"})
    with pytest.raises(RunRefused, match="NÄME"):
        await site.backend.submit(spec)
    assert RunState.UNKNOWN is (await site.report(spec)).state
