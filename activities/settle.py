"""Settlement rounds: books from observed intensity, a root over the chains, lost room back."""

from __future__ import annotations

import asyncio
from datetime import datetime

from temporalio import activity

from domain.errors import ChainBroken, JobOpen, MissingBlob
from domain.ledger import Draft, EventKind
from domain.messages import SettlementReport
from domain.ports import Commit, Ledger, Room, SignalStore
from domain.roots import next_root
from domain.settlement import NotYetPublished
from domain.settlement_record import settlement_of
from domain.steps import Step


class Settle:
    """The activity ``settle_ledger``."""

    def __init__(self, ledger: Ledger, signals: SignalStore, room: Room) -> None:
        """Hold the stores."""
        self._ledger = ledger
        self._signals = signals
        self._room = room

    @activity.defn(name=Step.SETTLE_LEDGER)
    async def settle_ledger(self) -> SettlementReport:
        """Settle every job whose hours are published, then append a root. Idempotent."""
        now = activity.info().started_time
        settled = waiting = 0
        for job in await asyncio.to_thread(self._ledger.unsettled):
            if await asyncio.to_thread(self._settle, job, now):
                settled += 1
            else:
                waiting += 1
            activity.heartbeat(job)
        root = await asyncio.to_thread(self._append_root, now)
        given_back = await asyncio.to_thread(self._room.release_expired, now)
        return SettlementReport(
            settled=settled, waiting=waiting, root=root, room_given_back=given_back
        )

    def _settle(self, job: str, now: datetime) -> bool:
        events = self._ledger.events(job)
        try:
            data, blobs = settlement_of(events, self._ledger.blobs, self._signals.observations)
        except NotYetPublished:
            return False
        except MissingBlob as error:
            # One job's lost input must not keep the others from their books; verify names it too.
            activity.logger.error("%s cannot be settled: %s", job, error)
            return False
        try:
            self._ledger.commit(
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
            return False
        return True

    def _append_root(self, now: datetime) -> int | None:
        newest = self._ledger.newest_root()
        root = next_root(self._ledger.heads_since_last_root(), newest, now)
        if root is None:
            return None
        self._ledger.append_root(root)
        return root.number
