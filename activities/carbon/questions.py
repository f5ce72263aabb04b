"""One refresh of one provider: many questions at once, each zone's trouble its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.errors import ProviderFault
from domain.forecast import Signal
from domain.ports import ProviderAnswer, Refusal

BUDGET_S = 220.0
"""Of the four minutes within which a refresh, every five minutes, must end: what a provider has not
answered by then is refused, and what it has is kept."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a provider is asked, and how long it may take each time."""

    refresh_every: timedelta = timedelta(minutes=5)
    past_every: timedelta | None = timedelta(hours=1)
    """In this time each place's past is fetched once; ``None``: never."""
    budget_s: float = BUDGET_S
    """What is not answered by then is refused."""

    @property
    def slots(self) -> int:
        """How many refreshes share in fetching the past of all places."""
        return 1 if self.past_every is None else max(1, self.past_every // self.refresh_every)

    def is_due(self, place: str, now: datetime) -> bool:
        """Whether this refresh is the one that fetches a place's past.

        A place's slot is a stable hash of its name: it comes once in ``past_every``, whichever
        process or clock asks, and every refresh carries an equal share.
        """
        if self.past_every is None:
            return False
        digest = hashlib.sha256(place.encode()).digest()
        passed = (now - _EPOCH) % self.past_every
        return int.from_bytes(digest[:8]) % self.slots == passed * self.slots // self.past_every


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Question:
    """One exchange with a provider, and the zones that its answer is for."""

    zones: tuple[str, ...]
    ask: Callable[[], Coroutine[Any, Any, ProviderAnswer]]


async def ask_all(
    provider: str, signal: Signal, questions: Sequence[Question], budget_s: float
) -> ProviderAnswer:
    """Ask every question and put the answers together, whatever became of the others.

    Never raises for what a provider does: its faults are refusals of the zones concerned.
    """
    tasks = [asyncio.create_task(question.ask()) for question in questions]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=budget_s)
    finally:
        late = {task for task in tasks if task.cancel()}
        await asyncio.gather(*late, return_exceptions=True)
    answers: list[ProviderAnswer] = []
    for question, task in zip(questions, tasks, strict=True):
        if task in late:
            reason = f"no answer within {budget_s:g} s"
        elif isinstance(fault := task.exception(), ProviderFault):
            reason = str(fault)
        else:
            answers.append(task.result())
            continue
        answers.append(
            ProviderAnswer(
                (),
                (),
                tuple(Refusal(zone, signal, f"{provider}: {reason}") for zone in question.zones),
            )
        )
    return merged(answers)


def merged(answers: Sequence[ProviderAnswer]) -> ProviderAnswer:
    """Several answers as one, in order."""
    return ProviderAnswer(
        forecasts=tuple(item for answer in answers for item in answer.forecasts),
        observations=tuple(item for answer in answers for item in answer.observations),
        refusals=tuple(item for answer in answers for item in answer.refusals),
    )
