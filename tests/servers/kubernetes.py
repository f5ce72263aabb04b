"""Simulated Kubernetes clusters, their pods real processes: ``python -m tests.servers.kubernetes``.

It shows our understanding of the API, not the API's behaviour. Each cluster stands under a path of
its own (``/clusters/NAME``). ``GET /control`` shows what there is and what was asked; ``POST
/control/CLUSTER`` brings about what happens to real clusters:

    {"action": "room", "value": false}                no capacity: pods stay Pending; true: again
    {"action": "spot_room", "value": false}           the same for Spot machines alone
    {"action": "preempt", "run": "RUN"}               Spot machine taken back, with notice
    {"action": "lose_node", "run": "RUN"}             and without
    {"action": "disrupt", "run": "RUN", "reason": R}  evicted for the cluster's reasons
    {"action": "evict_over_limit", "run": ..., "message": ...}, {"action": "run_out_of_memory", ...}
    {"action": "finish", "run": "RUN", "code": 0}     a pod without process ends
    {"action": "expire", "run": "RUN"}                the time to live of an ended Job is over
    {"action": "compact"}, {"action": "drop_watches"}
    {"action": "down", "value": true}                 the API server answers nothing; false: again
    {"action": "faults", "throttled": 0.05, "retry_after_s": 1, "lost_answers": 1}

In a test the same is at hand as methods and attributes of ``KubernetesServer.clusters[NAME]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.servers.kubernetes_api import ClusterServer
from tests.servers.kubernetes_jobs import true_condition
from tests.servers.kubernetes_pods import Kubelet
from tests.servers.kubernetes_store import Failure, Store

PATHS = ("apis/batch/v1", "api/v1")
POD_ACTIONS = ("preempt", "lose_node", "disrupt", "evict_over_limit", "run_out_of_memory", "finish")


class KubernetesServer:
    """Clusters on one port of 127.0.0.1 while the block runs."""

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        *,
        port: int = 0,
        with_processes: bool = True,
        grace_s: float | None = None,
        tokens: set[str] | None = None,
    ) -> None:
        self.clusters = {
            name: ClusterServer(
                Kubelet(Store(), folder / name, with_processes=with_processes, grace_s=grace_s),
                tokens=tokens,
            )
            for name in names
        }
        self._port = port
        app = web.Application(client_max_size=3 * 2**20)
        for path in PATHS:
            below = f"/clusters/{{cluster}}/{path}/namespaces/{{namespace}}/{{resource:jobs|pods}}"
            app.router.add_route("*", below, self._serve)
            app.router.add_route("*", below + "/{name}", self._serve)
        app.router.add_get("/control", self._show)
        app.router.add_post("/control/{cluster}", self._act)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        [address] = self._runner.addresses
        self._port = address[1]
        for cluster in self.clusters.values():
            await cluster.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for cluster in self.clusters.values():
            await cluster.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def url_of(self, cluster: str) -> str:
        """What a client takes for the cluster's API server."""
        return f"{self.url}/clusters/{cluster}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        return await self._of(request).serve(request)

    def _of(self, request: web.Request) -> ClusterServer:
        try:
            return self.clusters[request.match_info["cluster"]]
        except KeyError:
            raise web.HTTPNotFound from None

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response({name: _shown(held) for name, held in self.clusters.items()})

    async def _act(self, request: web.Request) -> web.Response:
        cluster, told = self._of(request), await request.json()
        try:
            act(cluster, told.pop("action"), **told)
        except Failure as failure:
            return web.json_response(failure.status, status=failure.code)
        except (KeyError, TypeError, AttributeError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return web.json_response(_shown(cluster))


def act(cluster: ClusterServer, action: str, run: str = "", **more: Any) -> None:
    """Do what ``POST /control/CLUSTER`` asks for."""
    if action in POD_ACTIONS:
        getattr(cluster.kubelet, action)(cluster.pod_of(run), **more)
        return
    match action:
        case "room" | "spot_room":
            getattr(cluster.kubelet, f"make_{action}")(more["value"])
        case "expire":
            cluster.controller.expire(_job(cluster, run))
        case "compact":
            cluster.store.compact()
        case "down":
            cluster.go_down(more["value"])
        case "drop_watches":
            cluster.drop_watches()
        case "faults":
            for name, value in more.items():
                if name not in vars(cluster.faults):
                    raise KeyError(name)
                setattr(cluster.faults, name, value)
        case _:
            raise KeyError(action)


def _job(cluster: ClusterServer, run: str) -> tuple[str, str, str]:
    for key in cluster.store.objects:
        if (key[0], key[2]) == ("jobs", run):
            return key
    raise Failure(404, f"{run} is not there")


def _shown(cluster: ClusterServer) -> dict[str, Any]:
    jobs: Counter[str] = Counter()
    for job in cluster.store.all("jobs"):
        over = true_condition(job, "Complete", "Failed")
        active = "ready" if job["status"].get("ready") else "pending"
        jobs[over["type"].lower() if over else active] += 1
    return {
        "jobs": dict(jobs),
        "processes": len(cluster.kubelet.lives),
        "calls": {" ".join(key): count for key, count in sorted(cluster.calls.items())},
        "throttled": cluster.throttled,
        "version": cluster.store.version,
    }


async def _run(options: argparse.Namespace) -> None:
    folder = Path(options.folder or tempfile.mkdtemp(prefix="clusters-"))
    async with KubernetesServer(
        options.cluster or ["default"],
        folder,
        port=options.port,
        with_processes=not options.no_processes,
        grace_s=options.grace_s,
    ) as server:
        print(  # noqa: T201 - what whoever started it waits for
            json.dumps(
                {name: server.url_of(name) for name in server.clusters}
                | {"control": f"{server.url}/control", "folder": str(folder)}
            ),
            flush=True,
        )
        await asyncio.Event().wait()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument("--cluster", action="append", help="a cluster's name; may be repeated")
    parser.add_argument("--folder", help="where pods work and leave their output")
    parser.add_argument("--no-processes", action="store_true", help="pods end when told to")
    parser.add_argument("--grace-s", type=float, help="instead of the pods' own")
    options = parser.parse_args()
    try:
        asyncio.run(_run(options))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
