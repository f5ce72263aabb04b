"""Records that no decision carries: idle overrides, and the end of a job."""

from __future__ import annotations

import asyncio
from datetime import datetime

from temporalio import activity

from activities.commits import commit_next
from domain.job import Outcome
from domain.ledger import Draft, EventKind
from domain.messages import (
    AttemptRecord,
    FinishInput,
    JobResult,
    OverrideRecord,
    RecordInput,
    RecordResult,
)
from domain.ports import Commit, Ledger
from domain.steps import Step


def drafts_of(
    now: datetime, attempts: tuple[AttemptRecord, ...], overrides: tuple[OverrideRecord, ...]
) -> tuple[Draft, ...]:
    """Ended runs and overrides as events, in the order in which they are recorded."""
    return (
        *(Draft(EventKind.ATTEMPT, now, item.model_dump(mode="json")) for item in attempts),
        *(Draft(EventKind.OVERRIDE, now, item.model_dump(mode="json")) for item in overrides),
    )


class Records:
    """The activities ``record_overrides`` and ``finish_job``."""

    def __init__(self, ledger: Ledger) -> None:
        """Hold the ledger."""
        self._ledger = ledger

    @activity.defn(name=Step.RECORD_OVERRIDES)
    async def record_overrides(self, step: RecordInput) -> RecordResult:
        """Write overrides while the job sleeps on."""
        drafts = drafts_of(activity.info().started_time, (), step.overrides)
        events = await asyncio.to_thread(
            commit_next, self._ledger, Commit(job=step.job, first_seq=step.seq, drafts=drafts)
        )
        return RecordResult(next_seq=events[-1].seq + 1)

    @activity.defn(name=Step.FINISH_JOB)
    async def finish_job(self, step: FinishInput) -> JobResult:
        """Write the completion and give back the room, in one transaction."""
        now = activity.info().started_time
        result = JobResult(
            job=step.job,
            outcome=step.outcome,
            message=step.message,
            deadline=step.deadline,
            finished_at=step.finished_at,
            deadline_met=step.outcome is Outcome.SUCCEEDED and step.finished_at <= step.deadline,
            attempts=step.attempts_made,
            reclaims=step.reclaims,
            region=step.region,
        )
        completion = Draft(EventKind.COMPLETION, now, result.model_dump(mode="json"))
        events = await asyncio.to_thread(
            commit_next,
            self._ledger,
            Commit(
                job=step.job,
                first_seq=step.seq,
                drafts=(*drafts_of(now, step.attempts, step.overrides), completion),
                release_room=True,
                outcome=step.outcome,
                last_attempt=step.last_attempt,
            ),
        )
        return JobResult.model_validate(events[-1].data)
