"""Watching one region in bulk: what a round of questions costs goes with what changed.

A round asks of each queue what was created lately, and of each status that a known job is in, who
still is in it: 1,000 jobs a page. Whoever is not there any more has changed, and is described with
the others, 100 a request. So 5,000 running jobs cost five requests more than none.

The lists show the past of some seconds ago. That is made up for by overlaps: what was created
lately is asked for again, and a job that a list has not is described before anything is said of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from activities.compute.aws_batch_api import DESCRIBED_AT_ONCE, BatchApi
from activities.compute.aws_batch_fence import FenceRow, RunFence
from activities.compute.aws_batch_reports import LIVE, Job, created_first, is_ours, report_of
from activities.compute.aws_batch_requests import duplicate_of, reason_of
from domain.job import RunReport

SKEW_MS = 300_000
"""Our clock against Batch's: AWS refuses requests that are signed with more."""

LAG_MS = 60_000
"""How long a new job may be missing from ``ListJobs``; several times what was seen."""


@dataclass(frozen=True, slots=True)
class Known:
    """A live job as it was last described."""

    job: Job
    told: RunReport

    @property
    def place(self) -> tuple[str, str]:
        """(queue, status): the list that it is in."""
        return self.job["jobQueue"], self.job["status"]


@dataclass(slots=True)
class RegionWatch:
    """What a watcher knows of one region between its rounds."""

    region: str
    queues: tuple[str, ...]
    api: BatchApi
    fence: RunFence
    created_after_ms: int
    """Jobs created later are asked for."""
    ended_after_ms: int
    """Ends before this were told by an earlier watcher."""
    is_fresh: bool
    """Nothing is known of an earlier watcher: live jobs may be of any age."""
    known: dict[str, Known] = field(default_factory=dict)
    over: dict[str, int] = field(default_factory=dict)
    """Jobs of no more interest -> when they were created, while they may be listed again."""

    @classmethod
    def begin(
        cls,
        region: str,
        queues: tuple[str, ...],
        api: BatchApi,
        fence: RunFence,
        cursor: str | None,
    ) -> RegionWatch:
        """Go on from a cursor, or begin with all that is live."""
        now_ms = _now_ms()
        last = json.loads(cursor) if cursor else {"created": now_ms, "told": now_ms}
        return cls(
            region=region,
            queues=queues,
            api=api,
            fence=fence,
            created_after_ms=last["created"] - (LAG_MS if cursor else SKEW_MS),
            ended_after_ms=last["told"] - SKEW_MS,
            is_fresh=cursor is None,
        )

    async def round(self, hinted: Iterable[str] = ()) -> tuple[tuple[RunReport, ...], str]:
        """Ask what changed; ``hinted`` jobs are described in any case.

        Nothing is remembered unless every question was answered, so that a failed round loses
        nothing.

        Returns:
            What is new, and the cursor for whoever has passed it on.
        """
        begun_ms = _now_ms()
        created = await self._created()
        if self.is_fresh:
            created |= await self._live()
        newcomers = created.keys() - self.known.keys() - self.over.keys()
        told_before = {id_ for id_ in newcomers if self._was_told(created[id_])}
        described = await self.api.describe(
            [*(newcomers - told_before), *await self._changed(), *hinted]
        )
        jobs = [job for job in described if job["jobId"] not in self.over]
        strays = await self._end_strays(
            [job for job in jobs if is_ours(job) and job["jobId"] not in self.known]
        )
        self.is_fresh = False
        self.over |= {id_: created[id_]["createdAt"] for id_ in told_before}
        for job in jobs:
            if job["jobId"] in strays or not is_ours(job):
                self.known.pop(job["jobId"], None)
                self.over[job["jobId"]] = job["createdAt"]
        news = self._learn([job for job in jobs if job["jobId"] not in self.over])
        self._forget(created.values())
        return news, self._cursor(begun_ms)

    # ── questions ────────────────────────────────────────────────────────────────────────────

    async def _created(self) -> dict[str, Job]:
        """Jobs of any status that were created since we last knew all that were."""
        after = str(max(0, self.created_after_ms))
        lists = await asyncio.gather(
            *(self.api.listed(queue, "AFTER_CREATED_AT", after) for queue in self.queues)
        )
        return {job["jobId"]: job for listed in lists for job in listed}

    async def _live(self) -> dict[str, Job]:
        lists = await asyncio.gather(
            *(self.api.listed_by_status(queue, status) for queue in self.queues for status in LIVE)
        )
        return {job["jobId"]: job for listed in lists for job in listed}

    async def _changed(self) -> list[str]:
        """Known jobs that are not in their list any more, or there for another reason.

        All known ones, where describing them takes no more requests than listing.
        """
        places: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for id_, known in self.known.items():
            places[known.place].append(id_)
        if len(self.known) <= DESCRIBED_AT_ONCE * len(places):
            return list(self.known)
        lists = await asyncio.gather(*(self.api.listed_by_status(*place) for place in places))
        seen = {job["jobId"]: _mark(job) for listed in lists for job in listed}
        return [id_ for id_, known in self.known.items() if seen.get(id_) != _mark(known.job)]

    def _was_told(self, summary: Job) -> bool:
        ended_ms = summary.get("stoppedAt")
        return ended_ms is not None and ended_ms < self.ended_after_ms

    # ── answers ──────────────────────────────────────────────────────────────────────────────

    def _learn(self, jobs: Iterable[Job]) -> tuple[RunReport, ...]:
        news = []
        for job in jobs:
            report = report_of(job, self.region)
            known = self.known.pop(job["jobId"], None)
            if known is None or known.told != report:
                news.append(report)
            if report.state.is_final:
                self.over[job["jobId"]] = job["createdAt"]
            else:
                self.known[job["jobId"]] = Known(job, report)
        return tuple(news)

    def _forget(self, created: Iterable[Job]) -> None:
        """Ask from later on, and forget what that will not bring up again."""
        newest_ms = max((job["createdAt"] for job in created), default=0)
        self.created_after_ms = max(self.created_after_ms, newest_ms - LAG_MS)
        self.over = {
            id_: at_ms for id_, at_ms in self.over.items() if at_ms >= self.created_after_ms
        }

    def _cursor(self, begun_ms: int) -> str:
        live_ms = (known.job["createdAt"] for known in self.known.values())
        created_ms = min(self.created_after_ms, *live_ms) if self.known else self.created_after_ms
        return json.dumps({"created": created_ms, "told": begun_ms})

    # ── strays ───────────────────────────────────────────────────────────────────────────────

    async def _end_strays(self, newcomers: list[Job]) -> set[str]:
        """End live jobs that should not be, and return those that are not their run's job.

        A run is the job that its fence keeps; where that keeps none yet, the earliest. Another of
        the name was left behind by a submission whose answer was lost for longer than was looked
        for it. And a run that was asked to end may have been submitted in that very moment.
        """
        named: defaultdict[str, list[Job]] = defaultdict(list)
        for job in (*newcomers, *(known.job for known in self.known.values())):
            if job["status"] in LIVE:
                named[job["jobName"]].append(job)
        runs = {job["jobName"] for job in newcomers if job["status"] in LIVE}
        rows = await asyncio.to_thread(self.fence.read_all, self.region, runs)
        strays: set[str] = set()
        for run in runs:
            row = await self._kept(run, rows.get(run, FenceRow()), named[run])
            for job in named[run]:
                if job["jobId"] != row.job_id:
                    strays.add(job["jobId"])
                    await self.api.terminate(job["jobId"], reason_of(duplicate_of(row.job_id)))
                elif row.stopped_at is not None:
                    await self.api.terminate(job["jobId"], reason_of(row.stop_reason))
        return strays

    async def _kept(self, run: str, row: FenceRow, live: list[Job]) -> FenceRow:
        """The row with the job that stays. A submission under way keeps its only job itself."""
        if row.job_id:
            return row
        first = min(live, key=created_first)
        if len(live) > 1 and row.spec_sha256:
            return await asyncio.to_thread(self.fence.keep, self.region, run, first["jobId"])
        return replace(row, job_id=first["jobId"])


def _mark(job: Job) -> tuple[str, str]:
    """What a list tells of a job."""
    return job["status"], job.get("statusReason", "")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
