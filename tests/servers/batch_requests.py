"""What the fake Batch refuses, as Batch does: before anything is done."""

from __future__ import annotations

import json
import re

from tests.servers.batch_jobs import Document, Queue, arn

MOST_PAYLOAD = 30 * 1024
LEAST_TIMEOUT_S = 60
MOST_TAGS = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_TAG = re.compile(r"[\w .:/=+@-]*")

_FARGATE = {
    "0.25": (512, 2048),
    "0.5": (1024, 4096),
    "1": (2048, 8192),
    "2": (4096, 16384),
    "4": (8192, 30720),
    "8": (16384, 61440),
    "16": (32768, 122880),
}
"""vCPUs -> the least and the most MiB beside them."""


class ClientError(Exception):
    """A request that Batch answers with 400 ``ClientException``."""


def definition_of(body: Document, region: str, revision: int) -> Document:
    """A registered definition; refused where it could never run."""
    name, platforms = body["jobDefinitionName"], body.get("platformCapabilities") or ["EC2"]
    if not _NAME.fullmatch(name):
        raise ClientError(f"jobDefinitionName {name} is invalid")
    container = body["containerProperties"]
    needs = {each["type"]: each["value"] for each in container["resourceRequirements"]}
    if not {"VCPU", "MEMORY"} <= needs.keys():
        raise ClientError("Container properties must have VCPU and MEMORY")
    if platforms == ["FARGATE"]:
        _check_fargate(container, needs)
    elif not needs["VCPU"].isdecimal():
        raise ClientError(f"VCPU value {needs['VCPU']} must be a whole number on EC2")
    return {
        **body,
        "platformCapabilities": platforms,
        "revision": revision,
        "status": "ACTIVE",
        "jobDefinitionArn": arn(region, f"job-definition/{name}:{revision}"),
    }


def _check_fargate(container: Document, needs: dict[str, str]) -> None:
    if "GPU" in needs:
        raise ClientError("GPU is not supported on Fargate")
    if not container.get("executionRoleArn"):
        raise ClientError("Fargate requires executionRoleArn")
    least, most = _FARGATE.get(needs["VCPU"], (1, 0))
    if not least <= int(needs["MEMORY"]) <= most:
        raise ClientError(f"Fargate resource requirements {needs} are invalid")


def check_submission(body: Document, queue: Queue, definition: Document) -> None:
    """Raise for what ``SubmitJob`` does not take."""
    if not _NAME.fullmatch(body["jobName"]):
        raise ClientError(f"jobName {body['jobName']} is invalid")
    if definition["platformCapabilities"] != [queue.platform]:
        raise ClientError(f"Job definition and queue {queue.name} are of different platforms")
    if len(json.dumps(body)) > MOST_PAYLOAD:
        raise ClientError("The request is over 30 KiB")
    timeout = (body.get("timeout") or {}).get("attemptDurationSeconds", LEAST_TIMEOUT_S)
    if timeout < LEAST_TIMEOUT_S:
        raise ClientError("attemptDurationSeconds must be at least 60")
    tags = body.get("tags") or {}
    if len(tags) > MOST_TAGS or not all(
        _TAG.fullmatch(text) for pair in tags.items() for text in pair
    ):
        raise ClientError("tags are invalid")
