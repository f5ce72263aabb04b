"""Executions that were recorded once go through today's workflows to their end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from tests.replay import histories
from tests.replay.altered import OneCommandLess, OneCommandMore
from tests.replay.fingerprint import baseline
from tests.replay.scenarios import SCENARIOS
from workflows.job import CarbonAwareJob
from workflows.plugin import lowtide_plugin
from workflows.prices import RefreshPrices
from workflows.settlement import SettleLedger
from workflows.signals import RefreshSignals
from workflows.watch import WatchRegion

RECORDED = histories.recorded()


async def replay(file: Path, *workflows: type) -> None:
    """Replay one history, or raise what its execution would be stuck with."""
    replayer = Replayer(workflows=workflows, plugins=[lowtide_plugin()])
    await replayer.replay_workflow(histories.load(file))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_a_recorded_execution_replays(file: Path) -> None:
    """Today's code issues the commands that were recorded, in their order.

    Where it does not, open executions of that kind would be stuck: see what
    ``test_fingerprints.py`` says, and keep the recorded history.
    """
    await replay(file, CarbonAwareJob, RefreshPrices, RefreshSignals, SettleLedger, WatchRegion)


def test_every_branch_and_workflow_is_recorded() -> None:
    """A scenario without a recorded history guards nothing: run ``make record-histories``."""
    assert set(SCENARIOS) <= {file.stem[:-3] for file in RECORDED}
    assert set(baseline()) == {file.parent.name for file in RECORDED}


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_recorded_history_names_no_machine(file: Path) -> None:
    """Who recorded it, and where, is nobody's business."""
    named = {name for _, name in histories.named_in(json.loads(file.read_text()))}
    assert named == {histories.SCRUBBED}


@pytest.mark.parametrize("altered", [OneCommandMore, OneCommandLess])
async def test_a_workflow_altered_by_one_command_does_not_replay(altered: type) -> None:
    """A guard that cannot fail guards nothing."""
    [file, *_] = histories.recorded("CarbonAwareJob", "deferred")
    with pytest.raises(NondeterminismError):
        await replay(file, altered)
