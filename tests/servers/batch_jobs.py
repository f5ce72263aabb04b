"""What the fake of AWS Batch keeps: queues and jobs, and how they look on the wire."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

ACCOUNT = "123456789012"

WAITING = ("SUBMITTED", "PENDING", "RUNNABLE")
LIVE = (*WAITING, "STARTING", "RUNNING")
OVER = ("SUCCEEDED", "FAILED")

Document = dict[str, Any]

_NUMBERS = itertools.count(1)


def now_ms() -> int:
    """Batch's times are whole milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def arn(region: str, what: str) -> str:
    return f"arn:aws:batch:{region}:{ACCOUNT}:{what}"


@dataclass
class Queue:
    """One job queue. Each has one platform: Batch refuses to mix them."""

    name: str
    platform: str
    spot: bool
    closed: str | None = None
    """While a text stands here, jobs stay RUNNABLE with it as their ``statusReason``."""


def standard_queues() -> dict[str, Queue]:
    """The four that every region has unless it is told otherwise."""
    return {
        name: Queue(name, platform, spot)
        for name, platform, spot in (
            ("lowtide-ec2-spot", "EC2", True),
            ("lowtide-ec2-on-demand", "EC2", False),
            ("lowtide-fargate-spot", "FARGATE", True),
            ("lowtide-fargate-on-demand", "FARGATE", False),
        )
    }


@dataclass
class Ending:
    """Why a running container must end: what becomes of its job, and after what grace."""

    reason: str
    grace_s: float
    always_failed: bool
    """Whether the job fails even though the program, asked to end, exits with 0."""


@dataclass
class BatchJob:
    """One job with its one attempt."""

    region: str
    queue: Queue
    request: Document
    definition: Document
    number: int = field(default_factory=lambda: next(_NUMBERS))
    created_ms: int = field(default_factory=now_ms)
    status: str = "SUBMITTED"
    reason: str | None = None
    started_ms: int | None = None
    stopped_ms: int | None = None
    exit_code: int | None = None
    container_reason: str | None = None
    is_terminated: bool = False
    is_cancelled: bool = False
    ending: Ending | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the job is to end."""

    @property
    def id(self) -> str:
        return f"{self.number:08x}-0000-4000-8000-{self.number:012x}"

    @property
    def name(self) -> str:
        return str(self.request["jobName"])

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def environment(self) -> dict[str, str]:
        """What the container gets: its definition's, and over it the submission's."""
        parts = (self.definition["containerProperties"], self.overrides)
        return {
            pair["name"]: pair["value"] for part in parts for pair in part.get("environment", ())
        }

    @property
    def command(self) -> list[str]:
        default = self.definition["containerProperties"].get("command")
        return list(self.overrides.get("command") or default or ["true"])

    @property
    def overrides(self) -> Document:
        return self.request.get("containerOverrides") or {}

    @property
    def timeout_s(self) -> float | None:
        timeout = self.request.get("timeout") or self.definition.get("timeout") or {}
        return timeout.get("attemptDurationSeconds")

    def must_end(self, ending: Ending) -> None:
        """The first reason stands."""
        if self.ending is None:
            self.ending = ending
            self.changed.set()

    def end(self, status: str, reason: str | None, exit_code: int | None = None) -> None:
        self.status, self.reason, self.exit_code = status, reason, exit_code
        self.stopped_ms = now_ms()
        self.changed.set()

    def summary(self) -> Document:
        """As ``ListJobs`` shows it: without tags and without attempts."""
        return _present(
            {
                "jobArn": arn(self.region, f"job/{self.id}"),
                "jobId": self.id,
                "jobName": self.name,
                "createdAt": self.created_ms,
                "status": self.status,
                "statusReason": self.reason,
                "startedAt": self.started_ms,
                "stoppedAt": self.stopped_ms,
                "container": _present(
                    {"exitCode": self.exit_code, "reason": self.container_reason}
                ),
                "jobDefinition": self.definition["jobDefinitionArn"],
                "isTerminated": self.is_terminated or None,
                "isCancelled": self.is_cancelled or None,
            }
        )

    def detail(self) -> Document:
        """As ``DescribeJobs`` and events show it."""
        container = self.definition["containerProperties"] | {
            "command": self.command,
            "environment": [
                {"name": name, "value": value} for name, value in self.environment.items()
            ],
            "exitCode": self.exit_code,
            "reason": self.container_reason,
        }
        return _present(
            {
                **self.summary(),
                "jobQueue": arn(self.region, f"job-queue/{self.queue.name}"),
                "attempts": self._attempts(),
                "container": _present(container),
                "retryStrategy": self.request.get("retryStrategy"),
                "timeout": self.request.get("timeout"),
                "tags": self.request.get("tags") or {},
                "propagateTags": self.request.get("propagateTags"),
                "platformCapabilities": self.definition["platformCapabilities"],
                "dependsOn": [],
                "parameters": {},
                "isTerminated": self.is_terminated,
                "isCancelled": self.is_cancelled,
            }
        )

    def _attempts(self) -> list[Document]:
        if not self.is_over or self.started_ms is None:
            return []
        container = _present({"exitCode": self.exit_code, "reason": self.container_reason})
        return [
            _present(
                {
                    "container": container,
                    "startedAt": self.started_ms,
                    "stoppedAt": self.stopped_ms,
                    "statusReason": self.reason,
                }
            )
        ]


def _present(document: Document) -> Document:
    return {name: value for name, value in document.items() if value is not None}
