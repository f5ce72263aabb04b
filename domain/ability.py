"""Which regions could run a job at all: ability, not room."""

from __future__ import annotations

from domain.capacity import CapacityType
from domain.manifest import JobManifest
from domain.policy import Policy


def is_able(manifest: JobManifest, policy: Policy, region: str) -> bool:
    """Whether a region's compute environments can run the job at all, room aside."""
    offered, needs = policy.regions[region], manifest.resources
    if needs.vcpus > (offered.max_vcpus_per_job or float("inf")):
        return False
    if needs.memory_gib > (offered.max_memory_gib_per_job or float("inf")):
        return False
    if needs.gpus and (needs.gpu_model or "").lower() not in offered.gpu_models:
        return False
    return any(_fits_at_all(manifest, policy, region, kind) for kind in CapacityType)


def _fits_at_all(
    manifest: JobManifest, policy: Policy, region: str, capacity_type: CapacityType
) -> bool:
    """A limit below one job's need is no room that could ever come free."""
    limit, needs = policy.regions[region].limit(capacity_type), manifest.resources
    return limit is not None and needs.vcpus <= limit.vcpus and needs.gpus <= limit.gpus


def offered_types(manifest: JobManifest, policy: Policy, region: str) -> tuple[CapacityType, ...]:
    """Capacity types of a region that could hold the job."""
    return tuple(kind for kind in CapacityType if _fits_at_all(manifest, policy, region, kind))
