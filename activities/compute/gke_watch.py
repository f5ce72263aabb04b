"""Bulk watching of one cluster: two watch streams, however many runs there are.

The Jobs' stream says that a run began or is over, and its version is the cursor. The pods' stream
is read ahead into memory, for what only pods know and lose with their node: times, exit codes, what
took them away. Where a Job is ahead of what the pods' stream brought, the pods concerned are read,
up to fifty in one call. So the calls of a watcher grow with time and changes, not with runs.

A cursor that the API server no longer knows (410, after a compaction or a long absence) costs a
list: every run that is not over is told, every end since the last one told, and every end that
nobody has read yet. Ended Jobs stay for days, so that none of them is missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from activities.compute.gke_api import LIVE, Expired, Kind
from activities.compute.gke_jobs import RegionJobs
from activities.compute.gke_manifest import END, JOB
from activities.compute.gke_reports import (
    NOTHING,
    PodFacts,
    end_of,
    is_tombstone,
    queued_report,
)
from activities.compute.gke_wire import Job, Pod, WatchEvent
from activities.errors import ComputeUnavailable
from domain.job import Payload, RunReport, RunState
from domain.ports import ChangeBatch

LOG = logging.getLogger(__name__)

TOLD_AT_ONCE = 200
"""Reports in one batch: whoever passes them on gives signs of life between batches."""

CLOCKS_APART = timedelta(minutes=5)
"""How far the clocks of a cluster's control planes may differ; ends are looked for that much before
the last one told, and some are told twice."""


class Cursor(Payload):
    """How far a watcher has come; opaque to whoever keeps it."""

    version: str = ""
    """Of the Jobs; empty where they are to be listed."""
    last_end: AwareDatetime | None = None
    """The newest end told, by the cluster's clock."""


class RegionWatch:
    """One watcher of one region."""

    def __init__(self, jobs: RegionJobs) -> None:
        """Hold the region's Jobs; nothing is asked yet."""
        self._jobs = jobs
        self._api = jobs.api
        self._manners = jobs.api.manners
        self._pods: dict[str, PodFacts] = {}
        """What is known of the pods of runs whose end is not told."""
        self._told: dict[str, RunState] = {}
        self._stuck: dict[str, RunReport] = {}
        """Queued runs of which it is newly known why they do not start, or that they may again.
        Only pods tell it: their Jobs do not change."""
        self._at: Cursor | None = None
        self._out: asyncio.Queue[ChangeBatch] = asyncio.Queue(maxsize=1)

    async def batches(self, cursor: str | None) -> AsyncGenerator[ChangeBatch, None]:
        """Changes from a cursor on, without an end; an empty batch now and then as sign of life,
        also while the API server is out of reach.
        """
        self._at = Cursor.model_validate_json(cursor) if cursor else None
        told = cursor or ""
        work = asyncio.create_task(self._work())
        batch = asyncio.create_task(self._out.get())
        try:
            while True:
                await asyncio.wait(
                    {batch, work},
                    timeout=self._manners.beat_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if batch.done():
                    told = batch.result().cursor
                    yield batch.result()
                    batch = asyncio.create_task(self._out.get())
                elif work.done():
                    work.result()
                else:
                    yield ChangeBatch((), told)
        finally:
            batch.cancel()
            work.cancel()
            await asyncio.gather(batch, work, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            try:
                await self._follow()
            except* Expired:
                LOG.info("%s: the cursor is too old; listing", self._jobs.region)
                self._at = self._at and self._at.model_copy(update={"version": ""})
            except* ComputeUnavailable as unavailable:
                LOG.warning("%s: %s", self._jobs.region, unavailable.exceptions[0])
            await asyncio.sleep(self._manners.reconnect_s)

    async def _follow(self) -> None:
        """Both streams, until one of them breaks off for good."""
        pods_version = await self._list_pods()
        jobs_version = self._at.version if self._at else ""
        if not jobs_version:
            jobs_version = await self._list_jobs()
        events: asyncio.Queue[tuple[Kind, WatchEvent]] = asyncio.Queue(maxsize=TOLD_AT_ONCE)

        async def pump(kind: Kind, version: str) -> None:
            async with aclosing(self._api.follow(kind, version)) as changes:
                async for event in changes:
                    await events.put((kind, event))

        async with asyncio.TaskGroup() as streams:
            streams.create_task(pump(Kind.PODS, pods_version))
            streams.create_task(pump(Kind.JOBS, jobs_version))
            streams.create_task(self._read(events))

    # ── what there is ────────────────────────────────────────────────────────────────────────

    async def _list_pods(self) -> str:
        """Read what runs, and from which version on to follow it. What was known of pods that are
        gone meanwhile is kept until their runs' ends are told.
        """
        version = ""
        async for page in self._api.pages(Kind.PODS, field_selector=LIVE):
            self._learn(Pod.model_validate(item) for item in page.items)
            version = page.metadata.resource_version
        return version

    async def _list_jobs(self) -> str:
        """Tell what is not over, what ended since the cursor, and any end that nobody has read."""
        before, version, there = self._at, "", set[str]()
        since = before.last_end - CLOCKS_APART if before and before.last_end else None
        ends: list[datetime] = []
        wanted: list[Job] = []
        async for page in self._api.pages(Kind.JOBS):
            version = page.metadata.resource_version
            for job in map(Job.model_validate, page.items):
                there.add(job.run)
                end = end_of(job)
                if end and end.last_transition_time:
                    ends.append(end.last_transition_time)
                is_read = end is not None and END in job.metadata.annotations
                if not is_read or (before and (since is None or ends[-1] >= since)):
                    wanted.append(job)
        for known in (self._told, self._pods):
            for run in known.keys() - there:
                del known[run]
        # Whoever dies while this is told lists again, and knows what had ended by now.
        self._at = before or Cursor(last_end=max(ends, default=None))
        await self._tell(wanted, version)
        return version

    # ── what changes ─────────────────────────────────────────────────────────────────────────

    async def _read(self, events: asyncio.Queue[tuple[Kind, WatchEvent]]) -> None:
        """Pass on what the streams bring, some of it together."""
        while True:
            news = [await events.get()]
            await asyncio.sleep(self._manners.gather_s)
            changed = self._take(news, events)
            if any(_is_over(job) and self._is_behind(job) for job in changed.values()):
                # A deleted pod is gone with its Job's end: only its stream still tells of it.
                await asyncio.sleep(self._manners.lag_s)
                changed = self._take(news, events)
            jobs = [event.object for kind, event in news if kind is Kind.JOBS]
            if jobs:
                version = Job.model_validate(jobs[-1]).metadata.resource_version
                await self._tell(changed.values(), version)
            stuck, self._stuck = self._stuck, {}
            if stuck:
                await self._put(list(stuck.values()), self._at)

    def _take(
        self,
        news: list[tuple[Kind, WatchEvent]],
        events: asyncio.Queue[tuple[Kind, WatchEvent]],
    ) -> dict[str, Job]:
        """Add what has come to ``news``, learn what it says of pods; the Jobs that changed."""
        while not events.empty():
            news.append(events.get_nowait())
        changed: dict[str, Job] = {}
        for kind, event in news:
            if event.type == "BOOKMARK":
                continue
            if kind is Kind.PODS:
                pod = Pod.model_validate(event.object)
                if event.type != "DELETED" or pod.run in self._pods:
                    self._learn([pod])
                continue
            job = Job.model_validate(event.object)
            changed[job.run] = job
            if event.type == "DELETED":
                for known in (changed, self._told, self._pods):
                    known.pop(job.run, None)
        return changed

    def _learn(self, pods: Iterable[Pod]) -> None:
        """Take what pods tell of runs whose end is not told. A start once seen is kept: a pod that
        lost its node may not tell it any more.
        """
        for pod in pods:
            state = self._told.get(pod.run)
            if state is None or not state.is_final:
                facts, known = PodFacts.of(pod), self._pods.get(pod.run, NOTHING)
                if state is RunState.QUEUED and facts.blocked is not known.blocked:
                    self._stuck[pod.run] = queued_report(self._api.cluster.region, pod, facts)
                if facts.started_at is None:
                    facts = replace(facts, started_at=known.started_at)
                self._pods[pod.run] = facts

    async def _tell(self, jobs: Iterable[Job], version: str) -> None:
        """Report what is new. The cursor moves to ``version`` with the last batch: whoever dies
        before it hears all of it again.
        """
        news = [job for job in jobs if self._is_news(job)]
        self._learn(await self._api.pods(job.run for job in news if self._is_behind(job)))
        ends = [self._at.last_end] if self._at and self._at.last_end else []
        for start in range(0, len(news) or 1, TOLD_AT_ONCE):
            reports = await asyncio.gather(
                *(
                    self._jobs.settled(job, self._pods.get(job.run))
                    for job in news[start : start + TOLD_AT_ONCE]
                )
            )
            ends += [report.ended_at for report in reports if report.ended_at]
            at = self._at
            if start + TOLD_AT_ONCE >= len(news):
                at = Cursor(version=version, last_end=max(ends, default=None))
            await self._put(reports, at)

    async def _put(self, reports: Sequence[RunReport], at: Cursor | None) -> None:
        """Pass reports on, and only then take them for told: a stream that breaks off may stop
        this at any moment.
        """
        cursor = at.model_dump_json() if at else ""
        await self._out.put(ChangeBatch(tuple(reports), cursor))
        self._at = at
        for report in reports:
            self._told[report.run] = report.state
            if report.state.is_final:
                self._pods.pop(report.run, None)

    def _is_news(self, job: Job) -> bool:
        """Whether a Job is in a state that is not told. A tombstone has nobody to tell it to."""
        if JOB not in job.metadata.annotations:
            return False
        told = self._told.get(job.run)
        if told is None:
            return True
        if _is_over(job):
            return not told.is_final
        return bool(job.status.ready) and told is RunState.QUEUED

    def _is_behind(self, job: Job) -> bool:
        """Whether a Job tells of something that its pod, as it is known here, does not yet."""
        pod = self._pods.get(job.run, NOTHING)
        if _is_over(job):
            return not (pod.is_over or END in job.metadata.annotations)
        return bool(job.status.ready) and pod.started_at is None


def _is_over(job: Job) -> bool:
    return end_of(job) is not None or is_tombstone(job)
