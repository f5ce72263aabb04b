"""How a cluster is found and a token got: against a fake of Google's API and of its credentials."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.auth.credentials import TokenState
from google.auth.exceptions import RefreshError
from google.cloud.container_v1 import Cluster, ClusterManagerAsyncClient, GetClusterRequest
from google.cloud.container_v1.services.cluster_manager.transports import (
    ClusterManagerGrpcAsyncIOTransport,
)

from activities.compute.gke_cluster import AdcTokens, Endpoint, GkeEndpoint, endpoint_of
from activities.errors import ComputeUnavailable
from tests.activities.compute.gke_site import REGIONS, cluster_of

PATH = "projects/genomics/locations/europe-west1/clusters/batch-europe-west1"
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def described(*, dns: str = "", open_to_all: bool = True) -> Cluster:
    return Cluster(
        {
            "endpoint": "203.0.113.7",
            "master_auth": {"cluster_ca_certificate": base64.b64encode(CA.encode()).decode()},
            "control_plane_endpoints_config": {
                "dns_endpoint_config": {"endpoint": dns, "allow_external_traffic": open_to_all}
            },
        }
    )


@asynccontextmanager
async def container_api(known: dict[str, Cluster]) -> AsyncIterator[GkeEndpoint]:
    """Google's API as a gRPC server on this machine, and the real client on it."""

    async def get_cluster(asked: GetClusterRequest, context: grpc.aio.ServicerContext) -> Cluster:
        if asked.name not in known:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such cluster")
        return known[asked.name]

    method = grpc.unary_unary_rpc_method_handler(
        get_cluster,
        request_deserializer=GetClusterRequest.deserialize,
        response_serializer=Cluster.serialize,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "google.container.v1.ClusterManager", {"GetCluster": method}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        transport = ClusterManagerGrpcAsyncIOTransport(channel=channel)
        yield GkeEndpoint(lambda: ClusterManagerAsyncClient(transport=transport))
    finally:
        await channel.close()
        await server.stop(None)


async def test_a_cluster_is_reached_by_its_dns_endpoint_without_its_ca() -> None:
    """Its certificate is a public one: the cluster's CA would refuse it."""
    cluster = described(dns="gke-1a2b.europe-west1.gke.goog")
    async with container_api({PATH: cluster}) as endpoints:
        found = await endpoints.find(cluster_of(REGIONS[0]))
    assert found == Endpoint("https://gke-1a2b.europe-west1.gke.goog", None)


@pytest.mark.parametrize(
    "cluster", [described(), described(dns="gke-1a2b.gke.goog", open_to_all=False)]
)
def test_without_a_dns_endpoint_for_us_its_address_and_its_ca_serve(cluster: Cluster) -> None:
    """It has none, or none that takes traffic from outside."""
    assert endpoint_of(cluster) == Endpoint("https://203.0.113.7", CA)


async def test_a_cluster_that_is_not_there_is_named() -> None:
    """As a region that does not serve us."""
    async with container_api({}) as endpoints:
        with pytest.raises(ComputeUnavailable, match=f"{PATH}.*NotFound"):
            await endpoints.find(cluster_of(REGIONS[0]))


class Credentials:
    """As google-auth's: a token that grows stale, and one more at each refresh."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.token_state = TokenState.INVALID
        self.refreshes = 0
        self.fails = False
        self.at_once = 0
        self.most_at_once = 0
        self._counting = threading.Lock()

    def refresh(self, _: object) -> None:
        with self._counting:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(0.02)  # as long as a token service takes
            if self.fails:
                raise RefreshError("invalid_grant: hush")
            self.refreshes += 1
            self.token = f"token-{self.refreshes}"
            self.token_state = TokenState.FRESH
        finally:
            with self._counting:
                self.at_once -= 1


async def test_a_token_is_kept_until_it_is_stale() -> None:
    """And replaced while it would still be taken: requests must not outlive it."""
    credentials = Credentials()
    tokens = AdcTokens(lambda: credentials)
    assert [await tokens.token(), await tokens.token()] == ["token-1", "token-1"]
    credentials.token_state = TokenState.STALE
    assert await tokens.token() == "token-2"


async def test_a_refused_token_is_never_given_again() -> None:
    """Fresh as it looks; one that was refused earlier is of no concern."""
    credentials = Credentials()
    tokens = AdcTokens(lambda: credentials)
    first = await tokens.token()
    second = await tokens.token(refused=first)
    assert second != first
    assert await tokens.token(refused=first) == second


async def test_one_token_is_asked_for_at_a_time() -> None:
    """However many requests wait for it."""
    credentials = Credentials()
    tokens = AdcTokens(lambda: credentials)
    given = await asyncio.gather(*(tokens.token() for _ in range(20)))
    assert (set(given), credentials.most_at_once) == ({"token-1"}, 1)


async def test_a_token_that_cannot_be_got_is_told_without_the_answers_text() -> None:
    """It may quote what was sent."""
    credentials = Credentials()
    credentials.fails = True
    with pytest.raises(ComputeUnavailable, match="RefreshError") as told:
        await AdcTokens(lambda: credentials).token()
    assert "hush" not in str(told.value)
