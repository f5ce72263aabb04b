"""The calls of one cluster's API server, with manners: a rate, a number in flight, retries.

The official asyncio client makes the requests; what comes back is read by our own tolerant schema
(``gke_wire.py``). From the outside in, a call passes: its patience as a whole, the retries (429,
5xx, 401 with a new token, broken connections; ``Retry-After`` is honoured), and for each try a
place among those in flight, the rate limit and one deadline. Every call may be made twice: a
creation by its fixed name, a change by the version of what it changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from aiolimiter import AsyncLimiter
from kubernetes.aio import client
from kubernetes.aio.utils import Backoff, on_retry_after_error
from pydantic import ValidationError

from activities.compute.gke_cluster import ClusterEndpoint, GkeCluster, TokenSource
from activities.compute.gke_manifest import MANAGED_BY, OURS
from activities.compute.gke_wire import Job, Metadata, Page, Pod, Status, WatchEvent
from activities.errors import ComputeUnavailable

LOG = logging.getLogger(__name__)

SELECTOR = f"{MANAGED_BY}={OURS}"
LIVE = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of pods that are not over."""

FAILED_TRY = (aiohttp.ClientError, TimeoutError, OSError)
EXCERPT_LENGTH = 300
TRIES = 8
RUNS_A_CALL = 50
"""Names in one selector: a URL of some 4 KB."""

Ask = Callable[[], Awaitable[aiohttp.ClientResponse]]
Answer = TypeVar("Answer")


class Kind(Enum):
    """What is listed and watched."""

    JOBS = "jobs"
    PODS = "pods"


class Missing(Exception):
    """There is no such object (404)."""


class Conflict(Exception):
    """The name is taken, or the object changed since it was read (409)."""


class Expired(Exception):
    """A version is older than what the API server still knows (410): list anew."""


class Refused(Exception):
    """The API server does not take the object as it is (400, 413, 422)."""


ANSWERS: Mapping[int, type[Exception]] = {
    HTTPStatus.BAD_REQUEST: Refused,
    HTTPStatus.NOT_FOUND: Missing,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Expired,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Refused,
    HTTPStatus.UNPROCESSABLE_ENTITY: Refused,
}
"""What callers tell apart; every other answer is a cluster that does not serve us."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How one worker treats one API server."""

    calls_per_s: float = 20.0
    """Also the burst. Twenty workers stay below what one GKE control plane takes by far."""
    in_flight: int = 16
    try_s: float = 6.0
    """One request as a whole."""
    patience_s: float = 12.0
    """One call with its retries; a step makes two, and has 30 s."""
    backoff_s: float = 0.25
    """Pause before the second try, doubled for each further one; a longer ``Retry-After`` takes
    its place."""
    page: int = 500
    """Objects in one page of a list."""
    watch_s: int = 240
    """Length of one watch; the server ends it, and the next goes on where it was."""
    reconnect_s: float = 1.0
    """Pause between one watch and the next, so that a server that ends each at once is spared."""
    gather_s: float = 0.2
    """How long a watcher gathers news before it passes them on together."""
    lag_s: float = 1.0
    """How long it waits for the pods' stream where the Jobs' stream is ahead of it."""
    beat_s: float = 5.0
    """A watcher's sign of life; well below the heartbeat time-out of ``watch_region``."""


POLITE = Manners()


class ClusterApi:
    """One cluster's API server. Use and close it in one event loop."""

    def __init__(
        self,
        cluster: GkeCluster,
        endpoints: ClusterEndpoint,
        tokens: TokenSource,
        manners: Manners = POLITE,
    ) -> None:
        """Hold how it is reached; nothing is asked yet."""
        self.cluster = cluster
        self.manners = manners
        self._endpoints = endpoints
        self._tokens = tokens
        self._token = ""
        self._refused: str | None = None
        self._client: client.ApiClient | None = None
        self._opening = asyncio.Lock()
        self._in_flight = asyncio.Semaphore(manners.in_flight)
        self._limiter = AsyncLimiter(manners.calls_per_s, 1.0)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    async def create(self, job: client.V1Job) -> Job:
        """Create a Job. Raises ``Conflict`` where the name is taken, ``Refused``."""
        api = await self._batch()
        return Job.model_validate_json(
            await self._call(
                partial(
                    api.create_namespaced_job_without_preload_content,
                    self.cluster.namespace,
                    job,
                    field_validation="Strict",
                    _request_timeout=self.manners.try_s,
                )
            )
        )

    async def job(self, run: str) -> Job | None:
        """A run's Job; ``None`` where there is none, or none of ours."""
        api = await self._batch()
        try:
            body = await self._call(
                partial(
                    api.read_namespaced_job_without_preload_content,
                    run,
                    self.cluster.namespace,
                    _request_timeout=self.manners.try_s,
                )
            )
        except Missing:
            return None
        job = Job.model_validate_json(body)
        return job if job.metadata.labels.get(MANAGED_BY) == OURS else None

    async def patch(self, job: Job, annotations: dict[str, str], spec: dict[str, Any]) -> Job:
        """Annotate a Job and change its specification.

        Raises ``Conflict`` where somebody changed it since it was read, ``Missing``.
        """
        api = await self._batch()
        version = job.metadata.resource_version
        change = {"metadata": {"resourceVersion": version, "annotations": annotations}}
        return Job.model_validate_json(
            await self._call(
                partial(
                    api.patch_namespaced_job_without_preload_content,
                    job.run,
                    self.cluster.namespace,
                    change | ({"spec": spec} if spec else {}),
                    _content_type="application/merge-patch+json",
                    _request_timeout=self.manners.try_s,
                )
            )
        )

    async def pods(self, runs: Iterable[str]) -> tuple[Pod, ...]:
        """The pods of some runs, in as few calls as their number allows."""
        names, found = sorted(runs), []
        for start in range(0, len(names), RUNS_A_CALL):
            some = ",".join(names[start : start + RUNS_A_CALL])
            selector = f"batch.kubernetes.io/job-name in ({some})"
            async for page in self.pages(Kind.PODS, label_selector=selector):
                found += [Pod.model_validate(item) for item in page.items]
        return tuple(found)

    async def pages(
        self, kind: Kind, label_selector: str = SELECTOR, field_selector: str | None = None
    ) -> AsyncGenerator[Page, None]:
        """A list, page by page; all of one version. Raises ``Expired`` where it took too long."""
        more: str | None = None
        while more != "":
            ask = partial(
                await self._lister(kind),
                self.cluster.namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=self.manners.page,
                _continue=more,
                _request_timeout=self.manners.try_s,
            )
            page = Page.model_validate_json(await self._call(ask))
            yield page
            more = page.metadata.continue_

    async def follow(self, kind: Kind, version: str) -> AsyncGenerator[WatchEvent, None]:
        """All changes since a version, without an end; bookmarks too, which only move the version.

        Raises:
            Expired: the version is too old.
            ComputeUnavailable: the server is out of reach.
        """
        while True:
            try:
                async with aclosing(self._watch(kind, version)) as events:
                    async for event in events:
                        moved = Metadata.model_validate(event.object.get("metadata", {}))
                        version = moved.resource_version or version
                        yield event
            except (*FAILED_TRY, ValueError) as error:
                # Broken off, perhaps within a line: the next watch begins after the last whole one.
                LOG.info("watch of %s broken off: %s", kind.value, type(error).__name__)
            await asyncio.sleep(self.manners.reconnect_s)

    async def _watch(self, kind: Kind, version: str) -> AsyncGenerator[WatchEvent, None]:
        """One watch, until the server ends it."""
        ask = partial(
            await self._lister(kind),
            self.cluster.namespace,
            label_selector=SELECTOR,
            resource_version=version,
            watch=True,
            allow_watch_bookmarks=True,
            timeout_seconds=self.manners.watch_s,
            _request_timeout=self.manners.watch_s + self.manners.try_s,
        )
        response = await self._retried(partial(self._open, ask))
        try:
            while (line := await response.content.readline()).endswith(b"\n"):
                event = WatchEvent.model_validate_json(line)
                if event.type == "ERROR":
                    if Status.model_validate(event.object).code == HTTPStatus.GONE:
                        raise Expired
                    return
                yield event
        finally:
            response.close()

    # ── one call ─────────────────────────────────────────────────────────────────────────────

    async def _call(self, ask: Ask) -> bytes:
        return await self._retried(partial(self._ask, ask))

    async def _retried(self, once: Callable[[], Awaitable[Answer]]) -> Answer:
        """Try until it comes through, or patience is at its end.

        Raises:
            ComputeUnavailable: it did not come through; whether it was done is not known.
            Missing, Conflict, Expired, Refused: the API server's own answer.
        """
        backoff = Backoff(steps=TRIES, duration=self.manners.backoff_s, factor=2.0, jitter=0.5)
        try:
            async with asyncio.timeout(self.manners.patience_s):
                return await on_retry_after_error(backoff, _may_pass, once)
        except client.ApiException as error:
            told = f"{error.status} {error.reason}"
            if answer := ANSWERS.get(error.status or 0):
                raise answer(told) from None
            raise ComputeUnavailable(self._where, told) from None
        except FAILED_TRY as error:
            raise ComputeUnavailable(self._where, type(error).__name__) from None

    async def _ask(self, ask: Ask) -> bytes:
        """One try, read whole."""
        async with self._in_flight:
            response = await self._open(ask)
            async with response:
                return await response.read()

    async def _open(self, ask: Ask) -> aiohttp.ClientResponse:
        """One try, up to its first byte. Raises ``ApiException`` where it is not taken."""
        await self._limiter.acquire()
        response = await ask()
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return response
        async with response:
            body = await response.read()
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._refused = self._token
        error = client.ApiException(response.status, _said(body) or response.reason)
        error.headers = response.headers
        raise error

    # ── the client ───────────────────────────────────────────────────────────────────────────

    @property
    def _where(self) -> str:
        return f"cluster {self.cluster.name} of {self.cluster.region}"

    async def _batch(self) -> client.BatchV1Api:
        return client.BatchV1Api(await self._connected())

    async def _lister(self, kind: Kind) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
        if kind is Kind.JOBS:
            return (await self._batch()).list_namespaced_job_without_preload_content
        core = client.CoreV1Api(await self._connected())
        return core.list_namespaced_pod_without_preload_content

    async def _connected(self) -> client.ApiClient:
        async with self._opening:
            if self._client is None:
                endpoint = await self._endpoints.find(self.cluster)
                configuration = client.Configuration(
                    host=endpoint.url, ca_cert_data=endpoint.ca_pem
                )
                configuration.api_key = {"authorization": ""}
                # Declared as ``None``; the client awaits what it returns.
                configuration.refresh_api_key_hook = self._authorize  # type: ignore[assignment]
                self._client = client.ApiClient(configuration)
            return self._client

    async def _authorize(self, configuration: client.Configuration) -> None:
        """Before each request: a token that is good, also hours after the first."""
        self._token = await self._tokens.token(self._refused)
        configuration.api_key["authorization"] = f"Bearer {self._token}"


def _may_pass(error: Exception) -> bool:
    """Whether the same call may come through in a while; 401: with a new token."""
    if isinstance(error, client.ApiException):
        status = error.status or 0
        return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in {
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.TOO_MANY_REQUESTS,
        }
    return isinstance(error, FAILED_TRY)


def _said(body: bytes) -> str:
    """What a refusal says, in short."""
    try:
        return Status.model_validate_json(body).message[:EXCERPT_LENGTH]
    except ValidationError:
        return ""
