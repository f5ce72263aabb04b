"""The one plugin that client, worker and replayer share: converter and sandbox pass-through.

Sharing it removes the classic fault of a replayer without the worker's converter.
"""

from __future__ import annotations

import dataclasses

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

PASSED_THROUGH = (
    *("domain", "numpy", "rfc8785", "yaml"),
    *("workflows.attributes", "workflows.calls", "workflows.ending"),
    *("workflows.narrate", "workflows.overrides", "workflows.run"),
)
"""Modules without state. Importing them anew for each workflow would cost memory, half the time of
a workflow's first task, and split class identities. The workflows themselves stay in the sandbox.
"""


def _with_pass_through(runner: WorkflowRunner | None) -> WorkflowRunner:
    if not isinstance(runner, SandboxedWorkflowRunner):
        raise TypeError(f"Lowtide's workflows run in the sandbox, not in {runner!r}")
    return dataclasses.replace(
        runner, restrictions=runner.restrictions.with_passthrough_modules(*PASSED_THROUGH)
    )


def lowtide_plugin() -> SimplePlugin:
    """A fresh plugin for one client; workers and replayers made with it inherit all it sets."""
    return SimplePlugin(
        "lowtide",
        data_converter=pydantic_data_converter,
        workflow_runner=_with_pass_through,
    )
