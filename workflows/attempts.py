"""One attempt at a job: its run is submitted, watched and, where it must be, stopped.

``workflows/job.py`` says what comes before and after.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from domain.job import Phase, RunReport, RunState
from domain.messages import Plan, RunRef, StopInput
from domain.steps import Queue
from workflows import calls, chunks, narrate
from workflows.handlers import JobHandlers
from workflows.run import WatchedRun
from workflows.sleep import sleep_until

LEAST_PATIENCE = timedelta(minutes=1)
MOST_DISPATCH_PATIENCE = timedelta(minutes=15)
MOST_POLL_PATIENCE = timedelta(minutes=5)
"""Within these, and the runway, a region may take its time to accept a run, or to tell of it."""

CANCEL_PATIENCE = timedelta(hours=1)
"""How long a cancelled run's end is waited for before the job says that it is not confirmed."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class JobAttempts(JobHandlers):
    """What a job does with a run; ``CarbonAwareJob`` adds the rest of its life."""

    async def _dispatch(self, run: WatchedRun) -> bool:
        """Submit; ``False`` after no sure answer, when the run is stopped and given up."""
        urgent = self._state.start_now
        try:
            result = await calls.dispatch_run(
                run.dispatch_input(self._manifest.sha256, self._state.seq),
                Queue.URGENT if urgent else Queue.DISPATCH,
                min(self._patience(), MOST_DISPATCH_PATIENCE),
            )
        except ActivityError as error:
            self._message = f"{run.cell.region} did not take the run: {error.cause or error}"
            await self._stop(run, "no answer to its submission")
            run.given_up = True
            return False
        self._state.seq = result.next_seq
        return True

    async def _watch(self, run: WatchedRun) -> None:
        """Until the run is over or given up. News comes by signal; the poll is for lost news."""
        start_up = timedelta(seconds=self._plan.start_up_s)
        poll_after = start_up + self._manifest.p95_runtime
        segment, *others = self._plan.placement.segments
        if others:
            # Without news of its start, none is stopped at its chunk's end.
            poll_after = min(poll_after, timedelta(seconds=segment.duration_s))
        while not run.is_over:
            if self._cancel is not None:
                await self._stop(run, narrate.cancelled_by(self._cancel))
                return
            self._enter(run.phase)
            been_there = run.cell.region in self._state.excluded_regions
            leave_at = run.leave_at(2 * start_up, been_there=been_there)
            if leave_at is not None and workflow.now() >= leave_at:
                await self._stop(run, f"does not start there: {run.why_blocked}")
                run.given_up = True
                return
            seen, deadline = run.report, self._deadline
            stop_at = self._stop_at(run)
            if stop_at is not None and workflow.now() >= stop_at:
                run.chunk_over = True
                await self._stop(run, "its chunk is over")
                return
            until = min(run.submitted_at + poll_after, leave_at or _NEVER, stop_at or _NEVER)
            move_by = max(self._latest_safe_start(), run.submitted_at + 2 * start_up)
            if run.report.state is not RunState.RUNNING:
                until = min(until, move_by)
            if await sleep_until(
                lambda seen=seen, deadline=deadline: bool(  # type: ignore[misc]
                    run.report is not seen or self._cancel or self._deadline != deadline
                ),
                until,
                f"safety poll of {run.ref.run}",
            ):
                continue
            if until == stop_at:
                continue
            poll_after *= 2
            await self._poll(run)
            if not run.is_over and run.phase is Phase.QUEUED and workflow.now() >= move_by:
                await self._stop(run, "still queued at the latest safe start")
                run.given_up = True
                return

    def _stop_at(self, run: WatchedRun) -> datetime | None:
        """When its chunk is over, if there is another after it."""
        return chunks.stop_at(run, self._plan, self._manifest, self._state, self._deadline)

    async def _poll(self, run: WatchedRun) -> None:
        # What has not begun is moved at the latest safe start, whether or not its region answers.
        queued = run.phase is Phase.QUEUED
        patience = min(MOST_POLL_PATIENCE, self._patience()) if queued else MOST_POLL_PATIENCE
        try:
            report = await calls.describe_run(run.ref, patience)
        except ActivityError as error:
            workflow.logger.warning("a safety poll had no answer", exc_info=error)
            return
        run.learn(report)
        if report.state is RunState.UNKNOWN:
            # Submitted, and its region has no trace of it: see that it never starts.
            await self._stop(run, "its region lost it")
            run.given_up = True

    async def _stop(self, run: WatchedRun, reason: str) -> None:
        """End a run and confirm it, as long as the deadline allows."""
        self._enter(Phase.STOPPING)
        try:
            run.learn(await self._terminate(run.ref, reason))
        except ActivityError as error:
            workflow.logger.warning("a run is not confirmed dead", exc_info=error)
            run.unconfirmed = True

    # ── small things ─────────────────────────────────────────────────────────────────────────

    @property
    def _plan(self) -> Plan:
        assert self._state.plan is not None  # noqa: S101 - an admitted job has a plan
        return self._state.plan

    def _latest_safe_start(self) -> datetime:
        return self._deadline - timedelta(seconds=self._plan.lead_s)

    def _patience(self) -> timedelta:
        """How long a step may take before the deadline asks for something else."""
        return max(LEAST_PATIENCE, self._latest_safe_start() - workflow.now())

    async def _terminate(self, run: RunRef, reason: str) -> RunReport:
        patience = CANCEL_PATIENCE if self._cancel is not None else self._patience()
        return await calls.terminate_run(StopInput(run=run, reason=reason), patience)
