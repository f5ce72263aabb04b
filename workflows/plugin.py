"""The one plugin that client, worker and replayer share: converter and sandbox pass-through.

Sharing it removes the classic fault of a replayer without the worker's converter.
"""

from __future__ import annotations

import dataclasses

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

PASSED_THROUGH = ("domain", "workflows", "numpy", "rfc8785", "yaml")
"""Modules without state. Importing them anew for each workflow would split class identities and
cost memory and some 6 ms at each start and each wake of an evicted sleeper. What the sandbox would
refuse in them (clocks, randomness, I/O), ``tests/test_architecture.py`` refuses in the source.
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
