"""The HTTP face of one simulated cluster: Jobs and pods, lists, watches, and faults on demand."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.servers.kubernetes_jobs import JobController
from tests.servers.kubernetes_pods import Kubelet
from tests.servers.kubernetes_store import (
    KINDS,
    Event,
    Failure,
    Key,
    Object,
    Store,
    fields_of,
    selects,
)
from tests.servers.kubernetes_types import (
    patched,
    require_same_job,
    require_typed,
    require_valid_job,
)

JSON = "application/json"


class Dropped(Exception):
    """The connection breaks off."""


@dataclass
class Faults:
    """What goes wrong, each until it is set back or used up."""

    is_down: bool = False
    """Nothing is answered: connections break off."""
    throttled: float = 0.0
    """Share of requests that get 429."""
    retry_after_s: int = 1
    lost_answers: int = 0
    """So many changes are made and not answered."""
    latency_s: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311

    def strike(self) -> None:
        """Raise where this request is not answered, or throttled."""
        if self.is_down:
            raise Dropped
        if self.throttled and self.random.random() < self.throttled:
            raise Failure(429, "too many requests, please try again later")

    def lose(self, verb: str) -> None:
        """Raise where a change that was made is not answered."""
        if verb in {"create", "patch", "delete"} and self.lost_answers > 0:
            self.lost_answers -= 1
            raise Dropped


class ClusterServer:
    """One cluster: its store, its controllers, its API."""

    def __init__(self, kubelet: Kubelet, *, tokens: set[str] | None = None) -> None:
        self.store: Store = kubelet.store
        self.kubelet = kubelet
        self.controller = JobController(self.store, kubelet.delete)
        self.faults = Faults()
        self.tokens = tokens
        """Bearer tokens that are taken; any where there is none."""
        self.bookmark_every_s = 1.0
        self.calls: Counter[tuple[str, str]] = Counter()
        """(verb, resource) -> how often asked."""
        self.throttled = 0
        self._streams: set[asyncio.Task[Any]] = set()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(self.controller.run())

    async def close(self) -> None:
        self.drop_watches()
        self.controller.close()
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        await self.kubelet.close()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is about to start."""
        return self.controller.is_idle and not self.kubelet.starting

    def go_down(self, is_down: bool = True) -> None:
        """Answer nothing from now on, and break off what is open; or be back."""
        self.faults.is_down = is_down
        self.drop_watches()

    def drop_watches(self) -> None:
        """Break off every watch that is open."""
        for stream in list(self._streams):
            stream.cancel()

    def pod_of(self, run: str) -> Key:
        """The one pod of a Job."""
        for key, job in self.store.objects.items():
            if key[0] == "jobs" and key[2] == run:
                for pod in self.store.owned(job["metadata"]["uid"]):
                    return "pods", pod["metadata"]["namespace"], pod["metadata"]["name"]
        raise Failure(404, f"{run} has no pod")

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request under ``/apis/batch/v1`` or ``/api/v1``."""
        resource, name = request.match_info["resource"], request.match_info.get("name", "")
        verb = _verb(request, name)
        self.calls[verb, resource] += 1
        if self.faults.latency_s:
            await asyncio.sleep(self.faults.latency_s)
        try:
            self.faults.strike()
            self._require_token(request)
            key = (resource, request.match_info["namespace"], name)
            if verb == "watch":
                return await self._watch(request, key)
            document, status = await self._answer(request, verb, key)
            self.faults.lose(verb)
            return web.json_response(document, status=status)
        except Failure as failure:
            headers = {}
            if failure.code in {429, 503}:
                self.throttled += 1
                headers["Retry-After"] = str(self.faults.retry_after_s)
            return web.json_response(failure.status, status=failure.code, headers=headers)
        except Dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)

    def _require_token(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token or (self.tokens and token not in self.tokens):
            raise Failure(401, "Unauthorized")

    async def _answer(self, request: web.Request, verb: str, key: Key) -> tuple[Object, int]:
        match verb:
            case "create":
                return self.create(key, await _body(request)), 201
            case "get":
                return self.store.get(key), 200
            case "list":
                return self._list(request, key), 200
            case "patch":
                return self._patch(key, await _body(request), request.content_type), 200
            case "delete":
                return self._delete(request, key), 200
        raise Failure(405, f"{verb} is not allowed")

    def create(self, key: Key, item: Object) -> Object:
        """Take a Job, as the API does."""
        resource, namespace, _ = key
        require_typed(resource, item)
        require_valid_job(item)
        metadata = item["metadata"]
        if metadata.setdefault("namespace", namespace) != namespace:
            raise Failure(400, "the namespace of the object does not match the request's")
        defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "suspend": False}
        return self.store.create(resource, item | {"spec": defaults | item["spec"], "status": {}})

    def _patch(self, key: Key, patch: Any, content_type: str) -> Object:
        before = self.store.get(key)
        after = patched(before, patch, content_type)
        wanted = after["metadata"].get("resourceVersion")
        if wanted != before["metadata"]["resourceVersion"]:
            raise Failure(
                409,
                f'Operation cannot be fulfilled on {key[0]} "{key[2]}": the object has been'
                " modified; please apply your changes to the latest version and try again",
            )
        require_typed(key[0], after)
        if key[0] == "jobs":
            require_valid_job(after)
            require_same_job(before, after)

        def change(held: Object) -> None:
            # Status is a resource of its own: a change of the object does not reach it.
            held |= {name: after[name] for name in ("metadata", "spec")}

        return self.store.change(key, change)

    def _delete(self, request: web.Request, key: Key) -> Object:
        item = self.store.get(key)
        if key[0] == "pods":
            grace_s = request.query.get("gracePeriodSeconds")
            self.kubelet.delete(key, None if grace_s is None else float(grace_s))
            return self.store.find(key) or item
        if request.query.get("propagationPolicy", "Background") == "Background":
            self.controller.expire(key)
        else:
            self.store.delete(key)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}

    def _list(self, request: web.Request, key: Key) -> Object:
        resource, namespace, _ = key
        wanted = _filter(request)
        items, version, token, left = self.store.page(
            lambda: [item for item in self.store.all(resource, namespace) if wanted(item)],
            int(request.query.get("limit", "0")),
            request.query.get("continue", ""),
        )
        metadata: Object = {"resourceVersion": str(version)}
        if token:
            metadata |= {"continue": token, "remainingItemCount": left}
        api_version, kind = KINDS[resource]
        return {
            "apiVersion": api_version,
            "kind": f"{kind}List",
            "metadata": metadata,
            "items": items,
        }

    # ── watches ──────────────────────────────────────────────────────────────────────────────

    async def _watch(self, request: web.Request, key: Key) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": JSON})
        await response.prepare(request)
        stream = asyncio.ensure_future(self._feed(request, key[0], key[1], response))
        self._streams.add(stream)
        try:
            await stream
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()
            if not stream.cancelled():
                stream.cancel()
                raise
        except ConnectionError:
            pass  # the client has gone
        finally:
            self._streams.discard(stream)
        return response

    async def _feed(
        self, request: web.Request, resource: str, namespace: str, out: web.StreamResponse
    ) -> None:
        """Events until ``timeoutSeconds`` is over, with bookmarks where they are asked for."""
        wanted, api_version, kind = _filter(request), *KINDS[resource]
        seconds = float(request.query.get("timeoutSeconds", "1800"))
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        marks = request.query.get("allowWatchBookmarks") == "true"
        changed = self.store.watcher()
        try:
            version = int(request.query.get("resourceVersion") or "0")
            if version == 0:
                for item in filter(wanted, self.store.all(resource, namespace)):
                    await _write(out, "ADDED", item)
                version = self.store.version
            while (left_s := until - loop.time()) > 0:
                changed.clear()
                for event in self.store.since(version):
                    version = event.version
                    if _concerns(event, resource, namespace) and wanted(event.object):
                        await _write(out, event.type, event.object)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, self.bookmark_every_s)):
                        await changed.wait()
                        continue
                if marks:
                    version = self.store.version
                    mark = {"metadata": {"resourceVersion": str(version)}}
                    await _write(out, "BOOKMARK", {"apiVersion": api_version, "kind": kind} | mark)
        except Failure as failure:
            await _write(out, "ERROR", failure.status)
        finally:
            self.store.unwatch(changed)
        await out.write_eof()


def _verb(request: web.Request, name: str) -> str:
    if request.method == "GET" and not name:
        return "watch" if request.query.get("watch") in {"true", "True", "1"} else "list"
    return {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(
        request.method, request.method.lower()
    )


def _filter(request: web.Request) -> Callable[[Object], bool]:
    labels = request.query.get("labelSelector", "")
    fields = request.query.get("fieldSelector", "")
    return lambda item: (
        selects(labels, item["metadata"].get("labels", {})) and selects(fields, fields_of(item))
    )


def _concerns(event: Event, resource: str, namespace: str) -> bool:
    return event.resource == resource and event.object["metadata"]["namespace"] == namespace


async def _body(request: web.Request) -> Any:
    try:
        return await request.json()
    except json.JSONDecodeError as error:
        raise Failure(400, f"the body is no JSON: {error}") from None


async def _write(out: web.StreamResponse, kind: str, item: Object) -> None:
    await out.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
