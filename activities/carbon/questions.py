"""One refresh of one provider: many questions at once, each zone's trouble its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from activities.errors import ProviderFault
from domain.forecast import Signal
from domain.ports import ProviderAnswer, Refusal

BUDGET_S = 220.0
"""Of the four minutes within which a refresh, every five minutes, must end: what a provider has not
answered by then is refused, and what it has is kept."""

REFRESHES_PER_HOUR = 12


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


def is_due(place: str, now: datetime, refreshes_per_hour: int) -> bool:
    """Whether this refresh is the one of its hour that fetches a place's history.

    A place's slot is a stable hash of its name: each comes once an hour, whichever process or
    clock asks, and every refresh carries an equal share.
    """
    digest = hashlib.sha256(place.encode()).digest()
    second = now.minute * 60 + now.second
    return int.from_bytes(digest[:8]) % refreshes_per_hour == second * refreshes_per_hour // 3600
