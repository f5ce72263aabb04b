"""The steps that workflows take through activities: their names and the queues they run on.

Workflows call a step by name, activities register under it; neither imports the other.
"""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """Names of activities."""

    ADMIT_JOB = "admit_job"
    CHOOSE_PLACEMENT = "choose_placement"
    DISPATCH_RUN = "dispatch_run"
    DESCRIBE_RUN = "describe_run"
    TERMINATE_RUN = "terminate_run"
    RECORD_OVERRIDES = "record_overrides"
    FINISH_JOB = "finish_job"
    REFRESH_SIGNALS = "refresh_signals"
    REFRESH_PRICES = "refresh_prices"
    WATCH_REGION = "watch_region"
    SETTLE_LEDGER = "settle_ledger"


class Queue(StrEnum):
    """Task queues. Activities stand apart from the workflows' queue, so that a fix to a decision
    reaches jobs that are pinned to an older build of the workflow.
    """

    JOBS = "lowtide-jobs"
    """Workflow tasks of jobs, pinned to the build that started them."""
    DECISIONS = "lowtide-decisions"
    """Decisions and records."""
    DISPATCH = "lowtide-dispatch"
    """Submissions, under a rate limit."""
    URGENT = "lowtide-urgent"
    """Submissions of urgent jobs, past the line of flexible ones."""
    SIGNALS = "lowtide-signals"
    """Refreshes, watching, settlement: workflows and activities, always on the current build."""
