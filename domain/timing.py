"""When a deferred job wakes and looks: pure functions of its plan and its id."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

_NEARLY = 1 - 1 / 360
"""A minute in six hours: each look comes some moments late, and the next must not fail by them."""


def spread(workflow_id: str, window: timedelta) -> timedelta:
    """A deterministic share of ``window``: a thousand jobs must not wake in one second."""
    digest = hashlib.sha256(workflow_id.encode()).digest()
    return window * (int.from_bytes(digest[:8], "big") / 2**64)


def wake_time(workflow_id: str, start: datetime, latest: datetime, jitter: timedelta) -> datetime:
    """``start`` plus the job's share of the jitter, never past ``latest``.

    ``latest`` is the wall of the cell's capacity type. The share is of the window that is really
    there, so that jobs near their wall are still spread.
    """
    window = max(timedelta(0), min(jitter, latest - start))
    return start + spread(workflow_id, window)


def next_look(
    now: datetime, start: datetime, min_remaining: timedelta, every: timedelta | None = None
) -> datetime | None:
    """When the remaining wait has halved, if it is then still ``min_remaining`` or more.

    With 6 h, a wait of 24 h has looks at 12 h and 6 h before the start, one of 8 h has none; the
    look before starting comes on top. With ``every``, no longer time passes between two looks.
    """
    half = (start - now) / 2
    look = start - half if half >= min_remaining * _NEARLY else None
    if every is not None and now + every < start:
        return min(now + every, look or start)
    return look
