"""Faults that the fake of AWS Batch can be told to have, one set for each region."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field


@dataclass
class Faults:
    """What goes wrong in a region. Counts run down; shares are of all requests."""

    down: bool = False
    """Every connection is closed without an answer."""
    failing: bool = False
    """Every request is answered by a ``ServerException``, and nothing is done."""
    throttle_next: int = 0
    throttle_share: float = 0.0
    lose_next: int = 0
    """So many ``SubmitJob`` are done, and their answers are lost."""
    lose_share: float = 0.0
    operations: frozenset[str] = frozenset()
    """Only these are throttled or fail; all where empty."""
    gate: asyncio.Event | None = None
    """``SubmitJob`` is not done before this is set."""
    seed: int = 17
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311 - faults that come again

    def throttles(self, operation: str) -> bool:
        if self.operations and operation not in self.operations:
            return False
        if self.throttle_next > 0:
            self.throttle_next -= 1
            return True
        return self._chance.random() < self.throttle_share

    def fails(self, operation: str) -> bool:
        return self.failing and (not self.operations or operation in self.operations)

    def loses(self, operation: str) -> bool:
        if operation != "submitjob":
            return False
        if self.lose_next > 0:
            self.lose_next -= 1
            return True
        return self._chance.random() < self.lose_share
