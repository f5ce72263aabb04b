"""The job as a poll loop: what one would write first, on the same steps and stores.

It decides again every five minutes until the cell's start, then asks for the run every minute. It
shows no search attributes and hears no signals, and so is cheaper than its like.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from domain.job import DecisionReason, Outcome, RunReport, RunState, run_name
from domain.messages import (
    AdmitInput,
    ChooseInput,
    DispatchInput,
    FinishInput,
    JobInput,
    JobResult,
    Plan,
    RunRef,
)
from domain.steps import Queue
from workflows import calls

DECIDE_EVERY = timedelta(minutes=5)
POLL_EVERY = timedelta(minutes=1)
DISPATCH_PATIENCE = timedelta(minutes=15)


@workflow.defn(name="NaiveJob")
class NaiveJob:
    """Admit, decide until it is time, dispatch, poll; again after a reclaim; finish."""

    @workflow.init
    def __init__(self, job: JobInput) -> None:
        """Nothing is known yet but the manifest."""
        self._manifest = job.manifest
        self._job = workflow.info().workflow_id
        self._attempt = 0

    @workflow.run
    async def run(self, job: JobInput) -> JobResult:
        """See the job through."""
        del job
        plan = await self._admit()
        while True:
            while (wait := plan.placement.cell.start - workflow.now()) > timedelta(0):
                await workflow.sleep(min(wait, DECIDE_EVERY))
                plan = await self._decide(plan, DecisionReason.LOOK)
            seq, report = await self._run_once(plan)
            if report.state is RunState.SUCCEEDED:
                return await self._finish(seq, report)
            reclaimed = plan.model_copy(update={"next_seq": seq})
            plan = await self._decide(reclaimed, DecisionReason.RECLAIM)

    async def _admit(self) -> Plan:
        info = workflow.info()
        admission = await calls.admit_job(
            AdmitInput(
                job=self._job,
                manifest_sha256=self._manifest.sha256,
                execution=info.first_execution_run_id,
                rerun=False,
                start_now=False,
                submitted_at=info.start_time,
            )
        )
        if admission.plan is None:
            raise ValueError(f"not admitted: {admission}")
        return admission.plan

    async def _decide(self, plan: Plan, reason: DecisionReason) -> Plan:
        return await calls.choose_placement(
            ChooseInput(
                job=self._job,
                manifest_sha256=self._manifest.sha256,
                seq=plan.next_seq,
                reason=reason,
                deadline=self._manifest.deadline,
                start_now=False,
                reclaims=self._attempt,
                incumbent=plan.placement.cell if reason is DecisionReason.LOOK else None,
                counterfactual=plan.placement.counterfactual,
            )
        )

    async def _run_once(self, plan: Plan) -> tuple[int, RunReport]:
        """One run; returns where the chain goes on, and how the run ended."""
        self._attempt += 1
        cell = plan.placement.cell
        run = RunRef(run=run_name(self._job, 0, self._attempt), region=cell.region)
        dispatched = await calls.dispatch_run(
            DispatchInput(
                job=self._job,
                manifest_sha256=self._manifest.sha256,
                seq=plan.next_seq,
                run=run.run,
                attempt=self._attempt,
                cell=cell,
            ),
            Queue.DISPATCH,
            DISPATCH_PATIENCE,
        )
        while True:
            await workflow.sleep(POLL_EVERY)
            report = await calls.describe_run(run)
            if report.state.is_final:
                return dispatched.next_seq, report

    async def _finish(self, seq: int, report: RunReport) -> JobResult:
        return await calls.finish_job(
            FinishInput(
                job=self._job,
                manifest_sha256=self._manifest.sha256,
                seq=seq,
                outcome=Outcome.SUCCEEDED,
                message="succeeded",
                deadline=self._manifest.deadline,
                finished_at=report.ended_at or workflow.now(),
                last_attempt=self._attempt,
                attempts_made=self._attempt,
                reclaims=self._attempt - 1,
                region=report.region,
            )
        )
