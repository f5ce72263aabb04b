"""Admission and decisions: read the world, decide, and write all of it in one transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import activity

from activities.commits import commit_next
from activities.manifests import Manifests
from activities.records import drafts_of
from activities.world import WorldReader
from domain.admission import admit_check
from domain.capacity import CapacityType
from domain.decision import DecisionInputs, hours_in_play
from domain.decision_record import decision_data, placement_of
from domain.errors import InvalidInput, RoomTaken
from domain.job import DecisionReason, Fallback, Placement
from domain.ledger import Draft, EventKind, LedgerEvent
from domain.manifest import JobManifest
from domain.messages import Admission, AdmitInput, ChooseInput, Orphan, Plan
from domain.placement import decide
from domain.ports import Commit, JobRecord, Ledger, Room
from domain.room import Place, RoomClaim, RoomView, hours_touched, stretches
from domain.steps import Step
from domain.timing import wake_time

RACES_FOR_ROOM = 20
"""How often one decision is made again because another job took the room it had chosen."""

CLAIM_GRACE = timedelta(days=1)
"""How long after its deadline a job may still hold room before the reconciler asks for it."""


class Decisions:
    """The activities ``admit_job`` and ``choose_placement``."""

    def __init__(
        self, world: WorldReader, ledger: Ledger, room: Room, manifests: Manifests
    ) -> None:
        """Hold what decisions read and write."""
        self._world = world
        self._ledger = ledger
        self._room = room
        self._manifests = manifests

    @activity.defn(name=Step.ADMIT_JOB)
    async def admit_job(self, step: AdmitInput) -> Admission:
        """Admit the job, or say why not, and take its first decision."""
        manifest = await self._manifests.submitted(step.manifest_sha256)
        return await asyncio.to_thread(self._admit, step, manifest, activity.info().started_time)

    @activity.defn(name=Step.CHOOSE_PLACEMENT)
    async def choose_placement(self, step: ChooseInput) -> Plan:
        """Decide again, with what happened since the last decision recorded before it."""
        manifest = await self._manifests.admitted(step.manifest_sha256)
        return await asyncio.to_thread(self._choose, step, manifest, activity.info().started_time)

    def _admit(self, step: AdmitInput, manifest: JobManifest, now: datetime) -> Admission:
        try:
            admit_check(manifest, self._world.read(now), step.submitted_at)
            record = self._ledger.admit(
                step.job, manifest.canonical(), step.execution, rerun=step.rerun
            )
        except InvalidInput as error:
            return Admission(refused=str(error))
        if record.outcome is not None:
            return Admission(recorded=record.outcome)
        inputs = replace(
            self._inputs(manifest, now, manifest.deadline, start_now=step.start_now),
            submitted_at=step.submitted_at,
        )
        plan = self._decide(step.job, record.first_seq, inputs, DecisionReason.PLAN, ())
        return Admission(plan=plan, next_attempt=record.first_attempt, orphan=self._orphan(record))

    def _choose(self, step: ChooseInput, manifest: JobManifest, now: datetime) -> Plan:
        inputs = replace(
            self._inputs(manifest, now, step.deadline, start_now=step.start_now),
            reclaims=step.reclaims,
            incumbent=step.incumbent,
            counterfactual=step.counterfactual,
            excluded_regions=step.excluded_regions,
            work_done=timedelta(seconds=step.work_done_s),
            checkpoint_region=step.checkpoint_region,
        )
        before = drafts_of(now, step.attempts, step.overrides)
        return self._decide(step.job, step.seq, inputs, step.reason, before)

    def _inputs(
        self, manifest: JobManifest, now: datetime, deadline: datetime, *, start_now: bool
    ) -> DecisionInputs:
        return DecisionInputs(
            manifest=manifest,
            world=self._world.read(now),
            room=RoomView(),
            now=now,
            deadline=deadline,
            start_now=start_now,
        )

    def _decide(
        self,
        job: str,
        seq: int,
        inputs: DecisionInputs,
        reason: DecisionReason,
        before: tuple[Draft, ...],
    ) -> Plan:
        """Decide on the room as it is and take it; when another job was faster, decide again."""
        for _ in range(RACES_FOR_ROOM - 1):
            try:
                return self._decide_once(job, seq, inputs, reason, before)
            except RoomTaken:
                continue
        return self._decide_once(job, seq, inputs, reason, before)

    def _decide_once(
        self,
        job: str,
        seq: int,
        inputs: DecisionInputs,
        reason: DecisionReason,
        before: tuple[Draft, ...],
    ) -> Plan:
        inputs = replace(inputs, room=self._room.view(hours_in_play(inputs), excluding_job=job))
        placement = decide(inputs).placement
        data, blobs = decision_data(inputs, placement, reason)
        events = commit_next(
            self._ledger,
            Commit(
                job=job,
                first_seq=seq,
                drafts=(*before, Draft(EventKind.DECISION, inputs.now, data)),
                blobs=blobs,
                claims=_claims(inputs, placement),
            ),
        )
        return _plan(job, events[-1], inputs)

    def _orphan(self, record: JobRecord) -> Orphan | None:
        """The run that an earlier execution dispatched and never saw the end of."""
        ended = set()
        for event in reversed(self._ledger.events(record.job)):
            if event.seq >= record.first_seq:
                continue
            if event.kind is EventKind.ATTEMPT and not event.data["unconfirmed"]:
                ended.add(event.data["attempt"])
            if event.kind is EventKind.DISPATCH:
                attempt = event.data["attempt"]
                if attempt in ended:
                    return None
                return Orphan(
                    attempt=attempt,
                    segment=event.data.get("segment", 0),
                    cell=event.data["cell"],
                    submitted_at=event.recorded_at,
                )
        return None


def _claims(inputs: DecisionInputs, placement: Placement) -> tuple[RoomClaim, ...]:
    """Room in the hours of every segment."""
    hours: dict[Place, list[int]] = {}
    for segment in placement.segments:
        duration = timedelta(seconds=segment.duration_s)
        place = segment.cell.region, segment.cell.capacity_type
        hours.setdefault(place, []).extend(hours_touched(segment.cell.start, duration))
    return tuple(
        _claim(inputs, placement, place, stretch)
        for place, touched in hours.items()
        for stretch in stretches(touched)
    )


def _claim(inputs: DecisionInputs, placement: Placement, place: Place, hours: range) -> RoomClaim:
    (region, capacity_type), resources = place, inputs.manifest.resources
    limit = inputs.world.policy.regions[region].limit(capacity_type)
    assert limit is not None  # noqa: S101 - a placement only uses what the policy offers
    return RoomClaim(
        region=region,
        capacity_type=capacity_type,
        hours=hours,
        vcpus=resources.vcpus,
        gpus=resources.gpus,
        limit_vcpus=limit.vcpus,
        limit_gpus=limit.gpus,
        expires_at=max(inputs.deadline, placement.planned_end) + CLAIM_GRACE,
        over_room=Fallback.OVER_ROOM in placement.fallbacks,
    )


def _plan(job: str, event: LedgerEvent, inputs: DecisionInputs) -> Plan:
    """What the workflow needs of a recorded decision; of the first try's, if this is a retry."""
    placement, policy = placement_of(event.data), inputs.world.policy
    every = policy.look_again.every
    worst_case = inputs.remaining().worst_case
    lead = policy.safety_margin + worst_case
    wall = inputs.deadline - lead
    if placement.cell.capacity_type is CapacityType.SPOT:
        wall -= worst_case
    return Plan(
        placement=placement,
        next_seq=event.seq + 1,
        wake_at=wake_time(job, placement.cell.start, wall, policy.wake_jitter),
        lead_s=lead.total_seconds(),
        start_up_s=policy.start_up.total_seconds(),
        look_min_remaining_s=policy.look_again.min_remaining.total_seconds(),
        look_every_s=every.total_seconds() if every else None,
    )
