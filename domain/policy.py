"""What the committee and the platform team decide: weights, residency, room, margins.

A policy is data under version control; a decision refers to it by content hash. Everything that
would otherwise be a constant in code and could be argued about stands here.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

import rfc8785
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from domain.capacity import CapacityType
from domain.documents import read_document
from domain.errors import InvalidPolicy, Problem, UnknownResidency
from domain.forecast import Signal
from domain.manifest import LONGEST_RUN, Duration
from domain.problems import malformed, problems_of
from domain.regions import Region, RegionCatalogue


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Span = Annotated[Duration, Field(ge=timedelta(0), le=LONGEST_RUN)]
GpuModel = Annotated[str, StringConstraints(to_lower=True)]
"""Compared without regard to case, as manifests and coefficients are."""


class OnSignalLoss(StrEnum):
    """Where a whole decision goes when the steering signal is not trustworthy."""

    OTHER_SIGNAL = "other_signal"
    """The other signal if that one is fresh, else cost-only."""
    COST_ONLY = "cost_only"


class OnOneSignal(StrEnum):
    """What becomes of regions that only the other signal tells of, while the steering one is
    trustworthy elsewhere.
    """

    LEAVE_OUT = "leave_out"
    """The decision compares the steering signal where it is known; those regions are left out."""
    OTHER_SIGNAL = "other_signal"
    """The decision compares the other signal everywhere, if more regions have that one."""


class Weights(_Frozen):
    """How carbon and cost are weighed; owned by the sustainability committee."""

    carbon: float = Field(ge=0)
    cost: float = Field(ge=0)

    @model_validator(mode="after")
    def _not_both_zero(self) -> Self:
        if self.carbon + self.cost <= 0:
            raise ValueError("one of carbon and cost must be above 0")
        return self


class RoomLimit(_Frozen):
    """vCPUs and GPUs that policy allows at once in a region, for one capacity type."""

    vcpus: float = Field(ge=0)
    gpus: int = Field(default=0, ge=0)


class RegionPolicy(_Frozen):
    """What is allowed in one region. A capacity type without a limit is not offered there."""

    spot: RoomLimit | None = None
    on_demand: RoomLimit | None = None
    gpu_models: tuple[GpuModel, ...] = ()
    cpu_families: tuple[str, ...] = ()
    """Instance families to which the region's pools are pinned, as ``m6i``: their power counts.
    Where none is named, the mean over all machines does."""
    max_vcpus_per_job: float | None = Field(default=None, gt=0)
    """The largest job the region's compute environments can run (ability, not room)."""
    max_memory_gib_per_job: float | None = Field(default=None, gt=0)

    def limit(self, capacity_type: CapacityType) -> RoomLimit | None:
        """The room limit of one capacity type, or ``None`` where it is not offered."""
        return self.spot if capacity_type is CapacityType.SPOT else self.on_demand


class ResidencyClass(_Frozen):
    """Where data of this class may be processed: a wall, never weighed."""

    regions: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    """ISO 3166-1 alpha-2; every region of the catalogue in these countries."""
    description: str = ""


class LookAgain(_Frozen):
    """When a deferred job asks again, and how much better a new cell must be."""

    min_remaining: Span = timedelta(hours=6)
    """Look when the remaining wait has halved and is still at least this."""
    every: Annotated[Span, Field(ge=timedelta(minutes=1))] | None = None
    """At least so often, whatever remains; each look costs some 11 events in Temporal."""
    min_gain: float = Field(default=0.02, ge=0)
    """Score (0..1) by which a new cell must beat the old one, so that plans do not flap."""


class JobClass(_Frozen):
    """What a class of jobs asks of a wait or a move before it is worth the trouble."""

    min_saving_g: float = Field(default=0, ge=0)
    """gCO2eq of the steering signal, after expected regret, against running now at home."""
    min_saving_percent: float = Field(default=0, ge=0, le=100)
    """The same, of what running now at home emits. Both must hold."""


class Policy(_Frozen):
    """Everything that a placement weighs or may not cross. ``policies/default.yaml`` explains."""

    version: str
    weights: Weights
    steering_signal: Signal
    on_signal_loss: OnSignalLoss = OnSignalLoss.OTHER_SIGNAL
    regions_with_one_signal: OnOneSignal = OnOneSignal.LEAVE_OUT
    min_fresh_regions: int = Field(default=1, ge=1)
    """A decision by carbon needs at least this many legal regions with a fresh forecast, or as
    many as are legal if those are fewer."""
    forecast_max_age: Span = timedelta(minutes=30)
    """A forecast issued longer ago is stale."""
    forecast_max_age_of: dict[str, Span] = {}
    """The same for providers that issue less often than every few minutes."""
    residency: dict[str, ResidencyClass]
    regions: dict[str, RegionPolicy]
    safety_margin: Span = timedelta(minutes=45)
    start_up: Span = timedelta(minutes=5)
    """From submission to the first instruction of the job: machine, image, queue."""
    max_usd_per_vcpu_hour: float | None = Field(default=None, gt=0)
    look_again: LookAgain = LookAgain()
    job_classes: dict[str, JobClass] = {}
    """By the manifest's ``job_class``; one that is not named waits and moves for any saving."""
    no_harm: bool = False
    """Choose no cell that is worse than running now at home on the signal that does not steer."""
    wake_jitter: Span = timedelta(minutes=10)
    """Upper bound of the deterministic delay that spreads wakes of one cell."""

    def max_age(self, provider: str) -> timedelta:
        """How old a provider's forecast may be."""
        return self.forecast_max_age_of.get(provider, self.forecast_max_age)

    def cpu_families(self, region: str) -> tuple[str, ...]:
        """To which a region's pools are pinned; none where it is not enabled."""
        return self.regions[region].cpu_families if region in self.regions else ()

    def legal_regions(self, residency: str, catalogue: RegionCatalogue) -> tuple[str, ...]:
        """Regions, sorted, that the policy enables and the residency class allows.

        Raises:
            UnknownResidency: the policy has no such class.
        """
        return tuple(
            region
            for region in sorted(self.regions)
            if self.residency_allows(residency, catalogue.get(region))
        )

    def residency_allows(self, residency: str, region: Region) -> bool:
        """Whether the class allows a region, enabled or not. Raises ``UnknownResidency``."""
        allowed = self._residency_class(residency)
        return region.id in allowed.regions or region.country in allowed.countries

    def is_legal(self, residency: str, region: str, catalogue: RegionCatalogue) -> bool:
        """Whether residency and policy allow ``region``."""
        return region in self.regions and self.residency_allows(residency, catalogue.get(region))

    def _residency_class(self, residency: str) -> ResidencyClass:
        try:
            return self.residency[residency]
        except KeyError:
            raise UnknownResidency(residency, tuple(sorted(self.residency))) from None

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", exclude_none=True))

    @property
    def sha256(self) -> str:
        """The content hash by which decisions refer to this policy."""
        return hashlib.sha256(self.canonical()).hexdigest()


def parse_policy(text: str, catalogue: RegionCatalogue) -> Policy:
    """Read a policy from YAML and check each region it names against the catalogue.

    Raises:
        InvalidPolicy: malformed YAML, a field out of range, or a region without a grid zone.
        UnknownRegion: a region that the catalogue does not have.
    """
    try:
        policy = Policy.model_validate(read_document(text))
    except yaml.YAMLError as error:
        raise InvalidPolicy((malformed("policy", error),)) from None
    except ValidationError as error:
        known = Policy.model_fields | RegionPolicy.model_fields | ResidencyClass.model_fields
        raise InvalidPolicy(problems_of(error, "policy", known, "policies/default.yaml")) from None
    for region in policy.regions:
        if catalogue.get(region).grid_zone is None:
            raise InvalidPolicy(
                (Problem(f"regions.{region}", region, "a region whose grid zone is known"),)
            )
    for name, residency in policy.residency.items():
        for region in residency.regions:
            catalogue.get(region)
        if not policy.legal_regions(name, catalogue):
            raise InvalidPolicy(
                (Problem(f"residency.{name}", name, "at least one region that is enabled"),)
            )
    return policy
