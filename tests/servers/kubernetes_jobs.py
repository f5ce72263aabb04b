"""The Job controller of the simulated cluster, with what belongs to it: deadlines, TTL, clearing.

As far as our Jobs need it, after the published behaviour of Kubernetes 1.31 and later: a Job is
first marked (``FailureTarget``, ``SuccessCriteriaMet``) and told to be over only when no container
of its pods runs any more. A pod keeps a finalizer until the controller has counted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from tests.servers.kubernetes_store import Event, Failure, Key, Object, Store, copied, now

FINALIZER = "batch.kubernetes.io/job-tracking"
JOB_NAME, CONTROLLER = "batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid"
OVER = ("Succeeded", "Failed")


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def is_deleted(item: Object) -> bool:
    return "deletionTimestamp" in item["metadata"]


def key_of(item: Object) -> Key:
    metadata = item["metadata"]
    resource = "jobs" if item["kind"] == "Job" else "pods"
    return resource, metadata["namespace"], metadata["name"]


def true_condition(item: Object, *kinds: str) -> Object | None:
    """The first true condition of these types."""
    for found in item.get("status", {}).get("conditions", ()):
        if found["type"] in kinds and found["status"] == "True":
            return dict(found)
    return None


def set_condition(item: Object, kind: str, reason: str = "", message: str = "") -> None:
    """Make a condition true."""
    conditions = item.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [held for held in conditions if held["type"] != kind]
    words = {key: text for key, text in (("reason", reason), ("message", message)) if text}
    conditions.append({"type": kind, "status": "True", "lastTransitionTime": now()} | words)


def age_s(instant: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(instant)).total_seconds()


class JobController:
    """Makes pods for Jobs and counts what becomes of them."""

    def __init__(self, store: Store, delete_pod: Callable[[Key], None]) -> None:
        self._store = store
        self._delete_pod = delete_pod
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        store.listen(self._hear)

    @property
    def is_idle(self) -> bool:
        return not self._queued

    async def run(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            job = self._store.find(key)
            if job is not None:
                self._sync(key, job)

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def expire(self, key: Key) -> None:
        """The time to live of an ended Job is over; or somebody deletes it."""
        with suppress(Failure):
            owned = self._store.owned(self._store.get(key)["metadata"]["uid"])
            self._store.delete(key)
            for pod in owned:
                self._release(key_of(pod))
                self._delete_pod(key_of(pod))

    def _hear(self, event: Event) -> None:
        item = event.object
        if event.resource == "jobs":
            self._enqueue(key_of(item))
        for owner in item["metadata"].get("ownerReferences", ()):
            self._enqueue(("jobs", item["metadata"]["namespace"], owner["name"]))

    def _enqueue(self, key: Key) -> None:
        if key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    def _later(self, delay_s: float, act: Callable[[Key], None], key: Key) -> None:
        def due() -> None:
            self._timers.discard(timer)
            act(key)

        timer = asyncio.get_running_loop().call_later(max(delay_s, 0.0), due)
        self._timers.add(timer)

    # ── one Job ──────────────────────────────────────────────────────────────────────────────

    def _sync(self, key: Key, job: Object) -> None:
        pods = self._store.owned(job["metadata"]["uid"])
        changed = copied(job)
        if true_condition(job, "Complete", "Failed"):
            pass
        elif job["spec"].get("suspend"):
            self._suspend(changed, pods)
        else:
            changed.setdefault("status", {}).setdefault("startTime", now())
            self._decide(key, changed, pods)
        self._write(key, changed)

    def _suspend(self, job: Object, pods: list[Object]) -> None:
        job.setdefault("status", {}).pop("startTime", None)
        if not true_condition(job, "Suspended"):
            set_condition(job, "Suspended", "JobSuspended", "Job suspended")
        self._end(pods)

    def _decide(self, key: Key, job: Object, pods: list[Object]) -> None:
        spec = job["spec"]
        mark = true_condition(job, "FailureTarget", "SuccessCriteriaMet")
        if mark is None:
            mark = self._verdict(key, job, pods)
        live = [pod for pod in pods if phase(pod) not in OVER]
        if mark is not None:
            self._end(pods)
            if not live:
                failed = mark["type"] == "FailureTarget"
                kind = "Failed" if failed else "Complete"
                set_condition(job, kind, mark.get("reason", ""), mark.get("message", ""))
                if not failed:
                    job["status"]["completionTime"] = now()
                if (ttl_s := spec.get("ttlSecondsAfterFinished")) is not None:
                    self._later(ttl_s, self.expire, key)
        elif not live and spec.get("parallelism", 1) > 0:
            # One completion, no overlap: what a podReplacementPolicy of Failed means here.
            self._store.create("pods", self._pod(job))

    def _verdict(self, key: Key, job: Object, pods: list[Object]) -> Object | None:
        """Mark a Job as about to succeed or fail, where it is."""
        spec = job["spec"]
        limit_s = spec.get("activeDeadlineSeconds")
        if limit_s is not None:
            # Whole seconds: the API's instants have no more.
            left_s = limit_s - age_s(job["status"]["startTime"])
            if left_s <= 0:
                return _mark(
                    job,
                    *("FailureTarget", "DeadlineExceeded"),
                    "Job was active longer than specified deadline",
                )
            self._later(left_s, self._enqueue, key)
        if any(phase(pod) == "Succeeded" for pod in pods):
            return _mark(
                job,
                *("SuccessCriteriaMet", "CompletionsReached"),
                "Reached expected number of succeeded pods",
            )
        failures = 0
        for pod in (pod for pod in pods if phase(pod) == "Failed"):
            action, message = _policy(spec.get("podFailurePolicy"), pod)
            if action == "FailJob":
                return _mark(job, "FailureTarget", "PodFailurePolicy", message)
            failures += action != "Ignore"
        if failures > spec.get("backoffLimit", 6):
            return _mark(
                job,
                *("FailureTarget", "BackoffLimitExceeded"),
                "Job has reached the specified backoff limit",
            )
        return None

    def _end(self, pods: list[Object]) -> None:
        for pod in pods:
            if phase(pod) not in OVER and not is_deleted(pod):
                self._delete_pod(key_of(pod))

    def _write(self, key: Key, job: Object) -> None:
        """Conditions and counts in one change; only then are ended pods let go."""
        status, pods = job.setdefault("status", {}), self._store.owned(job["metadata"]["uid"])
        active = [pod for pod in pods if phase(pod) not in OVER and not is_deleted(pod)]
        counts = {
            "active": len(active),
            "ready": sum(true_condition(pod, "Ready") is not None for pod in active),
            "terminating": sum(is_deleted(pod) and phase(pod) not in OVER for pod in pods),
        }
        ended = [
            pod
            for pod in pods
            if phase(pod) in OVER and FINALIZER in pod["metadata"].get("finalizers", ())
        ]
        for kind in OVER:
            counts[kind.lower()] = status.get(kind.lower(), 0) + sum(
                phase(pod) == kind for pod in ended
            )
        for name, count in counts.items():
            status.pop(name, None)
            status |= {name: count} if count else {}
        self._store.change(key, lambda held: held.update(status=status))
        for pod in ended:
            self._release(key_of(pod))

    def _release(self, key: Key) -> None:
        """Take our finalizer off a pod; one that was waiting for that is gone."""

        def change(pod: Object) -> None:
            pod["metadata"].pop("finalizers", None)

        pod = self._store.change(key, change)
        if is_deleted(pod) and phase(pod) in OVER:
            self._store.delete(key)

    def _pod(self, job: Object) -> Object:
        metadata, template = job["metadata"], copied(job["spec"]["template"])
        labels = {JOB_NAME: metadata["name"], CONTROLLER: metadata["uid"]}
        made = template.setdefault("metadata", {})
        suffix = f"{self._store.version:05x}"[-5:]
        made["labels"] = made.get("labels", {}) | labels
        made |= {
            "name": f"{metadata['name'][:57]}-{suffix}",
            "namespace": metadata["namespace"],
            "finalizers": [FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
        return template | {"status": {"phase": "Pending"}}


def _mark(job: Object, kind: str, reason: str, message: str) -> Object:
    set_condition(job, kind, reason, message)
    return {"type": kind, "reason": reason, "message": message}


def _policy(policy: Object | None, pod: Object) -> tuple[str, str]:
    """Action of the first rule that a failed pod fulfils, and the words for it."""
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for index, rule in enumerate((policy or {}).get("rules", ())):
        action, codes = rule["action"], rule.get("onExitCodes")
        matching = f"matching {action} rule at index {index}"
        for wanted in rule.get("onPodConditions") or ():
            if true_condition(pod, wanted["type"]):
                return action, f"Pod {name} has condition {wanted['type']} {matching}"
        for held in pod["status"].get("containerStatuses", ()) if codes else ():
            code = held.get("state", {}).get("terminated", {}).get("exitCode", 0)
            listed = code in codes["values"]
            if code and listed == (codes["operator"] == "In"):
                told = f"Container {held['name']} for pod {name} failed with exit code {code}"
                return action, f"{told} {matching}"
    return "Count", ""
