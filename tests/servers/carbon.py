"""Fakes of both carbon providers in one process: ``python -m tests.servers.carbon --port 8070``.

Each stands under a path of its own (``/electricity-maps``, ``/watttime``). ``/control`` shows what
was asked (GET), sets latency, clock, plan and the like (PATCH), and takes faults (POST and DELETE
``/control/faults``); in a test the same is at hand as attributes of ``CarbonServer``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Self

from aiohttp import web

from tests.servers.carbon_electricity_maps import KEY, ElectricityMapsFake, Reply
from tests.servers.carbon_faults import BEFORE_ANSWERING, HTML, Fault, Faults, Kind, spoil
from tests.servers.carbon_watttime import PASSWORD, USER, WattTimeFake

ELECTRICITY_MAPS, WATTTIME = "electricity-maps", "watttime"

NO_LIMIT_PER_S = 200
"""The Electricity Maps fake has no limit unless it is told one; this is more than anyone needs."""


@dataclass
class Clock:
    """The fakes' time: the machine's, or one that stands where it was put."""

    frozen: datetime | None = None

    def __call__(self) -> datetime:
        return self.frozen or datetime.now(UTC)

    def advance(self, by: timedelta) -> None:
        self.frozen = self() + by


@dataclass
class Limit:
    """At most so many requests in any window."""

    requests: int
    window_s: float
    _seen: deque[float] = field(default_factory=deque)

    def wait_s(self, now_s: float) -> float | None:
        """How long to wait, or ``None``: the request is within the limit and counts."""
        while self._seen and self._seen[0] <= now_s - self.window_s:
            self._seen.popleft()
        if len(self._seen) >= self.requests:
            return self._seen[0] + self.window_s - now_s
        self._seen.append(now_s)
        return None


class CarbonServer:
    """Both fakes on one port of 127.0.0.1 while the block runs."""

    def __init__(self, now: datetime | None = None, port: int = 0) -> None:
        self.clock = Clock(now)
        self.electricity_maps = ElectricityMapsFake(self.clock)
        self.watttime = WattTimeFake(self.clock)
        self.faults = Faults()
        self.latency_s = 0.0
        self.limits: dict[str, Limit] = {
            WATTTIME: Limit(3000, 300.0),
            f"{WATTTIME} login": Limit(100, 300.0),
        }
        """Published limits; Electricity Maps publishes none."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """(provider, endpoint) -> how often asked."""
        self.queries: list[tuple[str, dict[str, str]]] = []
        """(endpoint, parameters) of every request, in order."""
        self.over_limit = 0
        """How many requests came over a published limit."""
        self.max_connections = 0
        self._connections: set[object] = set()
        self._port = port
        self._closing = asyncio.Event()
        app = web.Application()
        app.router.add_get("/control", self._show)
        app.router.add_patch("/control", self._set)
        app.router.add_post("/control/faults", self._add_fault)
        app.router.add_delete("/control/faults", self._clear_faults)
        app.router.add_get("/{provider}/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        [address] = self._runner.addresses
        self._port = address[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def electricity_maps_url(self) -> str:
        return f"{self.url}/{ELECTRICITY_MAPS}"

    @property
    def watttime_url(self) -> str:
        return f"{self.url}/{WATTTIME}"

    def asked(self, provider: str, endpoint: str | None = None) -> int:
        """How often a provider, or one endpoint of it, was asked."""
        return sum(
            count
            for (of, at), count in self.requests.items()
            if of == provider and endpoint in {None, at}
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        provider, path = request.match_info["provider"], request.match_info["path"]
        endpoint = path.rpartition("/")[2]
        query = dict(request.query)
        self.requests[provider, endpoint] += 1
        self.queries.append((endpoint, query))
        self._connections.add(request.protocol)
        server = self._runner.server
        still_open = self._connections.intersection(server.connections if server else ())
        self.max_connections = max(self.max_connections, len(still_open))
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        for name in (provider, f"{provider} {endpoint}"):
            limit = self.limits.get(name)
            wait_s = limit.wait_s(asyncio.get_running_loop().time()) if limit else None
            if wait_s is not None:
                self.over_limit += 1
                return web.json_response(
                    {"error": "rate limit"},
                    status=HTTPStatus.TOO_MANY_REQUESTS,
                    headers={"Retry-After": str(int(wait_s) + 1)},
                )
        fake = self.electricity_maps if provider == ELECTRICITY_MAPS else self.watttime
        fault = self.faults.strike(provider, endpoint, fake.place(query))
        if fault is not None and fault.kind in BEFORE_ANSWERING:
            return await self._fail(request, fault)
        if provider == ELECTRICITY_MAPS:
            path = path.partition("/")[2]  # v3 and v4 answer alike
        return _response(fake.answer(path, query, request.headers), fault)

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind is Kind.HANG:
            await self._closing.wait()
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
        if fault.kind is Kind.DRIP:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            while not self._closing.is_set():
                try:
                    await response.write(b" ")
                    await asyncio.wait_for(self._closing.wait(), 0.01)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            return response
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        return web.Response(
            text=fault.body, status=fault.status, content_type=fault.content_type, headers=headers
        )

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": {" ".join(key): count for key, count in self.requests.items()},
                "over_limit": self.over_limit,
                "max_connections": self.max_connections,
                "logins": self.watttime.logins,
                "now": self.clock().isoformat(),
                "faults": [fault.model_dump(mode="json") for fault in self.faults.in_force],
            }
        )

    async def _set(self, request: web.Request) -> web.Response:
        """``{"latency_s": 0.05, "now": "...", "plan": {...}, "limits": {"watttime": [100, 1]}}``,
        ``{"models": [...], "warnings": [...], "expire_tokens": true, "html_on_expiry": true}``.
        """
        told: dict[str, Any] = await request.json()
        self.latency_s = told.get("latency_s", self.latency_s)
        if "now" in told:
            self.clock.frozen = told["now"] and datetime.fromisoformat(told["now"])
        for name, (requests, window_s) in told.get("limits", {}).items():
            self.limits[name] = Limit(requests, window_s)
        if plan := told.get("plan"):
            if plan.get("zones") is not None:
                plan["zones"] = frozenset(plan["zones"])
            self.electricity_maps.plan = replace(self.electricity_maps.plan, **plan)
        self.watttime.models = told.get("models", self.watttime.models)
        self.watttime.warnings = told.get("warnings", self.watttime.warnings)
        self.watttime.html_on_expiry = told.get("html_on_expiry", self.watttime.html_on_expiry)
        if told.get("expire_tokens"):
            self.watttime.expire_tokens()
        return await self._show(request)

    async def _add_fault(self, request: web.Request) -> web.Response:
        self.faults.put(Fault.model_validate(await request.json()))
        return await self._show(request)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self.faults.clear()
        return await self._show(request)


def _response(reply: Reply, fault: Fault | None) -> web.Response:
    document = reply.document
    if not document and reply.status == HTTPStatus.FORBIDDEN:
        return web.Response(text=HTML, status=reply.status, content_type="text/html")
    if fault is not None and reply.status == HTTPStatus.OK:
        document = spoil(document, fault)
    text = json.dumps(document)
    if fault is not None and fault.kind is Kind.TRUNCATED:
        text = text[: len(text) // 2]
    shape = {"X-Fake-Shape": "synthetic"} if reply.synthetic else {}
    return web.Response(
        text=text, status=reply.status, content_type="application/json", headers=shape
    )


async def _run(port: int, latency_s: float) -> None:
    async with CarbonServer(port=port) as server:
        server.latency_s = latency_s
        print(  # noqa: T201 - what whoever started it waits for
            json.dumps(
                {
                    ELECTRICITY_MAPS: server.electricity_maps_url,
                    WATTTIME: server.watttime_url,
                    "control": f"{server.url}/control",
                    "environment": {
                        "ELECTRICITY_MAPS_API_KEY": KEY,
                        "WATTTIME_USER": USER,
                        "WATTTIME_PASSWORD": PASSWORD,
                    },
                    "requests_per_s": NO_LIMIT_PER_S,
                }
            ),
            flush=True,
        )
        await asyncio.Event().wait()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before each answer")
    options = parser.parse_args()
    try:
        asyncio.run(_run(options.port, options.latency_ms / 1000))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
