"""What people and watchers can ask and tell a job: query, signals, updates.

Handlers only set state and return; ``workflows/job.py`` acts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from domain.job import DecisionReason, Outcome, Phase, RunReport
from domain.manifest import Flexibility
from domain.messages import (
    JobInput,
    JobResult,
    JobStatus,
    OverrideKind,
    OverrideRecord,
    OverrideRequest,
)
from workflows import attributes, narrate, overrides
from workflows.run import WatchedRun

_WITHOUT_EFFECT = {
    OverrideKind.RUN_NOW: frozenset(
        {Phase.DISPATCHING, Phase.QUEUED, Phase.RUNNING, Phase.STOPPING, Phase.FINISHED}
    ),
    OverrideKind.CANCEL: frozenset({Phase.FINISHED}),
    OverrideKind.CHANGE_DEADLINE: frozenset({Phase.STOPPING, Phase.FINISHED}),
}

_MAY_REPLAN = frozenset({Phase.PLANNING, Phase.DEFERRED})


class JobHandlers:
    """State of a job and the handlers around it; ``CarbonAwareJob`` adds the life."""

    def __init__(self, job: JobInput) -> None:
        """Take up the state of the run before, if there was one."""
        self._manifest = job.manifest
        self._state = job.state
        if self._state.submitted_at is None:
            self._state.submitted_at = workflow.info().start_time
            self._state.start_now = job.manifest.flexibility is Flexibility.URGENT
        self._phase = Phase.DEFERRED if self._state.admitted else Phase.PLANNING
        self._outcome: Outcome | None = None
        self._message = self._state.plan.placement.reason if self._state.plan else ""
        self._result: JobResult | None = None
        self._run: WatchedRun | None = None
        self._cancel: OverrideRecord | None = None
        self._replan: DecisionReason | None = None
        self._closing = False
        self._shown: dict[str, object] = {}

    @property
    def _deadline(self) -> datetime:
        return self._state.deadline or self._manifest.deadline

    @workflow.query
    def status(self) -> JobStatus:
        """Where the job stands."""
        state, run, result = self._state, self._run, self._result
        return JobStatus(
            job=workflow.info().workflow_id,
            phase=self._phase,
            outcome=self._outcome,
            message=self._message,
            deadline=self._deadline,
            placement=state.plan.placement if state.plan else None,
            run=run.ref if run else None,
            attempts=state.attempts_made,
            reclaims=state.reclaims,
            failures=state.failures,
            segment=state.segment,
            work_done_s=state.work_done_s,
            submitted_at=state.submitted_at or workflow.info().start_time,
            started_at=run.report.started_at if run else None,
            finished_at=result.finished_at if result else None,
            deadline_met=result.deadline_met if result else None,
        )

    @workflow.update
    async def admitted(self) -> JobStatus:
        """Wait until the job has its first plan, or was refused."""
        await workflow.wait_condition(lambda: self._state.admitted or self._outcome is not None)
        return self.status()

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, inputs: Sequence[RawValue]) -> None:
        """``run_now``, ``cancel``, ``change_deadline``: one JSON object, or no input at all.

        ``look_again``: decide again, as after a change of policy; sent to many jobs by a batch
        signal. ``run_changed``: a watcher's news of a run.

        One dynamic handler, since the SDK hands inputs over unread to no other: a named one drops
        what it cannot read, and one input too many fails every workflow task from then on.
        """
        if name in set(OverrideKind):
            kind = OverrideKind(name)
            self._accept(overrides.from_signal(kind, inputs, workflow.now()))
        elif name == "look_again":
            if self._phase in _MAY_REPLAN:
                self._replan = self._replan or DecisionReason.LOOK
        elif name == "run_changed":
            self._run_changed(inputs)
        else:
            workflow.logger.warning("a signal that means nothing to a job: %s", name)

    def _run_changed(self, inputs: Sequence[RawValue]) -> None:
        """Older news and other runs' are passed over; the safety poll finds what was unreadable."""
        try:
            [news] = inputs
            report = workflow.payload_converter().from_payload(news.payload, RunReport)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the job goes on
            workflow.logger.warning("news of a run cannot be read", exc_info=error)
            return
        if self._run is not None:
            self._run.learn(report)

    @workflow.update(name=OverrideKind.RUN_NOW.value)
    async def run_now(self, request: OverrideRequest) -> JobStatus:
        """Start at once; refused where there is nothing left to hurry."""
        return self._override(OverrideKind.RUN_NOW, request)

    @run_now.validator
    def _check_run_now(self, request: OverrideRequest) -> None:
        self._require_effect(OverrideKind.RUN_NOW, request)

    @workflow.update(name=OverrideKind.CANCEL.value)
    async def cancel(self, request: OverrideRequest) -> JobStatus:
        """Stop the job, its run included."""
        return self._override(OverrideKind.CANCEL, request)

    @cancel.validator
    def _check_cancel(self, request: OverrideRequest) -> None:
        self._require_effect(OverrideKind.CANCEL, request)

    @workflow.update(name=OverrideKind.CHANGE_DEADLINE.value)
    async def change_deadline(self, request: OverrideRequest) -> JobStatus:
        """Plan by another deadline."""
        return self._override(OverrideKind.CHANGE_DEADLINE, request)

    @change_deadline.validator
    def _check_change_deadline(self, request: OverrideRequest) -> None:
        self._require_effect(OverrideKind.CHANGE_DEADLINE, request)

    def _override(self, kind: OverrideKind, request: OverrideRequest) -> JobStatus:
        self._accept(overrides.from_request(kind, request, workflow.now()))
        return self.status()

    def _require_effect(self, kind: OverrideKind, request: OverrideRequest) -> None:
        record = self._judged(overrides.from_request(kind, request, workflow.now()))
        if record.refused:
            raise ApplicationError(record.refused, type="OverrideRefused")

    def _judged(self, record: OverrideRecord) -> OverrideRecord:
        """Refuse what can have no effect any more."""
        phase = Phase.FINISHED if self._closing else self._phase
        if record.refused is None and phase in _WITHOUT_EFFECT[record.kind]:
            told = f"{record.kind.value}: no effect on a job that is {phase.value}"
            return record.model_copy(update={"refused": told})
        return record

    def _accept(self, record: OverrideRecord) -> None:
        record = self._judged(record)
        self._state.overrides.append(record)
        self._state.told = (*self._state.told, narrate.override(record))[-narrate.SHOWN_OVERRIDES :]
        if record.refused is None:
            self._apply(record)
        self._narrate()

    def _apply(self, record: OverrideRecord) -> None:
        match record.kind:
            case OverrideKind.CANCEL:
                self._cancel = record
                return
            case OverrideKind.RUN_NOW:
                self._state.start_now = True
            case OverrideKind.CHANGE_DEADLINE:
                self._state.deadline = record.deadline
        if self._phase in _MAY_REPLAN:
            self._replan = DecisionReason.OVERRIDE

    def _narrate(self) -> None:
        workflow.set_current_details(narrate.details(self.status(), self._state.told))

    def _enter(self, phase: Phase) -> None:
        """Show where the job stands: search attributes (only what changed) and details."""
        self._phase = phase
        shown = tuple(attributes.of_job(self.status()))
        changed = [(key, value) for key, value in shown if self._shown.get(key.name) != value]
        if changed:
            workflow.upsert_search_attributes([key.value_set(value) for key, value in changed])
            self._shown |= {key.name: value for key, value in changed}
        self._narrate()
