"""Recorded histories as files: ``histories/<workflow>/<branch>-<number>.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

FOLDER = Path(__file__).with_name("histories")

SCRUBBED = "recorded"
"""Stands in for what names the machine and process that recorded."""

COMMANDS = frozenset(
    {
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_TIMER_CANCELED,
        EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        EventType.EVENT_TYPE_MARKER_RECORDED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    }
)


def commands(history: WorkflowHistory) -> list[str]:
    """What the workflow did, command by command: two histories with the same guard the same."""
    return [_command(event) for event in history.events if event.event_type in COMMANDS]


def workflow_type(history: WorkflowHistory) -> str:
    """The name under which the workflow is registered."""
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


def recorded(workflow: str = "*", branch: str = "*") -> list[Path]:
    """Files of a workflow and branch, oldest first."""
    return sorted(FOLDER.glob(f"{workflow}/{branch}-[0-9][0-9].json"))


def load(file: Path) -> WorkflowHistory:
    """Read what ``add`` wrote."""
    content = json.loads(file.read_text())
    return WorkflowHistory.from_json(content.pop("workflowId"), content)


def add(history: WorkflowHistory, branch: str) -> Path:
    """Write a history beside those of its branch, without what names this machine."""
    workflow = workflow_type(history)
    file = FOLDER / workflow / f"{branch}-{len(recorded(workflow, branch)) + 1:02}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    events = [json.dumps(_scrubbed(MessageToDict(event))) for event in history.events]
    head = f'{{"workflowId": {json.dumps(history.workflow_id)}, "events": [\n'
    file.write_text(head + ",\n".join(events) + "\n]}\n")
    return file


def named_in(value: Any) -> Iterator[tuple[str, str]]:
    """(field, value) of everything in a history that may name a machine, a process or a path."""
    if isinstance(value, list):
        for item in value:
            yield from named_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in {"identity", "stackTrace"}:
                yield key, item
            elif key == "kind" and item == "TASK_QUEUE_KIND_STICKY":
                yield key, value["name"]
            else:
                yield from named_in(item)


def _command(event: HistoryEvent) -> str:
    name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
    activity = event.activity_task_scheduled_event_attributes.activity_type.name
    return f"{name} {activity}".rstrip()


def _scrubbed(value: Any) -> Any:
    """Without process and host names, and without stack traces; replay compares none of them."""
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if not isinstance(value, dict):
        return value
    scrubbed = {key: _scrubbed(item) for key, item in value.items() if key != "stackTrace"}
    if "identity" in scrubbed:
        scrubbed["identity"] = SCRUBBED
    if scrubbed.get("kind") == "TASK_QUEUE_KIND_STICKY":
        scrubbed["name"] = SCRUBBED
    return scrubbed
