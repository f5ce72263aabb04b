"""Scheduler, kubelet and pod garbage collector of the simulated cluster.

Pods really run, as processes of this machine: the image is ignored, its entry point is none, and
the environment is the container's and PATH. Without processes a pod runs until it is told how it
ended, so that thousands cost nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.kubernetes_jobs import OVER, is_deleted, key_of, phase, set_condition
from tests.servers.kubernetes_store import Event, Failure, Key, Object, Store, now

SHUTDOWN = "Pod was terminated in response to imminent node shutdown."
NO_ROOM = "0/3 nodes are available: 3 Insufficient cpu."
PULL_BACK_OFF = "Back-off pulling image"
SPOT = "cloud.google.com/gke-spot"
BEFORE_ALL = "1970-01-01T00:00:00Z"
_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")


@dataclass
class Life:
    """A container that runs."""

    started_at: str
    exit: asyncio.Future[int]
    process: asyncio.subprocess.Process | None = None
    container_reason: str = ""
    pod_reason: str = ""
    """Makes the pod fail, whatever its exit code."""
    message: str = ""
    disruption: str = ""
    is_lost: bool = False
    """Its node is gone: nobody tells how it ended."""


@dataclass
class Kubelet:
    """All nodes of a cluster."""

    store: Store
    folder: Path
    """Where pods work and leave their output."""
    with_processes: bool = True
    grace_s: float | None = None
    """Instead of the pods' own grace, where given."""
    has_room: bool = True
    has_spot_room: bool = True
    bad_images: set[str] = field(default_factory=set)
    """Images that cannot be pulled."""
    lives: dict[Key, Life] = field(default_factory=dict)
    starting: set[Key] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.store.listen(self._hear)

    def _hear(self, event: Event) -> None:
        if event.resource == "pods" and event.type == "ADDED":
            self._place(key_of(event.object))

    def _do(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for life in self.lives.values():
            _signal(life, signal.SIGKILL)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for life in self.lives.values():
            if life.process is not None:
                await life.process.wait()

    # ── placing ──────────────────────────────────────────────────────────────────────────────

    def make_room(self, has_room: bool = True) -> None:
        """There is capacity, or none: pods then wait. Those that wait are placed."""
        self.has_room = has_room
        self._place_waiting()

    def make_spot_room(self, has_room: bool = True) -> None:
        """The same for Spot machines alone."""
        self.has_spot_room = has_room
        self._place_waiting()

    def _place_waiting(self) -> None:
        for pod in self.store.all("pods"):
            if phase(pod) == "Pending" and "nodeName" not in pod["spec"] and self._has_room(pod):
                self._place(key_of(pod))

    def _has_room(self, pod: Object) -> bool:
        is_spot = SPOT in pod["spec"].get("nodeSelector", {})
        return self.has_room and (self.has_spot_room or not is_spot)

    def _place(self, key: Key) -> None:
        if self._has_room(self.store.get(key)):
            self.starting.add(key)
            self._do(self._live(key))
            return

        def unschedulable(pod: Object) -> None:
            set_condition(pod, "PodScheduled", "Unschedulable", NO_ROOM)
            pod["status"]["conditions"][-1]["status"] = "False"

        asyncio.get_running_loop().call_soon(self._change, key, unschedulable)

    # ── living ───────────────────────────────────────────────────────────────────────────────

    async def _live(self, key: Key) -> None:
        try:
            life = await self._start(key)
        finally:
            self.starting.discard(key)
        if life is None:
            return
        limit_s = self.store.get(key)["spec"].get("activeDeadlineSeconds")
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.shield(life.exit)
        except TimeoutError:
            life.pod_reason = "DeadlineExceeded"
            life.message = "Pod was active on the node longer than the specified deadline"
            await self._kill(key, life)
        code = await life.exit
        _signal(life, signal.SIGKILL)  # what its program left behind
        del self.lives[key]
        if not life.is_lost:
            self._bury(key, life, code)

    async def _start(self, key: Key) -> Life | None:
        pod = self.store.find(key)
        if pod is None or is_deleted(pod):
            return None
        image = pod["spec"]["containers"][0]["image"]
        self._change(key, lambda pod: _bind(pod, image in self.bad_images))
        if image in self.bad_images:
            return None
        life = Life(now(), asyncio.get_running_loop().create_future())
        if self.with_processes:
            try:
                life.process = await self._spawn(pod)
            except OSError as error:
                life.started_at, life.container_reason = BEFORE_ALL, "StartError"
                life.message = (
                    "failed to create containerd task: exec:"
                    f' "{error.filename}": executable file not found in $PATH'
                )
                self._bury(key, life, 128)
                return None
            self._do(_reap(life, life.process))
        self.lives[key] = life
        self._change(key, lambda pod: _run(pod, life))
        if (held := self.store.find(key)) is None or is_deleted(held):
            self._do(self._kill(key, life))
        return life

    async def _spawn(self, pod: Object) -> asyncio.subprocess.Process:
        container, environment = pod["spec"]["containers"][0], dict[str, str]()
        for variable in container.get("env") or ():
            environment[variable["name"]] = expanded(variable.get("value", ""), environment)
        words = [*(container.get("command") or ()), *(container.get("args") or ["true"])]
        folder = self.folder / pod["metadata"]["name"]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "output.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(expanded(word, environment) for word in words),
                cwd=folder,
                env={"PATH": os.environ["PATH"]} | environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _kill(self, key: Key, life: Life, grace_s: float | None = None) -> None:
        """SIGTERM to the program, a grace, SIGKILL."""
        pod = self.store.find(key)
        own_s = pod["spec"].get("terminationGracePeriodSeconds", 30) if pod else 0
        wait_s = next(s for s in (grace_s, self.grace_s, own_s) if s is not None)
        if life.process is None:
            _finish(life, 128 + signal.SIGTERM)
            return
        with suppress(ProcessLookupError):
            life.process.terminate()
        try:
            async with asyncio.timeout(wait_s):
                await asyncio.shield(life.exit)
        except TimeoutError:
            _signal(life, signal.SIGKILL)

    def _bury(self, key: Key, life: Life, code: int) -> None:
        """Tell how a container ended; take the pod away if it was to be deleted."""
        usual = "Completed" if code == 0 else "Error"
        ended = {
            "exitCode": code,
            "reason": life.container_reason or usual,
            "startedAt": life.started_at,
            "finishedAt": now() if life.started_at != BEFORE_ALL else BEFORE_ALL,
        } | ({"message": life.message} if life.container_reason and life.message else {})

        def change(pod: Object) -> None:
            status = pod["status"]
            status["phase"] = "Failed" if code or life.pod_reason else "Succeeded"
            status["conditions"] = [c for c in status["conditions"] if c["type"] != "Ready"]
            status["containerStatuses"] = [_container(pod, "terminated", ended)]
            if life.pod_reason:
                status |= {"reason": life.pod_reason, "message": life.message}
            if life.disruption:
                set_condition(pod, "DisruptionTarget", life.disruption, life.message)

        self._change(key, change)
        self._sweep(key)

    def _sweep(self, key: Key) -> None:
        """A pod that is over, to be deleted, and kept by no finalizer is gone."""
        pod = self.store.find(key)
        if pod and is_deleted(pod) and phase(pod) in OVER and not pod["metadata"].get("finalizers"):
            self.store.delete(key)

    def _change(self, key: Key, change: object) -> None:
        with suppress(Failure):
            self.store.change(key, change)  # type: ignore[arg-type]

    # ── what clients and tests bring about ───────────────────────────────────────────────────

    def delete(self, key: Key, grace_s: float | None = None) -> None:
        """Delete a pod as the API does: it ends within its grace, and is then gone."""

        def change(pod: Object) -> None:
            pod["metadata"].setdefault("deletionTimestamp", now())
            if phase(pod) == "Pending" and key not in self.lives and key not in self.starting:
                pod["status"]["phase"] = "Failed"

        self.store.change(key, change)
        if life := self.lives.get(key):
            self._do(self._kill(key, life, grace_s))
        self._sweep(key)

    def disrupt(self, key: Key, reason: str = "EvictionByEvictionAPI") -> None:
        """End a pod for the cluster's reasons: eviction, taint, preemption by the scheduler."""
        self._change(key, lambda pod: set_condition(pod, "DisruptionTarget", reason, "evicting"))
        self.delete(key)

    def preempt(self, key: Key) -> None:
        """Take the Spot machine back with notice: the kubelet shuts down and tells of it."""
        self._shut(key, "Terminated", SHUTDOWN)

    def evict_over_limit(self, key: Key, message: str) -> None:
        """The kubelet evicts a pod that uses more than it may."""
        self._shut(key, "Evicted", message)

    def _shut(self, key: Key, reason: str, message: str) -> None:
        life = self._life(key)
        life.pod_reason, life.message, life.disruption = reason, message, "TerminationByKubelet"
        self._do(self._kill(key, life))

    def lose_node(self, key: Key, *, with_status: bool = True) -> None:
        """Take the machine without notice: only the garbage collector tells of its pod."""
        life = self._life(key)
        life.is_lost = True
        _signal(life, signal.SIGKILL)
        if life.process is None:
            _finish(life, 137)

        def change(pod: Object) -> None:
            pod["status"]["phase"] = "Failed"
            pod["metadata"]["deletionTimestamp"] = now()
            set_condition(
                pod, "DisruptionTarget", "DeletionByPodGC", "PodGC: node no longer exists"
            )
            if not with_status:
                del pod["status"]["containerStatuses"]

        async def collect() -> None:
            await life.exit
            self._change(key, change)
            self._sweep(key)

        self._do(collect())

    def run_out_of_memory(self, key: Key) -> None:
        """The kernel kills the program for going over its memory limit."""
        life = self._life(key)
        life.container_reason = "OOMKilled"
        _signal(life, signal.SIGKILL)

    def finish(self, key: Key, code: int) -> None:
        """End a pod that has no process."""
        _finish(self._life(key), code)

    def _life(self, key: Key) -> Life:
        try:
            return self.lives[key]
        except KeyError:
            raise Failure(404, f"pod {key[2]} does not run") from None


def expanded(text: str, environment: dict[str, str]) -> str:
    """``$(NAME)`` and ``$$`` as Kubernetes reads them in arguments and variables."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return environment.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def _container(pod: Object, state: str, told: Object) -> Object:
    container = pod["spec"]["containers"][0]
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": state == "running",
        "restartCount": 0,
        "state": {state: told},
    }


def _bind(pod: Object, is_bad: bool) -> None:
    pod["spec"]["nodeName"] = "node-1"
    set_condition(pod, "PodScheduled")
    waiting = {"reason": "ContainerCreating"}
    if is_bad:
        image = pod["spec"]["containers"][0]["image"]
        waiting = {"reason": "ImagePullBackOff", "message": f'{PULL_BACK_OFF} "{image}"'}
    pod["status"] |= {
        "startTime": now(),
        "containerStatuses": [_container(pod, "waiting", waiting)],
    }


def _run(pod: Object, life: Life) -> None:
    pod["status"]["phase"] = "Running"
    pod["status"]["containerStatuses"] = [
        _container(pod, "running", {"startedAt": life.started_at})
    ]
    set_condition(pod, "Ready")


async def _reap(life: Life, process: asyncio.subprocess.Process) -> None:
    code = await process.wait()
    _finish(life, code if code >= 0 else 128 - code)


def _finish(life: Life, code: int) -> None:
    if not life.exit.done():
        life.exit.set_result(code)


def _signal(life: Life, number: signal.Signals) -> None:
    """To all of the container's process group."""
    if life.process is not None:
        with suppress(ProcessLookupError):
            os.killpg(life.process.pid, number)
