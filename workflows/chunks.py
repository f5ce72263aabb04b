"""Chunks of an interruptible job: when the run of one is stopped, and what its end leaves.

Pure functions of a plan and of what is known of a run.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from domain.job import RunState, Segment
from domain.manifest import JobManifest
from domain.messages import JobState, Plan
from domain.progress import Progress, wrote_checkpoint
from workflows.run import WatchedRun


def stop_at(
    run: WatchedRun, plan: Plan, manifest: JobManifest, state: JobState, deadline: datetime
) -> datetime | None:
    """When a run that has begun is stopped because its chunk is over; ``None``: never, by plan.

    At its segment's end, but not before it has had ``min_chunk`` (of which start-up is a part), nor
    while what would then be left (p95) would not fit behind the next segment's start. Segments that
    follow at once in one place are one run, and the last segment runs to its own end.
    """
    interruptible, started_at = manifest.interruptible, run.report.started_at
    if interruptible is None or started_at is None or state.start_now or state.checkpoint_missed:
        return None
    before = progress(state)
    if not before.is_taken_up_in(run.cell.region, interruptible):
        before = Progress()

    def lead(stop: datetime) -> timedelta:
        """As ``Plan.lead_s``, for what is left after it."""
        done = before.running(stop - started_at, run.cell.region, interruptible)
        planned = timedelta(seconds=plan.lead_s)
        return planned - _p95_left(before.work_done, manifest) + _p95_left(done, manifest)

    least = interruptible.min_chunk - timedelta(seconds=plan.start_up_s)
    for segment, following in pairwise(plan.placement.segments):
        stop, resumed_at = max(_end(segment), started_at + least), following.cell.start
        if resumed_at <= stop and _are_one_place(segment, following):
            continue
        # Each minute that it runs on is one less that must fit behind the next start.
        stop += max(timedelta(0), resumed_at + lead(stop) - deadline)
        return stop if max(stop, resumed_at) + lead(stop) <= deadline else None
    return None


def _end(segment: Segment) -> datetime:
    return segment.cell.start + timedelta(seconds=segment.duration_s)


def _are_one_place(segment: Segment, following: Segment) -> bool:
    cell, then = segment.cell, following.cell
    return (cell.region, cell.capacity_type) == (then.region, then.capacity_type)


def _p95_left(done: timedelta, manifest: JobManifest) -> timedelta:
    """As ``DecisionInputs.p95_left``."""
    resume = manifest.interruptible.resume_overhead if manifest.interruptible else timedelta(0)
    return max(timedelta(0), manifest.p95_runtime - done) + (resume if done else timedelta(0))


def progress(state: JobState) -> Progress:
    """What the job has behind it."""
    return Progress(timedelta(seconds=state.work_done_s), state.checkpoint_region)


def count(run: WatchedRun, manifest: JobManifest, state: JobState) -> None:
    """Remember what the end of a run leaves behind."""
    after = progress(state).after(run.record(), manifest.interruptible)
    state.work_done_s, state.checkpoint_region = after.work_done.total_seconds(), after.region
    if run.chunk_over and run.report.state is RunState.TERMINATED:
        state.segment += 1
        state.checkpoint_missed |= not wrote_checkpoint(run.report)
