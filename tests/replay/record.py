"""``make record-histories``: record what has no recorded history yet, and accept the fingerprints.

    python -m tests.replay.record                        every branch
    python -m tests.replay.record deferred looks         some
    python -m tests.replay.record --renew deferred       in place of what is recorded

A history is added where its commands are those of no recorded one of its branch; what is there
stays, since it stands for executions that may still be open. ``--renew`` is for a branch that no
release has run yet.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from temporalio.client import WorkflowHistory

from tests.quiet import hush
from tests.replay import fingerprint, histories
from tests.replay.scenario import SUCCEEDED
from tests.replay.scenarios import SCENARIOS
from tests.workflows.harness import staged

WITHIN_S = 60.0


async def record(branch: str) -> list[WorkflowHistory]:
    """Come through one branch and return the histories that it left."""
    scenario = SCENARIOS[branch]
    with tempfile.TemporaryDirectory() as state_dir:
        async with scenario.environment() as env, staged(env, Path(state_dir)) as stage:
            stage.compute.acts = (SUCCEEDED,)
            async with asyncio.timeout(WITHIN_S):
                return [await job.fetch_history() for job in await scenario.run(stage)]


async def record_all(branches: list[str], *, renew: bool) -> None:
    """Record branches one after the other, and say what was added."""
    for branch in branches:
        if renew:
            for file in histories.recorded(branch=branch):
                file.unlink()
        for history in await record(branch):
            known = histories.recorded(histories.workflow_type(history), branch)
            if histories.commands(history) not in [
                histories.commands(histories.load(file)) for file in known
            ]:
                added = histories.add(history, branch)
                print(f"added {added.relative_to(histories.FOLDER)}", flush=True)  # noqa: T201
    # A client that is taken down with the event loop may abort the process.
    await asyncio.sleep(0.1)


def main(arguments: list[str]) -> None:
    """Record the named branches, or all."""
    branches = [item for item in arguments if item != "--renew"]
    unknown = sorted(set(branches) - SCENARIOS.keys())
    if unknown:
        sys.exit(f"no branch {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    hush()
    asyncio.run(record_all(branches or list(SCENARIOS), renew="--renew" in arguments))
    fingerprint.renew_baseline()


if __name__ == "__main__":
    main(sys.argv[1:])
