"""The section of the settings that says where jobs run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, FilePath, HttpUrl, model_validator

from activities.compute.aws_batch_regions import Platform
from workers.sections import Section


class QueuesSettings(Section):
    """One platform's job queues, by name or ARN."""

    spot: str
    on_demand: str


class BatchRegionSettings(Section):
    """AWS Batch in one region, as it was set up for Lowtide."""

    bucket: str
    """S3 bucket of the region itself, for checkpoints and outputs."""
    ec2: QueuesSettings = QueuesSettings(spot="lowtide-ec2-spot", on_demand="lowtide-ec2-on-demand")
    fargate: QueuesSettings | None = None
    """EC2 and Fargate cannot share a queue; left out, Fargate is not used."""
    gpus: dict[str, QueuesSettings] = Field(default_factory=dict)
    """GPU model -> queues of machines that have it."""
    prefer: Platform = Platform.EC2
    execution_role_arn: str = ""
    """Pulls images and writes logs; Fargate needs one."""
    job_role_arn: str = ""
    """Of the user's program."""
    events_queue_url: str = ""
    """SQS queue of EventBridge's job state changes; polls alone where left out."""
    endpoint_url: HttpUrl | None = None
    """For a server of one's own; so is the next."""
    events_endpoint_url: HttpUrl | None = None

    @model_validator(mode="after")
    def _fargate_has_a_role(self) -> Self:
        if self.fargate is not None and not self.execution_role_arn:
            raise ValueError("an execution_role_arn where fargate is used")
        return self


class GkeClusterSettings(Section):
    """The GKE cluster of one region."""

    project: str
    location: str
    """Google's name of the cluster's region or zone."""
    name: str
    bucket: str
    """Of the same region, for checkpoints and outputs."""
    namespace: str = "lowtide"
    autopilot: bool = True
    service_account: str | None = None
    """Kubernetes service account of the runs; without one they get no credentials."""
    endpoint_url: HttpUrl | None = None
    """Address of the API server, where ``gke_token_file`` is given; else Google is asked."""


class LocalComputeSettings(Section):
    """Processes of this machine that stand in for every region."""

    kind: Literal["local"] = "local"


class CloudComputeSettings(Section):
    """AWS Batch and GKE; each region that the policy enables must be among them."""

    kind: Literal["cloud"]
    aws: dict[str, BatchRegionSettings] = Field(default_factory=dict)
    """``aws:eu-north-1`` -> its queues."""
    gke: dict[str, GkeClusterSettings] = Field(default_factory=dict)
    """``gcp:europe-west1`` -> its cluster."""
    gke_token_file: FilePath | None = None
    """Bearer token of clusters with an ``endpoint_url``; Google's credentials where left out."""

    @model_validator(mode="after")
    def _addresses_come_with_a_token(self) -> Self:
        given = {item.endpoint_url is not None for item in self.gke.values()}
        if given and given != {self.gke_token_file is not None}:
            raise ValueError("endpoint_url for every cluster and gke_token_file, or neither")
        return self


ComputeSettings = Annotated[
    LocalComputeSettings | CloudComputeSettings, Field(discriminator="kind")
]
