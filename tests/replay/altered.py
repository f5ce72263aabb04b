"""The job's workflow altered by one command, as a careless change would: replay must refuse it.

A module of its own, since the workflow sandbox imports it anew for each execution.
"""

from __future__ import annotations

from temporalio import workflow

from domain.job import Outcome
from domain.messages import JobInput, JobResult
from workflows.job import CarbonAwareJob


@workflow.defn(name="CarbonAwareJob")
class OneCommandMore(CarbonAwareJob):
    """A timer before the record of the end."""

    @workflow.init
    def __init__(self, job: JobInput) -> None:
        super().__init__(job)

    @workflow.run
    async def run(self, job: JobInput) -> JobResult:
        return await super().run(job)

    async def _finish(self, outcome: Outcome, message: str) -> JobResult:
        await workflow.sleep(1)
        return await super()._finish(outcome, message)


@workflow.defn(name="CarbonAwareJob")
class OneCommandLess(CarbonAwareJob):
    """The search attributes stay as they were at the start."""

    @workflow.init
    def __init__(self, job: JobInput) -> None:
        super().__init__(job)

    @workflow.run
    async def run(self, job: JobInput) -> JobResult:
        return await super().run(job)

    def _enter(self, phase: object) -> None:
        del phase
