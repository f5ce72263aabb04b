"""Work that an interruptible job has behind it: what its newest checkpoint holds, and where.

A run that is cut and exits with 143 has written its checkpoint (the manifest's promise): its
running time counts, less what it spent on taking up the one before; one that exits with 0 has left
its result, which is more. What any other end left since the newest checkpoint is lost. The workflow
counts as runs end, settlement counts again from the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from domain.job import RunReport, RunState
from domain.manifest import Interruptible
from domain.messages import AttemptRecord

_KEPT = frozenset({0, 143})
"""Exit codes of a program that was told to end (128 + SIGTERM) and left what the next takes up."""

_CUT = frozenset({RunState.TERMINATED, RunState.RECLAIMED})
PROGRAM_ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED})


@dataclass(frozen=True, slots=True)
class Progress:
    """Running time that the newest checkpoint holds; zero where there is none."""

    work_done: timedelta = timedelta(0)
    region: str | None = None
    """Where that checkpoint is."""

    def is_taken_up_in(self, region: str, interruptible: Interruptible) -> bool:
        """Whether a run in ``region`` goes on from the checkpoint; else it begins anew."""
        there = region == self.region or interruptible.portable_checkpoint
        return there and self.work_done > timedelta(0)

    def running(self, ran: timedelta, region: str, interruptible: Interruptible) -> timedelta:
        """The work that a run has behind it after running for ``ran``, its checkpoint included."""
        if not self.is_taken_up_in(region, interruptible):
            return ran
        return self.work_done + max(timedelta(0), ran - interruptible.resume_overhead)

    def after(self, attempt: AttemptRecord, interruptible: Interruptible | None) -> Progress:
        """What is behind the job once a run has ended."""
        if interruptible is None or not wrote_checkpoint(attempt.report):
            return self
        region = attempt.cell.region
        done = self.running(running_time(attempt.report), region, interruptible)
        return Progress(done, region)


def wrote_checkpoint(report: RunReport) -> bool:
    """Whether a run was cut and ended as its program promised."""
    return report.state in _CUT and report.exit_code in _KEPT


def running_time(report: RunReport) -> timedelta:
    """How long the program ran; zero where it never began or its end is not known."""
    if report.started_at is None or report.ended_at is None:
        return timedelta(0)
    return report.ended_at - report.started_at


def useful_time(
    attempts: Sequence[AttemptRecord], interruptible: Interruptible | None
) -> timedelta:
    """How long the program would have run undisturbed, by the runs that it really had.

    All runs that it ended itself, and the work of those that were cut which a checkpoint kept;
    neither what taking one up cost nor what was done twice.
    """
    useful, progress = timedelta(0), Progress()
    for attempt in attempts:
        if attempt.report.state not in PROGRAM_ENDED:
            progress = progress.after(attempt, interruptible)
            continue
        ran, region = running_time(attempt.report), attempt.cell.region
        if interruptible is not None and progress.is_taken_up_in(region, interruptible):
            ran = progress.running(ran, region, interruptible) - progress.work_done
        else:
            progress = Progress()
        useful += ran
    return useful + progress.work_done
