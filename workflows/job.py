"""One job, one durable workflow.

    admit + plan ─► defer ─► dispatch ─► watch ─► finish
                    ▲   ▲                  │
               look └───┴──────────────────┘ reclaimed, moved, failed with retries left

Only this workflow knows deadline and carbon together, so only it retries a run. It decides
nothing itself: every decision is an activity's, in the ledger before it is acted on.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ContinueAsNewVersioningBehavior

from domain.job import Blocked, DecisionReason, Outcome, Phase, RunState
from domain.messages import (
    AdmitInput,
    ChooseInput,
    FinishInput,
    JobInput,
    JobResult,
    Orphan,
    OverrideKind,
    OverrideRecord,
    Plan,
    RecordInput,
)
from domain.timing import next_look
from workflows import calls, chunks, narrate
from workflows.attempts import JobAttempts
from workflows.ending import ending, unrecorded
from workflows.run import WatchedRun
from workflows.sleep import sleep_until

UPGRADE_AFTER = timedelta(hours=24)
"""A job that still waits this long moves to the workflow's current build at a look."""


@workflow.defn(name="CarbonAwareJob")
class CarbonAwareJob(JobAttempts):
    """A deferrable batch job's whole life."""

    @workflow.init
    def __init__(self, job: JobInput) -> None:
        """Take up the state of the run before, if there was one."""
        super().__init__(job)

    @workflow.run
    async def run(self, job: JobInput) -> JobResult:
        """See the job through (``__init__`` has taken the input)."""
        del job
        life = asyncio.create_task(self._live())
        try:
            result = await asyncio.shield(life)
        except asyncio.CancelledError:
            # Cancel in the Temporal UI means what our own cancel means: stop, confirm, record.
            now = workflow.now()
            self._accept(
                OverrideRecord(kind=OverrideKind.CANCEL, at=now, reason="cancelled in Temporal")
            )
            result = await life
            if result.outcome is Outcome.CANCELLED:
                raise
        return await ending(result)

    async def _live(self) -> JobResult:
        if not self._state.admitted:
            ended = await self._admit()
            if ended is not None:
                return ended
        while True:
            await self._defer()
            if self._cancel is not None:
                return await self._finish(Outcome.CANCELLED, narrate.cancelled_by(self._cancel))
            ended = await self._attempt()
            if ended is not None:
                return ended

    # ── plan ─────────────────────────────────────────────────────────────────────────────────

    async def _admit(self) -> JobResult | None:
        state = self._state
        admission = await calls.admit_job(
            AdmitInput(
                job=workflow.info().workflow_id,
                manifest_sha256=self._manifest.sha256,
                execution=workflow.info().first_execution_run_id,
                rerun=state.rerun,
                start_now=state.start_now,
                submitted_at=state.submitted_at or workflow.info().start_time,
            )
        )
        if admission.refused is not None:
            return self._close(unrecorded(Outcome.REFUSED, admission.refused, self._deadline))
        if admission.recorded is not None:
            told = "recorded earlier under this name; nothing ran now"
            return self._close(unrecorded(admission.recorded, told, self._deadline))
        assert admission.plan is not None  # noqa: S101 - Admission holds exactly one answer
        state.next_attempt = admission.next_attempt
        self._follow(admission.plan)
        if admission.orphan is not None:
            await self._stop_orphan(admission.orphan)
        state.admitted = True
        return None

    async def _stop_orphan(self, orphan: Orphan) -> None:
        """See a run of an earlier execution ended, as far as the deadline allows, and plan anew."""
        job = workflow.info().workflow_id
        run = WatchedRun(
            job, orphan.attempt, orphan.cell, orphan.submitted_at, segment=orphan.segment
        )
        await self._stop(run, "left by an earlier execution")
        self._state.attempts.append(run.record())
        if run.unconfirmed:
            self._state.exclude(run.cell.region)
        self._enter(Phase.PLANNING)
        await self._choose(DecisionReason.FALLBACK)

    async def _choose(self, reason: DecisionReason) -> None:
        step = self._choose_input(reason)
        self._follow(await calls.choose_placement(step), written=step)

    async def _look(self) -> bool:
        """Decide again; ``False`` where no answer came in time and the old plan holds."""
        step = self._choose_input(DecisionReason.LOOK)
        try:
            self._follow(await calls.look_again(step), written=step)
        except ActivityError as error:
            workflow.logger.warning("no answer to a look: the plan holds", exc_info=error)
            return False
        return True

    def _choose_input(self, reason: DecisionReason) -> ChooseInput:
        state, placement = self._state, self._plan.placement
        return ChooseInput(
            job=workflow.info().workflow_id,
            manifest_sha256=self._manifest.sha256,
            seq=state.seq,
            reason=reason,
            deadline=self._deadline,
            start_now=state.start_now,
            reclaims=state.reclaims,
            incumbent=placement.cell if reason is DecisionReason.LOOK else None,
            counterfactual=placement.counterfactual,
            excluded_regions=state.excluded_regions,
            work_done_s=state.work_done_s,
            checkpoint_region=state.checkpoint_region,
            attempts=tuple(state.attempts),
            overrides=tuple(state.overrides),
        )

    def _follow(self, plan: Plan, written: ChooseInput | None = None) -> None:
        """Go by ``plan`` from now on; what was ``written`` with it is no longer pending."""
        state = self._state
        state.plan, state.seq = plan, plan.next_seq
        if written is not None:
            del state.attempts[: len(written.attempts)]
            del state.overrides[: len(written.overrides)]
        self._message = plan.placement.reason

    # ── defer ────────────────────────────────────────────────────────────────────────────────

    async def _defer(self) -> None:
        """Sleep until the cell, looking again on the way and once before starting."""
        while self._cancel is None:
            if self._replan is not None:
                reason, self._replan = self._replan, None
                await self._choose(reason)
            elif not await self._wait():
                return
            await self._upgrade_if_stale()

    async def _wait(self) -> bool:
        """Sleep until news, a look or the cell; ``False`` when it is time to start."""
        plan, now = self._plan, workflow.now()
        start = plan.placement.cell.start
        if start <= now:
            return False
        self._enter(Phase.DEFERRED)
        every = None if plan.look_every_s is None else timedelta(seconds=plan.look_every_s)
        look = next_look(now, start, timedelta(seconds=plan.look_min_remaining_s), every)
        until = look or plan.wake_at
        if await sleep_until(
            lambda: bool(self._cancel or self._replan or self._state.overrides),
            until,
            narrate.timer_summary(plan.placement, until),
        ):
            if not self._cancel and not self._replan:
                await self._record_overrides()
            return True
        return await self._look() or workflow.now() < plan.wake_at

    async def _record_overrides(self) -> None:
        """Write overrides that no decision will carry soon: those that were refused."""
        pending = tuple(self._state.overrides)
        recorded = await calls.record_overrides(
            RecordInput(job=workflow.info().workflow_id, seq=self._state.seq, overrides=pending)
        )
        self._state.seq = recorded.next_seq
        del self._state.overrides[: len(pending)]

    async def _upgrade_if_stale(self) -> None:
        """Continue as new onto the current build, or with a short history, while nothing runs."""
        info = workflow.info()
        waits = self._plan.placement.cell.start - workflow.now()
        newer = info.is_target_worker_deployment_version_changed() and waits >= UPGRADE_AFTER
        if not (newer or info.is_continue_as_new_suggested()):
            return
        # What came with this very task is heard first: only ``JobState`` crosses over.
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._cancel is None and self._replan is None:
            workflow.continue_as_new(
                JobInput(self._manifest, self._state),
                initial_versioning_behavior=ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
            )

    # ── dispatch and watch ───────────────────────────────────────────────────────────────────

    async def _attempt(self) -> JobResult | None:
        """One run; ``None`` when the job is planned again and goes back to deferring."""
        run = WatchedRun(
            job=workflow.info().workflow_id,
            attempt=self._state.next_attempt,
            cell=self._plan.placement.cell,
            submitted_at=workflow.now(),
            segment=self._state.segment,
        )
        self._run = run
        self._state.last_region = run.cell.region
        self._state.next_attempt += 1
        self._state.attempts_made += 1
        self._enter(Phase.DISPATCHING)
        if await self._dispatch(run):
            await self._watch(run)
        return await self._conclude(run)

    # ── finish ───────────────────────────────────────────────────────────────────────────────

    async def _conclude(self, run: WatchedRun) -> JobResult | None:
        """Finish the job by what became of a run, or plan the next one."""
        state, report = self._state, run.report
        state.attempts.append(run.record())
        chunks.count(run, self._manifest, state)
        if report.state is RunState.SUCCEEDED:
            return await self._finish(Outcome.SUCCEEDED, f"succeeded in {run.cell.region}")
        if self._cancel is not None:
            return await self._finish(Outcome.CANCELLED, narrate.cancelled_by(self._cancel))
        if report.state is RunState.FAILED:
            state.failures += 1
            told = report.detail or f"exit code {report.exit_code}"
            if state.failures > self._manifest.retries:
                return await self._finish(Outcome.FAILED, f"the program failed: {told}")
            reason = DecisionReason.RETRY
        elif run.given_up or run.unconfirmed:
            if run.blocked is Blocked.MISCONFIGURED and run.cell.region in state.excluded_regions:
                # Excluded regions are used again only where no other is legal.
                return await self._finish(Outcome.FAILED, f"it starts nowhere: {run.why_blocked}")
            state.exclude(run.cell.region)
            reason = DecisionReason.FALLBACK
        elif run.chunk_over and report.state is RunState.TERMINATED:
            reason = DecisionReason.RESUME
        else:
            state.reclaims += 1
            reason = DecisionReason.RECLAIM
        self._enter(Phase.PLANNING)
        await self._choose(reason)
        return None

    async def _finish(self, outcome: Outcome, message: str) -> JobResult:
        state, run = self._state, self._run
        ended_at = run.report.ended_at if run and outcome is not Outcome.CANCELLED else None
        step = FinishInput(
            job=workflow.info().workflow_id,
            manifest_sha256=self._manifest.sha256,
            seq=state.seq,
            outcome=outcome,
            message=message,
            deadline=self._deadline,
            finished_at=ended_at or workflow.now(),
            last_attempt=state.next_attempt - 1,
            attempts_made=state.attempts_made,
            reclaims=state.reclaims,
            region=state.last_region,
            attempts=tuple(state.attempts),
            overrides=tuple(state.overrides),
        )
        self._closing = True
        result = await calls.finish_job(step)
        state.seq += len(step.attempts) + len(step.overrides) + 1
        del state.overrides[: len(step.overrides)]
        while state.overrides:
            await self._record_overrides()
        return self._close(result)

    def _close(self, result: JobResult) -> JobResult:
        self._outcome, self._message, self._result = result.outcome, result.message, result
        self._enter(Phase.FINISHED)
        return result
