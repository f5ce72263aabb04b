"""Settlement rounds: books from observed intensity, a root over the chains, lost room back, and
what the settled runs tell of reclaims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from temporalio import activity

from domain.errors import ChainBroken, JobOpen, MissingBlob
from domain.ledger import Draft, EventKind
from domain.messages import SettlementReport
from domain.ports import Commit, DocumentName, Documents, Ledger, Room, SignalStore
from domain.reclaims import Exposure, ReclaimHistory
from domain.roots import next_root
from domain.settlement import NotYetPublished
from domain.settlement_record import settlement_of, spot_exposures
from domain.steps import Step


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

    @activity.defn(name=Step.SETTLE_LEDGER)
    async def settle_ledger(self) -> SettlementReport:
        """Settle every job whose hours are published, then append a root. Idempotent."""
        now = activity.info().started_time
        settled = waiting = 0
        learned: list[tuple[str, Exposure]] = []
        for job in await asyncio.to_thread(self._ledger.unsettled):
            runs = await asyncio.to_thread(self._settle, job, now)
            if runs is None:
                waiting += 1
            else:
                settled += 1
                learned += runs
            activity.heartbeat(job)
        if learned:
            await asyncio.to_thread(self._learn, learned, now)
        root = await asyncio.to_thread(self._append_root, now)
        given_back = await asyncio.to_thread(self._room.release_expired, now)
        return SettlementReport(
            settled=settled, waiting=waiting, root=root, room_given_back=given_back
        )

    def _settle(self, job: str, now: datetime) -> Sequence[tuple[str, Exposure]] | None:
        """Settle a job, and return what its Spot runs tell; ``None`` where it must wait."""
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
        return spot_exposures(events) if event.recorded_at == now else ()

    def _learn(self, runs: Sequence[tuple[str, Exposure]], now: datetime) -> None:
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
