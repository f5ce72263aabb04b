"""Which GKE cluster stands for a region, and how it is reached without a kubeconfig.

Both ways to the outside are small seams: ``ClusterEndpoint`` says where the API server of a cluster
is, ``TokenSource`` gives the bearer token. ``GkeEndpoint`` and ``AdcTokens`` are the real ones.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import google.auth
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import TokenState
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud.container_v1 import Cluster, ClusterManagerAsyncClient

from activities.errors import ComputeUnavailable

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

LOOKUP_S = 15.0
"""Bound of one look-up of a cluster, and of one token."""


@dataclass(frozen=True, slots=True)
class GkeCluster:
    """The one cluster of a region, and where its runs' data belong."""

    region: str
    """As ``gcp:europe-west1``."""
    project: str
    location: str
    """Google's name of the cluster's region or zone."""
    name: str
    bucket: str
    """Of the same region, so that checkpoints and outputs stay where residency put the run."""
    namespace: str = "lowtide"
    autopilot: bool = True
    service_account: str | None = None
    """Kubernetes service account of the runs; without one they get no credentials at all."""

    @property
    def path(self) -> str:
        """The cluster's resource name."""
        return f"projects/{self.project}/locations/{self.location}/clusters/{self.name}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an API server is."""

    url: str
    ca_pem: str | None = None
    """Whom to trust; the usual authorities where there is none."""


class ClusterEndpoint(Protocol):
    """Finds API servers."""

    async def find(self, cluster: GkeCluster) -> Endpoint:
        """Where a cluster's API server is. Raises ``ComputeUnavailable``."""


class TokenSource(Protocol):
    """Gives bearer tokens."""

    async def token(self, refused: str | None = None) -> str:
        """A token that is good for some minutes, and is not ``refused``, which the server did not
        take. Raises ``ComputeUnavailable``.
        """


class GkeEndpoint:
    """Looks clusters up in Google's API."""

    def __init__(
        self, client: Callable[[], ClusterManagerAsyncClient] = ClusterManagerAsyncClient
    ) -> None:
        """Take what makes the client; it is made at the first look-up, in the loop that uses it."""
        self._make = client
        self._client: ClusterManagerAsyncClient | None = None

    async def find(self, cluster: GkeCluster) -> Endpoint:
        """A cluster's DNS endpoint where it takes traffic from outside, else its IP endpoint."""
        try:
            self._client = self._client or self._make()
            found = await self._client.get_cluster(name=cluster.path, timeout=LOOKUP_S)
        except (GoogleAPICallError, GoogleAuthError) as error:
            raise ComputeUnavailable(cluster.path, _kind(error)) from None
        return endpoint_of(found)


@dataclass(frozen=True, slots=True)
class KnownEndpoints:
    """API servers whose addresses are given: behind a gateway of one's own, or simulated."""

    urls: Mapping[str, str]
    """By region."""

    async def find(self, cluster: GkeCluster) -> Endpoint:
        """The address given for a cluster's region."""
        return Endpoint(self.urls[cluster.region])


@dataclass(frozen=True, slots=True)
class StaticToken:
    """One token for all requests, as simulated clusters take it."""

    value: str

    async def token(self, refused: str | None = None) -> str:
        """The token, refused or not: there is no other."""
        del refused
        return self.value


def endpoint_of(cluster: Cluster) -> Endpoint:
    """Where a cluster, as Google's API describes it, is reached.

    The DNS endpoint has a certificate of a public authority: with the cluster's own CA every
    connection would fail. The IP endpoint is the other way round.
    """
    by_name = cluster.control_plane_endpoints_config.dns_endpoint_config
    if by_name.endpoint and by_name.allow_external_traffic:
        return Endpoint(f"https://{by_name.endpoint}")
    ca_pem = base64.b64decode(cluster.master_auth.cluster_ca_certificate).decode()
    return Endpoint(f"https://{cluster.endpoint}", ca_pem)


class AdcTokens:
    """Tokens of the application default credentials: workload identity, or a person's login."""

    def __init__(self, credentials: Callable[[], Any] | None = None) -> None:
        """Take what finds google-auth credentials; asked once, at the first token."""
        self._find = credentials or _default_credentials
        self._credentials: Any = None
        self._asking = asyncio.Lock()

    async def token(self, refused: str | None = None) -> str:
        """The token at hand, or a new one; one is asked for at a time, however many wait."""
        async with self._asking:
            try:
                async with asyncio.timeout(LOOKUP_S):
                    return await asyncio.to_thread(self._fresh, refused)
            except (GoogleAuthError, TimeoutError) as error:
                raise ComputeUnavailable("Google's token service", _kind(error)) from None

    def _fresh(self, refused: str | None) -> str:
        self._credentials = held = self._credentials or self._find()
        # Stale is a token with less than some 4 minutes left, though it would still be taken.
        if held.token_state is not TokenState.FRESH or held.token == refused:
            held.refresh(Request())
        token: str = held.token
        return token


def _default_credentials() -> Any:
    credentials, _ = google.auth.default(scopes=SCOPES)
    return credentials


def _kind(error: Exception) -> str:
    """An error's type: its text may quote a request."""
    return type(error).__name__
