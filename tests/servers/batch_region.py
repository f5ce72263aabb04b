"""One region of the fake Batch: its operations, as AWS documents them, and its jobs' lives."""

from __future__ import annotations

import asyncio
import base64
import re
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.batch_containers import NOT_THERE, Container
from tests.servers.batch_faults import Faults
from tests.servers.batch_jobs import (
    OVER,
    WAITING,
    BatchJob,
    Document,
    Ending,
    Queue,
    arn,
    now_ms,
    standard_queues,
)
from tests.servers.batch_prices import SpotPrice
from tests.servers.batch_requests import ClientError, check_submission, definition_of

TIMED_OUT = "Job attempt duration exceeded timeout"
ENDED = "Essential container in task exited"
MOST_IDS = 100


@dataclass
class Pace:
    """How fast the fake is. Nothing here is Batch's word but the usual grace and retention."""

    step_s: float = 0.0
    """Time in each state before RUNNING."""
    grace_s: float = 30.0
    """Between SIGTERM and SIGKILL of a terminated or timed-out job."""
    notice_s: float = 120.0
    """Between SIGTERM and SIGKILL of a reclaimed one."""
    timeout_scale: float = 1.0
    """A job's timeout lasts so much of what it says: 60 s is the least that Batch takes."""
    list_lag_s: float = 0.0
    """How long a new job is missing from ``ListJobs``."""
    retention_s: float = 7 * 86_400.0
    """How long an ended job is remembered."""


@dataclass
class Reclaims:
    """Take a share of all Spot jobs back, chosen by name, so long after their start."""

    share: float = 0.0
    after_s: float = 1.0

    def hits(self, job: BatchJob) -> bool:
        return job.queue.spot and zlib.crc32(job.name.encode()) / 2**32 < self.share


@dataclass
class BatchRegion:
    """Queues, definitions and jobs of one region."""

    name: str
    folder: Path
    runs_processes: bool
    on_change: Callable[[BatchJob], None]
    pace: Pace
    queues: dict[str, Queue] = field(default_factory=standard_queues)
    faults: Faults = field(default_factory=Faults)
    reclaims: Reclaims = field(default_factory=Reclaims)
    prices: list[SpotPrice] = field(default_factory=list)
    definitions: dict[str, list[Document]] = field(default_factory=dict)
    jobs: dict[str, BatchJob] = field(default_factory=dict)
    lives: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    reopened: asyncio.Event = field(default_factory=asyncio.Event)
    is_closing: bool = False

    # ── operations ───────────────────────────────────────────────────────────────────────────

    def registerjobdefinition(self, body: Document) -> Document:
        revisions = self.definitions.setdefault(body["jobDefinitionName"], [])
        revisions.append(definition_of(body, self.name, len(revisions) + 1))
        return {
            name: revisions[-1][name]
            for name in ("jobDefinitionName", "jobDefinitionArn", "revision")
        }

    def describejobdefinitions(self, body: Document) -> Document:
        found = [
            each
            for revisions in self.definitions.values()
            for each in revisions
            if body.get("jobDefinitionName") in {None, each["jobDefinitionName"]}
            and body.get("status") in {None, each["status"]}
        ]
        return {"jobDefinitions": sorted(found, key=lambda each: -each["revision"])}

    def submitjob(self, body: Document) -> Document:
        queue, definition = self._queue(body["jobQueue"]), self._definition(body["jobDefinition"])
        check_submission(body, queue, definition)
        job = BatchJob(self.name, queue, body, definition)
        self.jobs[job.id] = job
        if self.runs_processes:
            self.lives[job.id] = life = asyncio.create_task(self._live(job))
            life.add_done_callback(lambda _: self.lives.pop(job.id))
        return {"jobArn": job.summary()["jobArn"], "jobName": job.name, "jobId": job.id}

    def describejobs(self, body: Document) -> Document:
        """Unknown ids are left out."""
        if len(body["jobs"]) > MOST_IDS:
            raise ClientError(f"Member must have length less than or equal to {MOST_IDS}")
        self._forget()
        ids = [id_.rpartition("/")[2] for id_ in body["jobs"]]
        return {"jobs": [self.jobs[id_].detail() for id_ in ids if id_ in self.jobs]}

    def listjobs(self, body: Document) -> Document:
        """With a filter: all statuses, pages of 100. Without one and without a status: RUNNING."""
        self._forget()
        queue, filters = self._queue(body["jobQueue"]), body.get("filters") or []
        if len(filters) > 1:
            raise ClientError("Only one filter can be used at a time")
        listed_until = now_ms() - 1000 * self.pace.list_lag_s
        found: Iterable[BatchJob] = (
            job
            for job in self.jobs.values()
            if job.queue is queue and job.created_ms <= listed_until
        )
        if filters:
            found, most = filter(_filter(filters[0]), found), 100
        else:
            status = body.get("jobStatus") or "RUNNING"
            found, most = (job for job in found if job.status == status), 1000
        newest_first = sorted(found, key=_age, reverse=True)
        size = min(most, body.get("maxResults") or most)
        return _page(newest_first, size, body.get("nextToken"))

    def terminatejob(self, body: Document) -> Document:
        """Any state; what is over is left as it is."""
        job = self._job(body["jobId"])
        if not job.is_over:
            job.is_terminated = True
            self._end_by_request(job, body["reason"])
        return {}

    def canceljob(self, body: Document) -> Document:
        """Success, though it does nothing from STARTING on."""
        job = self._job(body["jobId"])
        if job.status in WAITING:
            job.is_cancelled = True
            self._end_by_request(job, body["reason"])
        return {}

    # ── what a cloud does by itself ──────────────────────────────────────────────────────────

    def reclaim(self, job: BatchJob) -> None:
        """Take a job's Spot machine back."""
        fargate = job.queue.platform == "FARGATE"
        host = f"Host EC2 (instance i-{job.number:017x}) terminated."
        reason = "Your Spot Task was interrupted." if fargate else host
        job.must_end(Ending(reason, self.pace.notice_s, always_failed=False))

    def close_queue(self, name: str, reason: str = "") -> None:
        """From now on jobs stay RUNNABLE; those that wait already are told the same reason."""
        self.queues[name].closed = reason
        for job in self.jobs.values():
            if job.queue.name == name and job.status == "RUNNABLE":
                job.reason = reason or None

    def open_queue(self, name: str) -> None:
        """Let them run."""
        self.queues[name].closed = None
        self.reopened.set()

    def put(self, job: BatchJob, status: str, reason: str | None = None) -> None:
        """Script a job's state, where no processes run."""
        job.status, job.reason = status, reason
        if status in OVER:
            job.end(status, reason, 0 if status == "SUCCEEDED" else 1)
        elif status == "RUNNING":
            job.started_ms = job.started_ms or now_ms()
        self.on_change(job)

    def named(self, name: str) -> list[BatchJob]:
        """The jobs of a name, oldest first."""
        return sorted((job for job in self.jobs.values() if job.name == name), key=_age)

    async def close(self) -> None:
        """End every process."""
        self.is_closing = True
        for id_, life in self.lives.items():
            if self.jobs[id_].status in WAITING:
                life.cancel()
        for container in self.containers.values():
            container.kill()
        await asyncio.gather(*self.lives.values(), return_exceptions=True)

    # ── a job's life ─────────────────────────────────────────────────────────────────────────

    def _end_by_request(self, job: BatchJob, reason: str) -> None:
        if job.status in WAITING or not self.runs_processes:
            job.end("FAILED", reason)
            self.on_change(job)
        else:
            job.must_end(Ending(reason, self.pace.grace_s, always_failed=True))

    async def _live(self, job: BatchJob) -> None:
        for status in ("PENDING", "RUNNABLE"):
            await asyncio.sleep(self.pace.step_s)
            if not self._enter(job, status):
                return
        while job.queue.closed is not None:
            job.reason = job.queue.closed or None
            self.reopened.clear()
            await self._either(self.reopened, job.changed)
            if job.is_over:
                return
        job.reason = None
        await asyncio.sleep(self.pace.step_s)
        if not self._enter(job, "STARTING"):
            return
        await asyncio.sleep(self.pace.step_s)
        await self._run(job)
        self.on_change(job)

    def _enter(self, job: BatchJob, status: str) -> bool:
        if job.is_over:
            return False
        job.status = status
        self.on_change(job)
        return True

    async def _run(self, job: BatchJob) -> None:
        if job.ending is not None:
            job.end("FAILED", job.ending.reason)
            return
        try:
            container = await Container.start(job, self.folder / job.id)
        except OSError as error:
            job.container_reason = f"CannotStartContainerError: {error.strerror}: {job.command[0]}"
            job.end("FAILED", "Task failed to start", NOT_THERE)
            return
        self.containers[job.id] = container
        if self.is_closing:
            container.kill()
        job.started_ms = now_ms()
        self._enter(job, "RUNNING")
        code, ending = await self._follow(job, container)
        del self.containers[job.id]
        if ending is None or (code == 0 and not ending.always_failed):
            # A program that exits with 0 because its Spot machine goes has succeeded, to Batch.
            job.end("FAILED" if code else "SUCCEEDED", ENDED, code)
        else:
            job.end("FAILED", ending.reason, code)

    async def _follow(self, job: BatchJob, container: Container) -> tuple[int, Ending | None]:
        """Wait for a container's end, or bring it about: its exit code, and why it had to end."""
        exit_code = asyncio.ensure_future(container.exit_code())
        loop = asyncio.get_running_loop()
        timers = []
        if job.timeout_s is not None:
            ending = Ending(TIMED_OUT, self.pace.grace_s, always_failed=True)
            after_s = job.timeout_s * self.pace.timeout_scale
            timers.append(loop.call_later(after_s, job.must_end, ending))
        if self.reclaims.hits(job):
            timers.append(loop.call_later(self.reclaims.after_s, self.reclaim, job))
        changed = asyncio.ensure_future(job.changed.wait())
        try:
            await asyncio.wait({exit_code, changed}, return_when=asyncio.FIRST_COMPLETED)
            ending = None if exit_code.done() else job.ending
            if ending is not None:
                await container.end(ending)
            return await exit_code, ending
        finally:
            for timer in (*timers, changed):
                timer.cancel()
            exit_code.cancel()

    @staticmethod
    async def _either(*events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # ── what is known ────────────────────────────────────────────────────────────────────────

    def _forget(self) -> None:
        oldest = now_ms() - 1000 * self.pace.retention_s
        for id_, job in list(self.jobs.items()):
            if job.stopped_ms is not None and job.stopped_ms < oldest:
                del self.jobs[id_]

    def _job(self, id_: str) -> BatchJob:
        self._forget()
        with suppress(KeyError):
            return self.jobs[id_]
        raise ClientError(f"Job {id_} not found.")

    def _queue(self, name: str) -> Queue:
        with suppress(KeyError):
            return self.queues[name.rpartition("/")[2]]
        raise ClientError(f"JobQueue {arn(self.name, f'job-queue/{name}')} not found.")

    def _definition(self, name: str) -> Document:
        plain, _, revision = name.rpartition("/")[2].partition(":")
        active = [each for each in self.definitions.get(plain, ()) if each["status"] == "ACTIVE"]
        for each in reversed(active):
            if revision in {"", str(each["revision"])}:
                return each
        raise ClientError(f"Job Definition not found or not ACTIVE: {name}")


def _age(job: BatchJob) -> tuple[int, int]:
    return job.created_ms, job.number


def _filter(told: Document) -> Callable[[BatchJob], bool]:
    name, [value] = told["name"], told["values"]
    match name:
        case "JOB_NAME":
            wanted = re.escape(value.lower().removesuffix("*"))
            pattern = re.compile(wanted + (".*" if value.endswith("*") else ""))
            return lambda job: bool(pattern.fullmatch(job.name.lower()))
        case "JOB_DEFINITION":
            return lambda job: (
                value
                in {
                    job.definition["jobDefinitionName"],
                    job.definition["jobDefinitionArn"],
                }
            )
        case "AFTER_CREATED_AT":
            return lambda job: job.created_ms > int(value)
        case "BEFORE_CREATED_AT":
            return lambda job: job.created_ms < int(value)
    raise ClientError(f"Invalid filter {name}")


def _page(newest_first: list[BatchJob], size: int, token: str | None) -> Document:
    """A token is a place in the order, so that new jobs shift nothing."""
    if token:
        created, number = base64.b64decode(token).decode().split("|")
        last = (int(created), int(number))
        newest_first = [job for job in newest_first if _age(job) < last]
    page = {"jobSummaryList": [job.summary() for job in newest_first[:size]]}
    if len(newest_first) > size:
        created_ms, order = _age(newest_first[size - 1])
        page["nextToken"] = base64.b64encode(f"{created_ms}|{order}".encode()).decode()
    return page
