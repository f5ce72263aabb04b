"""How a job hears of its run: the real ``watch_region`` step, at the instants that matter.

``WatchRegion`` holds an activity open for good, and no time is skipped while one runs. So a
submitted run gets a workflow of its own that sleeps until something happens to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow

from domain.messages import WatchInput
from domain.steps import Queue, Step


@dataclass
class News:
    """When there is something to hear of a region's runs."""

    region: str
    at: list[datetime]


@workflow.defn(name="NewsOfRun")
class NewsOfRun:
    """Watches a region at each of the instants, once."""

    @workflow.run
    async def run(self, news: News) -> None:
        for instant in news.at:
            if instant > workflow.now():
                await workflow.sleep(instant - workflow.now())
            await workflow.execute_activity(
                Step.WATCH_REGION,
                WatchInput(backend="scripted", region=news.region),
                task_queue=Queue.SIGNALS,
                start_to_close_timeout=timedelta(seconds=30),
            )
