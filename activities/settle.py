"""Settlement rounds: books from observed intensity, a root over the chains, lost room back, and
what the settled jobs tell of reclaims and of regret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from temporalio import activity

from activities.regret import RegretLearner, moments_of
from domain.errors import ChainBroken, JobOpen, MissingBlob
from domain.ledger import Draft, EventKind
from domain.messages import SettlementReport
from domain.ports import Commit, DocumentName, Documents, Ledger, Room, SignalStore
from domain.reclaims import Exposure, ReclaimHistory
from domain.regret_lessons import SeenMoment
from domain.roots import next_root
from domain.settlement import NotYetPublished
from domain.settlement_record import settlement_of, spot_exposures
from domain.steps import Step


@dataclass(frozen=True, slots=True)
class _Told:
    """What a settled job tells beside its books."""

    runs: Sequence[tuple[str, Exposure]] = ()
    moments: Sequence[SeenMoment] = ()


class Settle:
    """The activity ``settle_ledger``."""

    def __init__(
        self, ledger: Ledger, signals: SignalStore, room: Room, documents: Documents
    ) -> None:
        """Hold the stores."""
        self._ledger = ledger
        self._signals = signals
        self._room = room
        self._documents = documents
        self._regret = RegretLearner(ledger, signals, documents)

    @activity.defn(name=Step.SETTLE_LEDGER)
    async def settle_ledger(self) -> SettlementReport:
        """Settle every job whose hours are published, then append a root. Idempotent."""
        now = activity.info().started_time
        settled = waiting = 0
        runs: list[tuple[str, Exposure]] = []
        moments: list[SeenMoment] = []
        for job in await asyncio.to_thread(self._ledger.unsettled):
            told = await asyncio.to_thread(self._settle, job, now)
            if told is None:
                waiting += 1
            else:
                settled += 1
                runs += told.runs
                moments += told.moments
            activity.heartbeat(job)
        if runs:
            await asyncio.to_thread(self._learn_reclaims, runs, now)
        await asyncio.to_thread(self._regret.learn, moments, now)
        root = await asyncio.to_thread(self._append_root, now)
        given_back = await asyncio.to_thread(self._room.release_expired, now)
        return SettlementReport(
            settled=settled, waiting=waiting, root=root, room_given_back=given_back
        )

    def _settle(self, job: str, now: datetime) -> _Told | None:
        """Settle a job, and return what else it tells; ``None`` where it must wait."""
        events = self._ledger.events(job)
        try:
            data, blobs = settlement_of(events, self._ledger.blobs, self._signals.observations)
        except NotYetPublished:
            return None
        except MissingBlob as error:
            # One job's lost input must not keep the others from their books; verify names it too.
            activity.logger.error("%s cannot be settled: %s", job, error)
            return None
        try:
            [event] = self._ledger.commit(
                Commit(
                    job=job,
                    first_seq=events[-1].seq + 1,
                    drafts=(Draft(EventKind.SETTLEMENT, now, data),),
                    blobs=blobs,
                    settled=True,
                )
            )
        except (ChainBroken, JobOpen):
            # Run again meanwhile: its new events come first, and it is settled with them.
            return None
        # An attempt of this pass that was given up may have settled the job, and counted it.
        if event.recorded_at != now:
            return _Told()
        return _Told(spot_exposures(events), moments_of(events))

    def _learn_reclaims(self, runs: Sequence[tuple[str, Exposure]], now: datetime) -> None:
        """Add what the runs of a pass tell, in one write at its end.

        A pass that dies before loses their hours and their reclaims alike, which favours neither;
        none is counted twice, since a job is settled once.
        """
        content = self._documents.document(DocumentName.RECLAIMS)
        try:
            known = ReclaimHistory.model_validate_json(content) if content else None
        except ValueError:
            activity.logger.warning("what was learned of reclaims is of another form: begun anew")
            known = None
        history = (known or ReclaimHistory(as_of=now)).and_then(runs, now)
        self._documents.put_document(DocumentName.RECLAIMS, history.model_dump_json().encode())

    def _append_root(self, now: datetime) -> int | None:
        newest = self._ledger.newest_root()
        root = next_root(self._ledger.heads_since_last_root(), newest, now)
        if root is None:
            return None
        self._ledger.append_root(root)
        return root.number
