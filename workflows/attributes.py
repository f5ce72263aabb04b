"""Search attributes: the one list that code, start-up registration and the compose set-up share.

SQL visibility holds 10 Keyword and 3 each of Double and Datetime; one Double is kept spare.
Values are plain text in Temporal whatever codec is set, so nothing personal belongs here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from domain.job import Phase
from domain.manifest import JobManifest
from domain.messages import JobStatus

PHASE: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("Phase")
OUTCOME: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("Outcome")
REGION: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("Region")
CAPACITY_TYPE: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("CapacityType")
JOB_CLASS: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("JobClass")
TENANT: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("Tenant")
URGENCY: SearchAttributeKey[str] = SearchAttributeKey.for_keyword("Urgency")
PLANNED_START: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("PlannedStart")
DEADLINE: SearchAttributeKey[datetime] = SearchAttributeKey.for_datetime("Deadline")
CARBON_PLANNED: SearchAttributeKey[float] = SearchAttributeKey.for_float("CarbonPlanned")
"""Grams of the steering signal that the placement expects."""
AVOIDED_GRAMS: SearchAttributeKey[float] = SearchAttributeKey.for_float("AvoidedGrams")
"""Grams promised below the counterfactual; the ledger's settlement has what came of it."""

Key = SearchAttributeKey[str] | SearchAttributeKey[float] | SearchAttributeKey[datetime]

ALL: tuple[Key, ...] = (
    PHASE,
    OUTCOME,
    REGION,
    CAPACITY_TYPE,
    JOB_CLASS,
    TENANT,
    URGENCY,
    PLANNED_START,
    DEADLINE,
    CARBON_PLANNED,
    AVOIDED_GRAMS,
)

MEMO_MANIFEST_SHA256 = "manifest_sha256"
"""Memo key by which a client tells the same manifest from another under one name."""


def at_start(manifest: JobManifest) -> TypedSearchAttributes:
    """What is known at submission; set with the start, where it costs no action."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(PHASE, Phase.PLANNING.value),
            SearchAttributePair(JOB_CLASS, manifest.job_class),
            SearchAttributePair(TENANT, manifest.tenant),
            SearchAttributePair(URGENCY, manifest.flexibility.value),
            SearchAttributePair(DEADLINE, manifest.deadline),
        ]
    )


def of_job(status: JobStatus) -> Iterator[tuple[SearchAttributeKey[Any], Any]]:
    """What a job shows of itself as it goes on."""
    yield PHASE, status.phase.value
    yield DEADLINE, status.deadline
    if status.outcome is not None:
        yield OUTCOME, status.outcome.value
    if status.placement is None:
        return
    placement = status.placement
    yield REGION, placement.cell.region
    yield CAPACITY_TYPE, placement.cell.capacity_type.value
    yield PLANNED_START, placement.cell.start
    if status.work_done_s:
        # Of a job in chunks both figures stay those of its whole.
        return
    carbon = placement.estimate.carbon_g(placement.basis)
    baseline = placement.counterfactual.estimate.carbon_g(placement.basis)
    if carbon is not None:
        yield CARBON_PLANNED, carbon
        if baseline is not None:
            yield AVOIDED_GRAMS, baseline - carbon
