"""Regret learned as a backtest goes: from what was forecast and has come by then, and no later."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from domain.backtest.case import Issue
from domain.forecast import Observation, Signal
from domain.policy import Policy
from domain.regions import RegionCatalogue
from domain.regret import Regret
from domain.regret_contest import classes_of
from domain.regret_learning import LEARNED_AHEAD, RegretHistory
from domain.regret_lessons import SAMPLE_EVERY
from domain.trace import Trace

LEARN_EVERY = timedelta(days=1)
"""As often as regret, and so the world, may change by learning."""

PROVIDER = "trace"


class Learning:
    """What the product would have learned by each moment of a backtest, which come in order."""

    def __init__(
        self, truth: Mapping[Signal, Trace], policy: Policy, catalogue: RegionCatalogue
    ) -> None:
        """Nothing is learned yet."""
        self._truth = truth
        self._classes = classes_of(policy, catalogue)
        self._waiting: deque[tuple[datetime, Issue]] = deque()
        self._newest: datetime | None = None
        self._learned_at: datetime | None = None
        self._history: RegretHistory | None = None
        self._regret: Regret | None = None

    @property
    def history(self) -> RegretHistory | None:
        """All that was learned; ``None`` before the first."""
        return self._history

    def see(self, issue: Issue, now: datetime) -> None:
        """Take note of what was forecast at ``now``; some moments are enough."""
        if self._newest is None or now - self._newest >= SAMPLE_EVERY:
            self._waiting.append((now, issue))
            self._newest = now

    def regret(self, now: datetime) -> Regret | None:
        """What decisions at ``now`` go by: the same object until another was learned."""
        if self._learned_at is None or now - self._learned_at >= LEARN_EVERY:
            self._learned_at = now
            self._learn(now)
        return self._regret

    def _learn(self, now: datetime) -> None:
        issues = []
        while self._waiting and self._waiting[0][0] + LEARNED_AHEAD <= now:
            issues.append(self._waiting.popleft()[1])
        if not issues:
            return
        history = self._history or RegretHistory(as_of=now)
        seen = _Seen(self._truth, now)
        self._history = history.learn(issues, seen.observed, self._classes, now)
        regret = self._history.regret()
        if regret != self._regret:
            self._regret = regret


class _Seen:
    """A grid as far as it was observed by one moment."""

    def __init__(self, truth: Mapping[Signal, Trace], now: datetime) -> None:
        self._truth = truth
        self._now = now

    def observed(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> Sequence[Observation]:
        """Steps that overlap [start, end) and are over."""
        trace = self._truth.get(signal)
        if trace is None or zone not in trace.zones:
            return []
        step = timedelta(seconds=trace.step_s)
        first = max(0, trace.step_at(start))
        over = min(trace.steps, trace.step_at(self._now))
        last = max(first, min(over, -((trace.start - end) // step)))
        return [
            Observation(zone, signal, trace.start + at * step, trace.step_s, value, PROVIDER)
            for at, value in enumerate(trace.zones[zone][first:last].tolist(), start=first)
        ]
