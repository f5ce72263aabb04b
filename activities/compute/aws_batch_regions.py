"""Where AWS Batch runs things: a region's queues, and which of them a run belongs to.

A compute environment on EC2 and one on Fargate cannot share a queue, and the price of a machine is
the queue's: so a region has a queue for each platform and capacity type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from activities.errors import RunRefused
from domain.capacity import CapacityType
from domain.job import RunSpec

MIB_PER_GIB = 1024


class Platform(StrEnum):
    """What a queue's containers run on; the values of ``platformCapabilities``."""

    EC2 = "EC2"
    FARGATE = "FARGATE"


@dataclass(frozen=True, slots=True)
class Queues:
    """The queue of each capacity type on one platform, by name or ARN."""

    spot: str
    on_demand: str

    def of(self, capacity_type: CapacityType) -> str:
        """The queue whose machines are bought so."""
        return self.spot if capacity_type is CapacityType.SPOT else self.on_demand


@dataclass(frozen=True, slots=True)
class BatchRegion:
    """One region of an account, as it was set up for Lowtide."""

    region: str
    """``aws:eu-north-1``."""
    bucket: str
    """S3 bucket of the region itself: checkpoints and outputs stay where their residency allows."""
    ec2: Queues = Queues("lowtide-ec2-spot", "lowtide-ec2-on-demand")
    fargate: Queues | None = Queues("lowtide-fargate-spot", "lowtide-fargate-on-demand")
    gpus: Mapping[str, Queues] = field(default_factory=dict)
    """Queues of EC2 machines with one GPU model each. A job definition cannot name a model."""
    prefer: Platform = Platform.EC2
    """For shapes that both platforms can run. EC2 is of known machine families, so that the energy
    of a run is known better."""
    execution_role_arn: str = ""
    """Role that pulls images and writes logs; Fargate needs one."""
    job_role_arn: str = ""
    """Role of the user's program."""
    endpoint_url: str | None = None
    """Another address of Batch than AWS's own."""
    events_queue_url: str = ""
    """SQS queue that receives EventBridge's ``Batch Job State Change``; none: polls alone."""
    events_endpoint_url: str | None = None
    """Another address of SQS than AWS's own."""

    def __post_init__(self) -> None:
        """See that Fargate can be used where it is set up."""
        if self.fargate and not self.execution_role_arn:
            raise ValueError(f"{self.region}: fargate needs execution_role_arn, or leave it out")

    @property
    def code(self) -> str:
        """As AWS names the region."""
        return self.region.partition(":")[2]

    @property
    def queues(self) -> tuple[str, ...]:
        """All queues of the region, each once."""
        platforms = (self.ec2, *([self.fargate] if self.fargate else []), *self.gpus.values())
        return tuple(
            dict.fromkeys(queue for each in platforms for queue in (each.spot, each.on_demand))
        )

    def uri(self, workflow_id: str, what: str) -> str:
        """Where a job's ``checkpoint`` or ``output`` belongs; the same for all its attempts."""
        return f"s3://{self.bucket}/{workflow_id}/{what}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run goes, and the size of its container there."""

    queue: str
    platform: Platform
    vcpus: str
    """As Batch writes it: ``0.25``, ``4``."""
    memory_mib: int
    gpus: int


def target_of(spec: RunSpec, region: BatchRegion) -> Target:
    """The queue for a run: EC2 for GPUs and for what Fargate cannot run, else as preferred.

    Raises:
        RunRefused: no queue of the region has that GPU model.
    """
    memory_mib = math.ceil(spec.memory_gib * MIB_PER_GIB)
    queues, platform = region.ec2, Platform.EC2
    if spec.gpus:
        try:
            queues = region.gpus[spec.gpu_model or ""]
        except KeyError:
            raise RunRefused(
                spec.run, f"no queue of {region.region} has the GPU model {spec.gpu_model}"
            ) from None
    elif (
        region.prefer is Platform.FARGATE
        and region.fargate
        and fits_fargate(spec.vcpus, memory_mib)
    ):
        queues, platform = region.fargate, Platform.FARGATE
    vcpus = spec.vcpus if platform is Platform.FARGATE else max(1, math.ceil(spec.vcpus))
    return Target(queues.of(spec.capacity_type), platform, f"{vcpus:g}", memory_mib, spec.gpus)


_FARGATE_MEMORY_MIB = {
    0.25: (512, 1024, 2048),
    0.5: range(1024, 4097, 1024),
    1.0: range(2048, 8193, 1024),
    2.0: range(4096, 16385, 1024),
    4.0: range(8192, 30721, 1024),
    8.0: range(16384, 61441, 4096),
    16.0: range(32768, 122881, 8192),
}
"""What memory Fargate has beside so many vCPUs.
https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html"""


def fits_fargate(vcpus: float, memory_mib: int) -> bool:
    """Whether Fargate has exactly this shape: a larger one would not be what was decided on."""
    return memory_mib in _FARGATE_MEMORY_MIB.get(vcpus, ())
