"""What must hold before a job is admitted. Each refusal names field, value and what is allowed."""

from __future__ import annotations

from datetime import datetime

from domain.ability import is_able
from domain.capacity import CapacityType
from domain.decision import World
from domain.energy import it_power_w
from domain.errors import HomeRegionIllegal, InvalidInput, NoLegalRegion
from domain.manifest import JobManifest


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
