"""Jobs to settle, and a settlement round: one job runs at home, hours of Germany are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio.testing import ActivityEnvironment

from activities.settle import Settle
from activities.stores.dynamodb import DynamoStore
from activities.stores.sqlite import SqliteStore
from domain.capacity import CapacityType
from domain.decision import DecisionInputs
from domain.forecast import Observation, Signal
from domain.job import Cell, DecisionReason, Outcome, RunReport, RunState, Saving
from domain.ledger import Draft, EventKind
from domain.messages import AttemptRecord, SettlementReport
from domain.ports import Commit, Documents, SignalStore
from tests.domain.recorded import HOME, NOW, record_decision

HOUR = timedelta(hours=1)
LATER = NOW + 8 * HOUR

Store = SqliteStore | DynamoStore


async def settle(
    store: Store,
    at: datetime = LATER,
    signals: SignalStore | None = None,
    documents: Documents | None = None,
) -> SettlementReport:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, started_time=at)
    return await environment.run(
        Settle(store, signals or store, store, documents or store).settle_ledger
    )


def ran(
    store: Store,
    inputs: DecisionInputs,
    hours: float = 1,
    outcome: Outcome = Outcome.SUCCEEDED,
    capacity_type: CapacityType = CapacityType.ON_DEMAND,
    reclaimed_after: Sequence[float] = (),
    saving: Saving | None = None,
) -> str:
    """A job that was planned at NOW and ran from NOW + 3 h, after runs that were taken back."""
    job, start = inputs.manifest.workflow_id, NOW + 3 * HOUR
    store.admit(job, inputs.manifest.canonical(), "e1", rerun=False)
    record_decision(store, inputs, 1, DecisionReason.PLAN, saving)
    runs = [
        *((RunState.RECLAIMED, hours) for hours in reclaimed_after),
        (RunState(outcome.value.lower()), hours),
    ]
    attempts = [
        AttemptRecord(
            attempt=number,
            cell=Cell(region=HOME, capacity_type=capacity_type, start=start),
            submitted_at=start,
            report=RunReport(
                run=f"{job}-a{number}",
                region=HOME,
                workflow_id=job,
                state=state,
                started_at=start,
                ended_at=start + length * HOUR,
            ),
        )
        for number, (state, length) in enumerate(runs, start=1)
    ]
    drafts = (
        *(Draft(EventKind.ATTEMPT, start + HOUR, it.model_dump(mode="json")) for it in attempts),
        Draft(EventKind.COMPLETION, start + HOUR, {"outcome": outcome.value}),
    )
    store.commit(Commit(job, 2, drafts, outcome=outcome, last_attempt=len(runs)))
    return job


def publish(store: SignalStore, hours: int, level: float = 400.0) -> None:
    """Germany's average, hourly from NOW on."""
    store.put_observations(
        [
            Observation("DE", Signal.AVERAGE, NOW + n * HOUR, 3600.0, level, "trace")
            for n in range(hours)
        ]
    )
