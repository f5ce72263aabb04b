"""A durable sleep that news may end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow


async def sleep_until(news: Callable[[], bool], until: datetime, summary: str) -> bool:
    """``True`` when news came, ``False`` when the time did; ``summary`` stands at the timer."""
    wait = until - workflow.now()
    if wait <= timedelta(0):
        return news()
    try:
        await workflow.wait_condition(news, timeout=wait, timeout_summary=summary)
    except TimeoutError:
        return False
    return True
