"""A run as a Kubernetes Job.

Names, labels and annotations that Lowtide puts on a Job:

    metadata.name                            the run's name: a second creation is refused by the API
    label app.kubernetes.io/managed-by       lowtide; on the pod too
    label lowtide.dev/attempt                fencing number
    label lowtide.dev/capacity-type          spot or on-demand
    annotation lowtide.dev/job               workflow id (a label holds 63 characters only)
    annotation lowtide.dev/spec-sha256       what was asked for
    annotation lowtide.dev/stop              ``Stop``: it was asked to end
    annotation lowtide.dev/end               ``RunReport``: how it ended, as first read

``max_runtime`` is the *pod's* ``activeDeadlineSeconds``. The Job's own counts from the Job's start,
hours in the queue included, and would end a run that had just begun; the pod's counts from the
moment when a node took the pod (the image pull included). A deadline is never written here: a late
run is reported, not killed.
"""

from __future__ import annotations

import hashlib
import math

import rfc8785
from kubernetes.aio import client
from pydantic import AwareDatetime

from activities.compute.gke_cluster import GkeCluster
from activities.errors import RunRefused
from domain.capacity import CapacityType
from domain.job import Payload, RunSpec

MANAGED_BY, OURS = "app.kubernetes.io/managed-by", "lowtide"
ATTEMPT = "lowtide.dev/attempt"
CAPACITY_TYPE = "lowtide.dev/capacity-type"
JOB = "lowtide.dev/job"
SPEC_SHA256 = "lowtide.dev/spec-sha256"
STOP = "lowtide.dev/stop"
END = "lowtide.dev/end"
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"

SPOT = "cloud.google.com/gke-spot"
ACCELERATOR = "cloud.google.com/gke-accelerator"
GPU = "nvidia.com/gpu"
ACCELERATORS = {
    "t4": "nvidia-tesla-t4",
    "l4": "nvidia-l4",
    "v100": "nvidia-tesla-v100",
    "p100": "nvidia-tesla-p100",
    "a100": "nvidia-tesla-a100",
    "a100-80": "nvidia-a100-80gb",
    "h100": "nvidia-h100-80gb",
    "h200": "nvidia-h200-141gb",
}
"""GKE's names of the GPU models that manifests name."""

CONTAINER = "main"
GRACE_S = 15
"""What a Spot node leaves to a user's pod of its 30 s; a longer grace has no effect there."""
KEPT_S = 7 * 24 * 3600
"""How long an ended Job stays: longer than any retry of a submission, any time that a watcher is
away, and the look back of a person. Its name is free again afterwards; the ledger is the truth."""
AT_ONCE_S = 1
"""``activeDeadlineSeconds`` of a Job that is to end; the API takes no less."""


class Stop(Payload):
    """The mark of a run that was asked to end."""

    reason: str
    started_at: AwareDatetime | None = None
    """When its program began, as far as the request found it running: the pod, which alone knows
    it, is removed with the stop."""


def spec_sha256(spec: RunSpec) -> str:
    """Hash of what is asked for. ``None`` is left out, so that a field added by a later build does
    not make a run of an earlier one another run.
    """
    canonical = rfc8785.dumps(spec.model_dump(mode="json", exclude_none=True))
    return hashlib.sha256(canonical).hexdigest()


def job_of(cluster: GkeCluster, spec: RunSpec) -> client.V1Job:
    """The Job of a run.

    Raises:
        RunRefused: GKE has no such GPU.
    """
    labels = {
        MANAGED_BY: OURS,
        ATTEMPT: str(spec.attempt),
        CAPACITY_TYPE: spec.capacity_type.value.replace("_", "-"),
    }
    return client.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=client.V1ObjectMeta(
            name=spec.run,
            labels=labels,
            annotations={JOB: spec.workflow_id, SPEC_SHA256: spec_sha256(spec)},
        ),
        spec=client.V1JobSpec(
            # The workflow alone knows deadline and carbon: a run is one pod, tried once.
            backoff_limit=0,
            pod_replacement_policy="Failed",
            pod_failure_policy=_failure_policy(),
            ttl_seconds_after_finished=KEPT_S,
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(
                    labels=labels,
                    annotations={JOB: spec.workflow_id} | _eviction(cluster, spec),
                ),
                spec=_pod(cluster, spec),
            ),
        ),
    )


def tombstone_of(run: str, stop: Stop) -> client.V1Job:
    """A Job that stands where a run must never start: it holds the run's name and has no pod.

    With a parallelism of 0 no pod is ever made, and its deadline lets it fail by itself, so that it
    is cleared away like any other (a suspended Job would stay for ever).
    """
    return client.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=client.V1ObjectMeta(
            name=run, labels={MANAGED_BY: OURS}, annotations={STOP: stop.model_dump_json()}
        ),
        spec=client.V1JobSpec(
            parallelism=0,
            backoff_limit=0,
            active_deadline_seconds=AT_ONCE_S,
            ttl_seconds_after_finished=KEPT_S,
            template=client.V1PodTemplateSpec(
                spec=client.V1PodSpec(
                    restart_policy="Never",
                    containers=[client.V1Container(name=CONTAINER, image="never-started")],
                )
            ),
        ),
    )


def _failure_policy() -> client.V1PodFailurePolicy:
    """Any failure ends the Job. The rules are there for the Job's own condition, which outlives
    pod and node: it tells a disruption from an exit code, and which code. The order matters.
    """
    return client.V1PodFailurePolicy(
        rules=[
            client.V1PodFailurePolicyRule(
                action="FailJob",
                on_pod_conditions=[
                    client.V1PodFailurePolicyOnPodConditionsPattern(
                        type="DisruptionTarget", status="True"
                    )
                ],
            ),
            client.V1PodFailurePolicyRule(
                action="FailJob",
                on_exit_codes=client.V1PodFailurePolicyOnExitCodesRequirement(
                    container_name=CONTAINER, operator="NotIn", values=[0]
                ),
            ),
        ]
    )


def _eviction(cluster: GkeCluster, spec: RunSpec) -> dict[str, str]:
    """The autoscaler moves a Job's pods as it likes, unless told not to: hours of work would be
    lost to tidy a node. Autopilot does not take this of Spot pods.
    """
    if cluster.autopilot and spec.capacity_type is CapacityType.SPOT:
        return {}
    return {SAFE_TO_EVICT: "false"}


def _pod(cluster: GkeCluster, spec: RunSpec) -> client.V1PodSpec:
    selector: dict[str, str] = {}
    tolerations: list[client.V1Toleration] = []
    if spec.capacity_type is CapacityType.SPOT:
        selector[SPOT] = "true"
        # Standard node pools have the taint only where somebody put it: tolerate it in any case.
        tolerations.append(
            client.V1Toleration(key=SPOT, operator="Equal", value="true", effect="NoSchedule")
        )
    if spec.gpus:
        # GKE itself tolerates the taint of GPU nodes for pods that ask for GPUs.
        selector[ACCELERATOR] = _accelerator(spec)
    return client.V1PodSpec(
        restart_policy="Never",
        termination_grace_period_seconds=GRACE_S,
        active_deadline_seconds=math.ceil(spec.max_runtime_s),
        node_selector=selector or None,
        tolerations=tolerations or None,
        service_account_name=cluster.service_account,
        automount_service_account_token=cluster.service_account is not None,
        enable_service_links=False,
        containers=[
            client.V1Container(
                name=CONTAINER,
                image=spec.image,
                # Arguments, not ``command``: as on AWS Batch the image keeps its entry point.
                args=[_verbatim(word) for word in spec.command] or None,
                env=[
                    client.V1EnvVar(name=name, value=_verbatim(value))
                    for name, value in environment_of(cluster, spec).items()
                ],
                resources=_resources(cluster, spec),
            )
        ],
    )


def environment_of(cluster: GkeCluster, spec: RunSpec) -> dict[str, str]:
    """What a program is given; a manifest cannot override what is ours."""
    base = f"gs://{cluster.bucket}/{spec.workflow_id}"
    return spec.environment | {
        "LOWTIDE_JOB": spec.workflow_id,
        "LOWTIDE_ATTEMPT": str(spec.attempt),
        "LOWTIDE_REGION": spec.region,
        "LOWTIDE_CHECKPOINT_URI": f"{base}/checkpoint",
        "LOWTIDE_OUTPUT_URI": f"{base}/output",
    }


def _verbatim(text: str) -> str:
    """Kubernetes puts variables in place of ``$(NAME)`` and ``$`` in place of ``$$``, also where a
    shell script means something else by them.
    """
    return text.replace("$", "$$")


def _resources(cluster: GkeCluster, spec: RunSpec) -> client.V1ResourceRequirements:
    """Autopilot wants limits equal to requests. On Standard a run may use idle CPU, but not more
    memory than it asked for: it would be its neighbours whose work is lost.
    """
    requests = {
        "cpu": f"{math.ceil(spec.vcpus * 1000)}m",
        "memory": f"{math.ceil(spec.memory_gib * 1024)}Mi",
    }
    limits = dict(requests) if cluster.autopilot else {"memory": requests["memory"]}
    if spec.gpus:
        limits[GPU] = requests[GPU] = str(spec.gpus)
    return client.V1ResourceRequirements(requests=requests, limits=limits)


def _accelerator(spec: RunSpec) -> str:
    model = (spec.gpu_model or "").lower()
    if model not in ACCELERATORS:
        known = ", ".join(ACCELERATORS)
        raise RunRefused(spec.run, f"GKE has no GPU {spec.gpu_model!r}; it has {known}")
    return ACCELERATORS[model]
