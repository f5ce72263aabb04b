"""The SDK: submit jobs, follow them, override them.

``client = await Client.connect()``, ``job = await client.submit(manifest)``,
``result = await job.wait()``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import AwareDatetime
from temporalio.client import (
    Client as TemporalClient,
)
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import Priority, SearchAttributeKey, WorkflowIDConflictPolicy
from temporalio.common import WorkflowIDReusePolicy as Reuse
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from clients.errors import (
    JobNotFound,
    JobRefused,
    JobTerminated,
    NoWorker,
    OverrideRefused,
    RerunRefused,
    Unreachable,
)
from domain.errors import DeadlinePassed, InvalidInput, ManifestConflict
from domain.job import Outcome, Payload, Phase
from domain.manifest import Flexibility, JobManifest, workflow_id
from domain.messages import (
    JobInput,
    JobResult,
    JobState,
    JobStatus,
    OverrideKind,
    OverrideRequest,
)
from domain.steps import Queue
from workflows import attributes
from workflows.connection import connect, target
from workflows.job import CarbonAwareJob

ANSWER_WITHIN = timedelta(seconds=20)
"""How long a request waits for a worker before it says that none answered, unless told."""

_PRIORITY = {
    Flexibility.URGENT: Priority(priority_key=1),
    Flexibility.FLEXIBLE: Priority(priority_key=4),
}


class JobSummary(Payload):
    """One line of the list: a view that may lag some hundred milliseconds behind the job."""

    job: str
    phase: Phase | None
    outcome: Outcome | None
    tenant: str | None
    job_class: str | None
    urgency: str | None
    region: str | None
    capacity_type: str | None
    planned_start: AwareDatetime | None
    deadline: AwareDatetime | None
    carbon_planned_g: float | None
    carbon_avoided_g: float | None
    """Promised below the counterfactual; ``lowtide ledger show`` has what came of it."""
    submitted_at: AwareDatetime
    closed_at: AwareDatetime | None
    status: str
    """The workflow's own status, as the Temporal UI shows it."""


class JobHandle:
    """One job: ask it, wait for it, override it."""

    def __init__(self, handle: WorkflowHandle[Any, JobResult], answer_within: timedelta) -> None:
        """Made by ``Client``."""
        self._handle = handle
        self._answer_within = answer_within

    @property
    def id(self) -> str:
        """The workflow id, ``job-<tenant>-<name>``."""
        return self._handle.id

    async def status(self) -> JobStatus:
        """Where the job stands. Raises ``JobNotFound`` or ``NoWorker``."""
        try:
            return await self._handle.query(CarbonAwareJob.status, rpc_timeout=self._answer_within)
        except RPCError as error:
            raise self._told(error) from error

    async def wait(self) -> JobResult:
        """The outcome, as soon as there is one, whatever it is.

        Raises:
            JobNotFound: there is no such job.
            JobTerminated: the workflow was ended from outside and has no outcome.
        """
        try:
            return await self._handle.result()
        except RPCError as error:
            raise self._told(error) from error
        except WorkflowFailureError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.details:
                return JobResult.model_validate(error.cause.details[0])
            status = await self._ended()
            if status is not None:
                return status
            raise JobTerminated(self.id, type(error.cause).__name__) from error

    async def run_now(self, reason: str, actor: str = "") -> JobStatus:
        """Start at once. Raises ``OverrideRefused`` where there is nothing left to hurry."""
        return await self._override(
            OverrideKind.RUN_NOW, OverrideRequest(reason=reason, actor=actor)
        )

    async def cancel(self, reason: str, actor: str = "") -> JobStatus:
        """Stop the job, its run included. Raises ``OverrideRefused`` once it is finished."""
        return await self._override(
            OverrideKind.CANCEL, OverrideRequest(reason=reason, actor=actor)
        )

    async def change_deadline(self, deadline: datetime, reason: str, actor: str = "") -> JobStatus:
        """Plan by another deadline.

        Raises:
            InvalidInput: an instant without a zone.
            OverrideRefused: it lies in the past, or the job is over.
        """
        if deadline.tzinfo is None:
            raise InvalidInput("deadline", deadline.isoformat(), "an instant with a time zone")
        request = OverrideRequest(reason=reason, actor=actor, deadline=deadline)
        return await self._override(OverrideKind.CHANGE_DEADLINE, request)

    async def exists(self) -> bool:
        """Whether Temporal knows the job, open or closed."""
        try:
            await self._handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def _override(self, kind: OverrideKind, request: OverrideRequest) -> JobStatus:
        try:
            status: JobStatus = await self._handle.execute_update(
                kind.value, request, result_type=JobStatus, rpc_timeout=self._answer_within
            )
        except WorkflowUpdateFailedError as error:
            raise OverrideRefused(str(error.cause)) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise _unanswered(error, self.id, self._answer_within) from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and await self.exists():
                raise OverrideRefused(
                    f"{kind.value}: no effect on a job that is Finished"
                ) from error
            raise self._told(error) from error
        return status

    async def _ended(self) -> JobResult | None:
        """The result of a job that ended by Temporal's own cancel, which carries none."""
        status = await self.status()
        if status.outcome is None or status.finished_at is None:
            return None
        return JobResult(
            job=status.job,
            outcome=status.outcome,
            message=status.message,
            deadline=status.deadline,
            finished_at=status.finished_at,
            deadline_met=bool(status.deadline_met),
            attempts=status.attempts,
            reclaims=status.reclaims,
            region=status.run.region if status.run else None,
        )

    def _told(self, error: RPCError) -> Exception:
        if error.status is RPCStatusCode.NOT_FOUND:
            return JobNotFound(self.id)
        if error.status in {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}:
            return NoWorker(self.id, self._answer_within)
        return error


class Client:
    """A connection to Lowtide's jobs in one Temporal namespace."""

    def __init__(self, temporal: TemporalClient, answer_within: timedelta = ANSWER_WITHIN) -> None:
        """Wrap a Temporal client that was made with Lowtide's plugin."""
        self.temporal = temporal
        self._answer_within = answer_within

    @classmethod
    async def connect(
        cls,
        address: str | None = None,
        namespace: str | None = None,
        answer_within: timedelta = ANSWER_WITHIN,
    ) -> Self:
        """Connect as ``TEMPORAL_*`` says, unless told otherwise. Raises ``Unreachable``."""
        where = "an address that cannot be read"
        try:
            where = target(address)
            return cls(await connect(address, namespace), answer_within)
        except (RuntimeError, ValueError) as error:
            raise Unreachable(where, str(error)) from error

    def job(self, name: str, tenant: str = "default") -> JobHandle:
        """The job of that name; a full id (``job-...``) is taken as it is. Asks nothing yet."""
        job = name if name.startswith("job-") else workflow_id(tenant, name)
        return JobHandle(
            self.temporal.get_workflow_handle_for(CarbonAwareJob.run, job), self._answer_within
        )

    async def submit(self, manifest: JobManifest, *, rerun: bool = False) -> JobHandle:
        """Submit a job and wait for its first plan.

        The same manifest again attaches to the open job, or gives the closed one, whose
        ``wait()`` returns the recorded outcome. ``rerun`` starts a failed or cancelled job anew.

        Raises:
            ManifestTooLarge: its canonical form is over 24 KiB.
            DeadlinePassed: the deadline does not lie ahead, and there is no such job.
            JobRefused: no legal region, or whatever else admission found.
            ManifestConflict: the name is taken by another manifest.
            RerunRefused: ``rerun`` of a job that neither failed nor was cancelled.
            NoWorker: the job is with Temporal and waits for a worker.
        """
        manifest.require_size()
        try:
            manifest.require_deadline_after(datetime.now(UTC))
        except DeadlinePassed:
            # A job's record outlives its deadline: the same manifest still finds it.
            if rerun or not await self.job(manifest.workflow_id).exists():
                raise
            return await self._attach(manifest, rerun=False)
        reuse = Reuse.ALLOW_DUPLICATE_FAILED_ONLY if rerun else Reuse.REJECT_DUPLICATE
        try:
            return await self._start(manifest, reuse, rerun=rerun)
        except WorkflowAlreadyStartedError:
            return await self._attach(manifest, rerun=rerun)

    async def list(self, query: str = "", limit: int = 1000) -> AsyncIterator[JobSummary]:
        """Jobs, newest first; ``query`` narrows it in Temporal's list filter, as
        ``Phase="Deferred" AND Region="gcp:europe-west9"``.
        """
        wanted = 'WorkflowType="CarbonAwareJob"' + (f" AND ({query})" if query else "")
        async for found in self.temporal.list_workflows(wanted, limit=limit):
            yield _summary(found)

    async def _start(self, manifest: JobManifest, reuse: Reuse, *, rerun: bool) -> JobHandle:
        operation = WithStartWorkflowOperation(
            CarbonAwareJob.run,
            JobInput(manifest, JobState(rerun=rerun)),
            id=manifest.workflow_id,
            task_queue=Queue.JOBS,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            id_reuse_policy=reuse,
            memo={attributes.MEMO_MANIFEST_SHA256: manifest.sha256},
            search_attributes=attributes.at_start(manifest),
            static_summary=f"{manifest.job_class}: {manifest.name}",
            priority=_PRIORITY[manifest.flexibility],
        )
        try:
            status = await self.temporal.execute_update_with_start_workflow(
                CarbonAwareJob.admitted,
                start_workflow_operation=operation,
                rpc_timeout=self._answer_within,
            )
        except (WorkflowUpdateRPCTimeoutOrCancelledError, WorkflowAlreadyStartedError) as error:
            # The operation holds an error as well; unread, asyncio complains of it later.
            await asyncio.gather(operation.workflow_handle(), return_exceptions=True)
            if isinstance(error, WorkflowAlreadyStartedError):
                raise
            raise _unanswered(error, manifest.workflow_id, self._answer_within) from error
        if status.outcome is Outcome.REFUSED:
            raise JobRefused(status.message)
        return self.job(manifest.workflow_id)

    async def _attach(self, manifest: JobManifest, *, rerun: bool) -> JobHandle:
        handle = self.temporal.get_workflow_handle(manifest.workflow_id)
        found = await handle.describe()
        if _attribute(found, attributes.OUTCOME) == Outcome.REFUSED.value:
            # A refused job never took the name.
            return await self._start(manifest, Reuse.ALLOW_DUPLICATE_FAILED_ONLY, rerun=rerun)
        recorded = await found.memo_value(attributes.MEMO_MANIFEST_SHA256, "")
        if recorded != manifest.sha256:
            raise ManifestConflict(manifest.workflow_id, manifest.sha256, recorded)
        if rerun:
            state = found.status.name.lower() if found.status else "open"
            raise RerunRefused(manifest.workflow_id, state)
        return self.job(manifest.workflow_id)


def _unanswered(
    error: WorkflowUpdateRPCTimeoutOrCancelledError, job: str, waited: timedelta
) -> BaseException:
    """What it means that an update had no answer: no worker, or the caller gave up itself."""
    cause = error.__cause__
    return cause if isinstance(cause, asyncio.CancelledError) else NoWorker(job, waited)


def _attribute(found: WorkflowExecution, key: SearchAttributeKey[Any]) -> Any:
    return found.typed_search_attributes.get(key)


def _summary(found: WorkflowExecution) -> JobSummary:
    outcome = _attribute(found, attributes.OUTCOME)
    phase = _attribute(found, attributes.PHASE)
    return JobSummary(
        job=found.id,
        phase=Phase(phase) if phase else None,
        outcome=Outcome(outcome) if outcome else None,
        tenant=_attribute(found, attributes.TENANT),
        job_class=_attribute(found, attributes.JOB_CLASS),
        urgency=_attribute(found, attributes.URGENCY),
        region=_attribute(found, attributes.REGION),
        capacity_type=_attribute(found, attributes.CAPACITY_TYPE),
        planned_start=_attribute(found, attributes.PLANNED_START),
        deadline=_attribute(found, attributes.DEADLINE),
        carbon_planned_g=_attribute(found, attributes.CARBON_PLANNED),
        carbon_avoided_g=_attribute(found, attributes.AVOIDED_GRAMS),
        submitted_at=found.start_time,
        closed_at=found.close_time,
        status=(found.status or WorkflowExecutionStatus.RUNNING).name.capitalize(),
    )
