"""How the carbon providers are reached over HTTP: one client, and manners for each provider.

``open_client`` makes the one client that all of them share. ``ProviderApi`` is one provider's door
to it: a rate limit, a number of requests in flight and a circuit breaker that all users of that
provider share. Both live in one event loop: open, use and close them in the same one.

From the outside in, a request passes: the breaker (open: it fails at once and says until when),
its place among the requests in flight, the retries (429 and 5xx, time-outs, broken connections;
full jitter; ``Retry-After`` is honoured up to a cap), and for each try the rate limit, one deadline
for the whole of it and a bound on the body. So a retry costs its share of the rate limit too, and
a body that drips in for ever is a time-out like any other.

No message made here holds a header, a key or a password: what a provider says is masked, and
exceptions of the HTTP libraries, whose texts may quote headers, are named by their type alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Self, TypeVar

import httpx
from aiolimiter import AsyncLimiter
from httpx_retries import Retry, RetryTransport
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from pydantic import BaseModel, ConfigDict, ValidationError

from activities.errors import AnswerRefused, ProviderDown, ProviderMisconfigured
from activities.masks import masked

IN_FLIGHT = 12
"""Requests of one provider that are under way at once, and connections to one host; the others wait
their turn. More would not be faster: a pool looks at all of its connections for each request."""

MAX_BODY_BYTES = 2 * 2**20
"""The largest answer that we ask for, 72 h in steps of 5 min, is some 60 KB."""

EXCERPT_LENGTH = 160
RETRIED = frozenset({429, 500, 502, 503, 504})
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LIMITER = "lowtide_limiter"
"""Where a request carries its provider's rate limit down to the tries."""

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Timings:
    """How long one request may take. The worst case is the tries' deadlines and the waits."""

    connect_s: float = 5.0
    try_s: float = 10.0
    """One try as a whole: connection, headers and body."""
    retries: int = 2
    backoff_s: float = 0.5
    """Before retry n, a random wait of up to this times 2**n."""
    longest_wait_s: float = 15.0
    """Cap on one wait, a ``Retry-After`` too."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Never more than ``burst`` plus ``per_s`` times the seconds, over any stretch of time."""

    per_s: float
    burst: int = 1

    @classmethod
    def within(cls, requests: int, window_s: float) -> Self:
        """The rate that keeps every rolling window under ``requests``, its burst included.

        2 % are left unused: requests arrive less evenly than they are sent.
        """
        burst = max(1, requests // 100)
        return cls((0.98 * requests - burst) / window_s, burst)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a provider is left in peace."""

    failures: int = 5
    """So many requests in a row that failed, each after its retries."""
    open_for_s: float = 60.0
    """Then nothing is asked for this long; the next request is the trial."""


def open_client(
    timings: Timings = Timings(),
    connections: int = IN_FLIGHT,
    max_body_bytes: int = MAX_BODY_BYTES,
    tls: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """The client that all providers share; close it with ``aclose`` or ``async with``.

    Redirects are not followed: a key is for the host that it was given for.

    Args:
        timings: how long one request may take.
        connections: how many to one host.
        max_body_bytes: an answer over it is refused.
        tls: whom to trust; the usual authorities where left out.
    """
    pool = partial(
        httpx.AsyncHTTPTransport,
        verify=tls or httpx.create_ssl_context(),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )
    retry = Retry(
        total=timings.retries,
        allowed_methods=["GET"],
        status_forcelist=RETRIED,
        backoff_factor=timings.backoff_s,
        max_backoff_wait=timings.longest_wait_s,
    )
    return httpx.AsyncClient(
        transport=RetryTransport(_Tries(pool, timings.try_s, max_body_bytes), retry),
        timeout=httpx.Timeout(timings.try_s, connect=timings.connect_s),
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
    )


class _Tries(httpx.AsyncBaseTransport):
    """One try: its share of the rate limit, one deadline, one size.

    Each host has a pool of its own: a connection to one is of no use for another, and looking at
    all of them for each request was a quarter of what a refresh costs.
    """

    def __init__(
        self, pool: Callable[[], httpx.AsyncBaseTransport], try_s: float, max_body_bytes: int
    ) -> None:
        self._pool = pool
        self._pools: dict[bytes, httpx.AsyncBaseTransport] = {}
        self._try_s = try_s
        self._max_body_bytes = max_body_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        limiter: AsyncLimiter = request.extensions[LIMITER]
        await limiter.acquire()
        host = request.url.netloc
        if host not in self._pools:
            self._pools[host] = self._pool()
        try:
            async with asyncio.timeout(self._try_s):
                response = await self._pools[host].handle_async_request(request)
                try:
                    content = await self._body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx.ReadTimeout("no whole answer in time", request=request) from None
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            # A small compressed body may hide a huge one; we asked for a plain one.
            raise AnswerRefused("a compressed body, which was not asked for")
        parts, size = [], 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > self._max_body_bytes:
                raise AnswerRefused(f"a body over {self._max_body_bytes} bytes")
            parts.append(part)
        return b"".join(parts)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


class Wire(BaseModel):
    """Base of the answers' schemas: strict, so that ``"21"``, ``true`` and NaN are no numbers.

    Fields that we do not know are ignored: providers add some.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    content: bytes
    is_json: bool
    """By its declared type: error pages of proxies are HTML."""

    def read(self, schema: type[Document]) -> Document:
        """The answer's document. Raises ``AnswerRefused``, naming the first wrong field."""
        if self.content.lstrip()[:1] == b"<":
            raise AnswerRefused(f"an HTML page with status {self.status}")
        try:
            return schema.model_validate_json(self.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise AnswerRefused(f"{where or 'body'}: {first['msg']}") from None


class ProviderApi:
    """One provider's door: everybody who asks that provider shares it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        name: str,
        base_url: str,
        limit: RateLimit,
        breaker: BreakerSettings = BreakerSettings(),
        in_flight: int = IN_FLIGHT,
    ) -> None:
        """Hold the client; nothing is asked yet.

        Raises:
            ProviderMisconfigured: the address would send keys over a network in the clear.
        """
        address = httpx.URL(base_url)
        if address.scheme != "https" and address.host not in LOOPBACK:
            raise ProviderMisconfigured(
                name, "base_url", f"{address.scheme}://{address.host}", "https, or this machine"
            )
        self.name = name
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._limiter = AsyncLimiter(limit.burst, limit.burst / limit.per_s)
        self._in_flight = asyncio.Semaphore(in_flight)
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=breaker.failures,
            default_ttl=breaker.open_for_s,
            # One zone's refusal says that the provider works. All else counts against it, also a
            # request that was given up for want of time.
            exclude=[AnswerRefused],
        )
        self._open_for_s = breaker.open_for_s
        self._secrets: dict[str, str] = {}

    def mask(self, label: str, value: str) -> None:
        """Take note of a secret: from now on it is masked in what the provider says."""
        self._secrets[label] = value

    def header_value(self, label: str, value: str) -> str:
        """A secret that will stand in a header: masked like any other, and returned.

        Raises:
            ProviderDown: it cannot stand there. A library's own error would quote it.
        """
        self.mask(label, value)
        if not value.isascii() or not value.isprintable() or " " in value or not value:
            raise ProviderDown(f"the {label} holds what no header may, a newline perhaps")
        return value

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place among the requests in flight, under the breaker, for one exchange.

        Raises:
            ProviderDown: the breaker is open.
        """
        async with self._in_flight:
            breaker = await self._breakers.get_breaker(self.name)
            try:
                async with breaker:
                    yield
            except OpenedState as opened:
                opened.__traceback__ = None  # one exception for all: it would gather their frames
                until = datetime.fromtimestamp(opened.opened_at + self._open_for_s, UTC)
                raise ProviderDown(
                    f"not asked until {until:%H:%M:%S} UTC: its last requests failed"
                ) from None

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request within a turn.

        Raises:
            ProviderDown: no answer, or 429 or 5xx, after the retries.
            AnswerRefused: the body is too large or compressed.
        """
        request = self._client.build_request(
            "GET",
            self._base_url + path,
            params=dict(params),
            headers=dict(headers or {}),
            extensions={LIMITER: self._limiter},
        )
        try:
            response = await self._client.send(request)
        except httpx.HTTPError as error:
            raise ProviderDown(f"no answer ({type(error).__name__})") from None
        answer = Answer(
            response.status_code,
            response.content,
            "json" in response.headers.get("Content-Type", ""),
        )
        if answer.status in RETRIED:
            raise ProviderDown(f"answers {answer.status}{self.said(answer)}")
        return answer

    def said(self, answer: Answer) -> str:
        """``: ...``: what a refusal's body says, masked and short; nothing where it is HTML."""
        said = masked(answer.content[:4096].decode(errors="replace"), self._secrets.values())
        text = " ".join(said.split())
        if not text or text.startswith("<"):
            return ""
        return f": {text[:EXCERPT_LENGTH]}"


def require_same(field: str, asked: str, answered: str) -> None:
    """Raise ``AnswerRefused`` where an answer is not about what was asked."""
    if answered != asked:
        raise AnswerRefused(f"{field}: {answered} was answered, {asked} was asked for")
