"""AWS Batch and GKE, as the settings describe them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from activities.compute.aws_batch import AwsBatch
from activities.compute.aws_batch_fence import RunFence
from activities.compute.aws_batch_fence_sqlite import SqliteFence
from activities.compute.aws_batch_regions import BatchRegion, Queues
from activities.compute.by_region import ComputeByRegion
from activities.compute.gke import Gke
from activities.compute.gke_cluster import (
    AdcTokens,
    ClusterEndpoint,
    GkeCluster,
    GkeEndpoint,
    KnownEndpoints,
    StaticToken,
    TokenSource,
)
from domain.errors import InvalidSettings, Problem
from domain.ports import ComputeBackend
from workers.compute_sections import (
    BatchRegionSettings,
    CloudComputeSettings,
    GkeClusterSettings,
    QueuesSettings,
)
from workers.dynamodb import dynamo_fence
from workers.settings import Settings


def cloud_site(
    settings: Settings, own: CloudComputeSettings, regions: list[str]
) -> tuple[ComputeBackend, Callable[[], Awaitable[None]]]:
    """Each region's backend, and how to close what they hold.

    Raises:
        InvalidSettings: a region has neither queues nor a cluster.
    """
    missing = [region for region in regions if region not in own.aws and region not in own.gke]
    if missing:
        raise InvalidSettings(
            tuple(
                Problem("compute", region, "queues or a cluster for each region of the policy")
                for region in missing
            )
        )
    places = [_batch_region(name, item) for name, item in own.aws.items()]
    batch = AwsBatch(places, _fence(settings))
    gke = Gke([_cluster(name, item) for name, item in own.gke.items()], *_way_in(own))

    async def close() -> None:
        batch.close()
        await gke.aclose()

    backends: dict[str, ComputeBackend] = {
        region: batch if region in own.aws else gke for region in regions
    }
    return ComputeByRegion(backends), close


def _fence(settings: Settings) -> RunFence:
    if settings.store.kind == "dynamodb":
        return dynamo_fence(settings.store)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    return SqliteFence(settings.state_dir / "fence.db")


def _batch_region(region: str, own: BatchRegionSettings) -> BatchRegion:
    return BatchRegion(
        region=region,
        bucket=own.bucket,
        ec2=_queues(own.ec2),
        fargate=_queues(own.fargate) if own.fargate else None,
        gpus={model: _queues(queues) for model, queues in own.gpus.items()},
        prefer=own.prefer,
        execution_role_arn=own.execution_role_arn,
        job_role_arn=own.job_role_arn,
        endpoint_url=_url(own.endpoint_url),
        events_queue_url=own.events_queue_url,
        events_endpoint_url=_url(own.events_endpoint_url),
    )


def _queues(own: QueuesSettings) -> Queues:
    return Queues(own.spot, own.on_demand)


def _cluster(region: str, own: GkeClusterSettings) -> GkeCluster:
    return GkeCluster(
        region=region,
        project=own.project,
        location=own.location,
        name=own.name,
        bucket=own.bucket,
        namespace=own.namespace,
        autopilot=own.autopilot,
        service_account=own.service_account,
    )


def _way_in(own: CloudComputeSettings) -> tuple[ClusterEndpoint, TokenSource]:
    """Where API servers are and what lets us in: by Google, or as given."""
    if own.gke_token_file is None:
        return GkeEndpoint(), AdcTokens()
    urls = {region: str(item.endpoint_url).rstrip("/") for region, item in own.gke.items()}
    return KnownEndpoints(urls), StaticToken(own.gke_token_file.read_text().strip())


def _url(setting: object | None) -> str | None:
    return None if setting is None else str(setting).rstrip("/")
