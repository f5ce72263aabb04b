"""What the settlement pass keeps of regret: what was learned, and what it can learn from later.

A decision's forecasts are in the ledger, so that naming the decision is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from domain.job import Payload
from domain.regret_learning import LEARNED_AHEAD, RegretHistory

SAMPLE_EVERY = timedelta(hours=5)
"""Accounted time between issues that are learned from; goes round the clock in five days."""

PUBLISHED_WITHIN = timedelta(hours=24)
"""Accounted time after which an hour's observation is no longer waited for."""


class SeenMoment(Payload):
    """A decision whose forecasts are to be learned from."""

    job: str
    seq: int
    at: AwareDatetime
    time_scale: float = Field(gt=0)

    @property
    def due_at(self) -> datetime:
        """When all hours that are learned have passed, and been published."""
        return self.at + (LEARNED_AHEAD + PUBLISHED_WITHIN) / self.time_scale

    def is_apart(self, earlier: SeenMoment) -> bool:
        """Whether it is worth learning from after ``earlier``."""
        return (self.at - earlier.at) * self.time_scale >= SAMPLE_EVERY


class RegretLessons(Payload):
    """What was learned, and the decisions that can be learned from later: a shared document."""

    history: RegretHistory
    waiting: tuple[SeenMoment, ...] = ()
    """By time, ``SAMPLE_EVERY`` apart."""

    def with_seen(self, moments: Iterable[SeenMoment]) -> RegretLessons:
        """With further decisions, of which few are needed: those of one hour saw the same."""
        waiting: list[SeenMoment] = []
        for moment in sorted({*self.waiting, *moments}, key=lambda it: (it.at, it.job, it.seq)):
            if not waiting or moment.is_apart(waiting[-1]):
                waiting.append(moment)
        return self.model_copy(update={"waiting": tuple(waiting)})
