"""Heartbeats of an activity that has nothing to report while it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

EVERY_S = 5.0
"""Keep heartbeat time-outs well above it: the server learns of a beat some seconds late."""


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Heartbeat while the block runs, so that a lost worker is noticed before the time-out."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(EVERY_S)

    beats = asyncio.create_task(beat())
    try:
        yield
    finally:
        beats.cancel()
