"""Patience where others write the same: how often to begin again, and how long to wait before."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

TRIES = 10
_FIRST_PAUSE_S = 0.025
_LONGEST_PAUSE_S = 1.0


def tries() -> Iterator[int]:
    """Numbers of the tries that contention is worth, each after a longer pause with jitter."""
    yield 0
    for number in range(1, TRIES):
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**number)
        time.sleep(random.uniform(0, longest))  # noqa: S311 - no secret: when to try again
        yield number
