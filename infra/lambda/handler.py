"""The refresh of carbon signals as a Lambda function, which EventBridge Scheduler calls.

Nothing is kept from one invocation to the next: a frozen container keeps connections that the other
side has given up, and HTTP clients live in the event loop of one invocation. What is made anew (the
parts, from some small files) takes a tenth of a second. Only imports are paid once a container.
"""
# ruff: noqa: INP001 - the folder is called what it is, and that is a keyword

from __future__ import annotations

import asyncio
from typing import Any

from workers.wiring import load_parts, refresh_once


class NoForecast(Exception):
    """A refresh brought no forecast at all; the reasons stand in its text."""


def handle(event: object, context: object) -> dict[str, Any]:
    """Refresh once; what came, as plain JSON.

    Raises:
        NoForecast: nothing came, so that the invocation counts as failed.
    """
    del event, context
    report = asyncio.run(refresh_once(load_parts()))
    if not report.forecasts:
        raise NoForecast("; ".join(report.refused))
    return report.model_dump(mode="json")
