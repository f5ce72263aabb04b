"""What must hold before a job is admitted. Each refusal names field, value and what is allowed."""

from __future__ import annotations

from datetime import datetime

from domain.capacity import CapacityType
from domain.decision import World
from domain.energy import it_power_w
from domain.errors import HomeRegionIllegal, InvalidInput, NoLegalRegion
from domain.manifest import JobManifest
from domain.policy import Policy


def admit_check(manifest: JobManifest, world: World, submitted_at: datetime) -> None:
    """Raise unless the job may be admitted: legal, able, priced, and with a deadline ahead.

    The deadline is held against the submission: a job that was kept waiting by us is late, and
    is run and reported as such, but not refused.

    Raises:
        InvalidInput: ``DeadlinePassed``, ``UnknownResidency``, ``UnknownRegion``,
            ``HomeRegionIllegal``, ``NoLegalRegion``, or a field without a coefficient or price.
    """
    policy, catalogue = world.policy, world.catalogue
    manifest.require_deadline_after(submitted_at)
    legal = policy.legal_regions(manifest.residency, catalogue)
    home = catalogue.get(manifest.home_region, "home_region")
    if not policy.residency_allows(manifest.residency, home):
        raise HomeRegionIllegal(home.id, manifest.residency, legal)
    for number, item in enumerate(manifest.inputs):
        catalogue.get(item.region, f"inputs.{number}.region")
    resources = manifest.resources
    it_power_w(
        world.methodology,
        resources.vcpus,
        resources.memory_gib,
        resources.gpus,
        resources.gpu_model,
    )
    for capacity_type in CapacityType:
        if not world.prices.has(home.id, capacity_type):
            raise InvalidInput(
                "home_region",
                home.id,
                f"a region with a {capacity_type.value} row in the price table:"
                " the counterfactual needs it",
            )
    if not any(is_able(manifest, policy, region) for region in legal):
        raise NoLegalRegion(
            manifest.residency,
            f"a legal region that can run {resources.vcpus:g} vCPUs, {resources.memory_gib:g} GiB"
            f" and {resources.gpus} GPUs ({resources.gpu_model or 'none'}); legal are "
            + (", ".join(legal) or "none"),
        )


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
