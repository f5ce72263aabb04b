"""Regret between processes: the settlement pass learns it, every decision reads it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from domain.decision import World
from domain.decision_record import inputs_of
from domain.errors import DomainError
from domain.ledger import EventKind, LedgerEvent
from domain.ports import DocumentName, Documents, Ledger, SignalStore
from domain.regret import Regret
from domain.regret_contest import classes_of
from domain.regret_learning import RegretHistory
from domain.regret_lessons import RegretLessons, SeenMoment

LOOK_EVERY = timedelta(seconds=30)
"""What was learned is seen by every worker within this time."""

_LOG = logging.getLogger(__name__)


class StoredRegret:
    """What decisions go by, from the shared document.

    Asked for all the time, it looks at the store every ``LOOK_EVERY`` at most, and returns the same
    object while no figure has changed.
    """

    def __init__(self, documents: Documents) -> None:
        """Hold the documents; nothing is read yet."""
        self._documents = documents
        self._lock = threading.Lock()
        self._looked_at: datetime | None = None
        self._regret: Regret | None = None

    def regret(self, now: datetime) -> Regret | None:
        """The newest that this process knows of; ``None`` while nothing was learned."""
        with self._lock:
            if self._looked_at is None or now - self._looked_at >= LOOK_EVERY:
                lessons = stored_lessons(self._documents)
                found = lessons.history.regret() if lessons and lessons.history.zones else None
                if found != self._regret:
                    self._regret = found
                self._looked_at = now
            return self._regret


class RegretLearner:
    """Holds the forecasts that recorded decisions saw against what was observed since."""

    def __init__(self, ledger: Ledger, signals: SignalStore, documents: Documents) -> None:
        """Hold the stores."""
        self._ledger = ledger
        self._signals = signals
        self._documents = documents

    def learn(self, moments: Sequence[SeenMoment], now: datetime) -> None:
        """Remember the decisions of settled jobs, and learn from those that are due.

        One write at the end. A pass that dies before loses some moments, which favours nothing,
        and learns from none twice.
        """
        known = stored_lessons(self._documents)
        seen = (known or RegretLessons(history=RegretHistory(as_of=now))).with_seen(moments)
        due = [moment for moment in seen.waiting if moment.due_at <= now]
        if not due and seen == known:
            return
        history = seen.history
        for moment in due:
            if world := self._world(moment):
                history = history.learn(
                    (world.forecasts,),
                    self._signals.observations,
                    classes_of(world.policy, world.catalogue),
                    now,
                    world.time_scale,
                )
        waiting = tuple(moment for moment in seen.waiting if moment.due_at > now)
        lessons = RegretLessons(history=history, waiting=waiting)
        self._documents.put_document(DocumentName.REGRET, lessons.model_dump_json().encode())

    def _world(self, moment: SeenMoment) -> World | None:
        """What a decision saw; ``None`` where the ledger cannot tell, which verify names too."""
        [event] = [it for it in self._ledger.events(moment.job) if it.seq == moment.seq]
        try:
            return inputs_of(event.data, self._ledger.blobs).world
        except DomainError as error:
            _LOG.warning("nothing is learned of regret from %s: %s", moment.job, error)
            return None


def stored_lessons(documents: Documents) -> RegretLessons | None:
    """The document; nothing where there is none, or none that this build can read."""
    content = documents.document(DocumentName.REGRET)
    try:
        return None if content is None else RegretLessons.model_validate_json(content)
    except ValueError:
        _LOG.warning("what was learned of regret is of another form: begun anew")
        return None


def moments_of(events: Iterable[LedgerEvent]) -> tuple[SeenMoment, ...]:
    """The decisions of a chain."""
    return tuple(
        SeenMoment(
            job=event.job,
            seq=event.seq,
            at=datetime.fromisoformat(event.data["now"]),
            time_scale=float(event.data["time_scale"]),
        )
        for event in events
        if event.kind is EventKind.DECISION
    )
