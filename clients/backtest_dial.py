"""The dial between carbon and cost: the same jobs again, at each setting of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from domain.backtest.case import Case, RuleName
from domain.backtest.job import BacktestJob
from domain.backtest.result import RuleResult
from domain.backtest.simulation import simulate
from domain.policy import Weights

SETTINGS = tuple(tenth / 10 for tenth in range(10, -1, -1))
"""Weights of carbon; cost has the rest."""

RULE = RuleName.LOWTIDE_ONCE
"""Without looks: eleven runs more are enough."""

MOST_JOBS = 2000
BLOCK = 250
"""Jobs in succession: they compete for room in a sample as they do in the whole."""


@dataclass(frozen=True, slots=True)
class Dial:
    """What came of each setting."""

    jobs: int
    whole: bool
    """Whether these were all jobs, or a sample."""
    baseline: RuleResult
    settings: Sequence[tuple[float, RuleResult]]
    """By the weight of carbon, from 1 to 0."""


def turn_dial(case: Case, done: Callable[[int], None]) -> Dial:
    """Run the case, or a sample of a large one, at each setting; ``done`` is told how many are."""
    sample = replace(case, jobs=sample_of(case.jobs))
    settings = []
    for count, carbon in enumerate(SETTINGS, start=1):
        weights = Weights(carbon=carbon, cost=1 - carbon)
        policy = case.policy.model_copy(update={"weights": weights})
        settings.append((carbon, simulate(replace(sample, policy=policy), RULE)))
        done(count)
    return Dial(
        jobs=len(sample.jobs),
        whole=len(sample.jobs) == len(case.jobs),
        baseline=simulate(sample, RuleName.RUN_AT_ONCE),
        settings=settings,
    )


def sample_of(jobs: Sequence[BacktestJob]) -> Sequence[BacktestJob]:
    """All of them, or blocks spread over the stream, ``MOST_JOBS`` at most."""
    if len(jobs) <= MOST_JOBS:
        return jobs
    blocks = MOST_JOBS // BLOCK
    apart = (len(jobs) - BLOCK) / (blocks - 1)
    firsts = (round(block * apart) for block in range(blocks))
    return [job for first in firsts for job in jobs[first : first + BLOCK]]
