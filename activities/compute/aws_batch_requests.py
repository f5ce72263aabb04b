"""What is asked of Batch for a run: the job definition and the submission, as they go out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import rfc8785

from activities.compute.aws_batch_regions import BatchRegion, Platform, Target
from domain.job import RunSpec

JOB, RUN, SPEC_SHA256, ATTEMPT = (
    *("lowtide:job", "lowtide:run", "lowtide:spec-sha256", "lowtide:attempt"),
)
"""Tags of a job: whom to tell of it, and what it was made from."""

DEFINITION = "lowtide:definition-sha256"
"""Tag of a job definition."""

SHORTEST_TIMEOUT_S = 60
"""Batch takes no shorter one: a ``max_runtime`` below a minute is kept to a minute."""

OURS = "lowtide: "
"""Begins the reason of every end that we asked for; Batch hands it back as ``statusReason``."""

REASON_LENGTH = 1024
_DUPLICATE = "duplicate of "


def spec_sha256(spec: RunSpec) -> str:
    """What tells two specifications apart."""
    body = spec.model_dump(mode="json", exclude_none=True)
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def reason_of(text: str) -> str:
    """A reason for ``TerminateJob``, as long as one may be."""
    return f"{OURS}{text}"[:REASON_LENGTH]


def duplicate_of(job_id: str) -> str:
    """The reason for ending a job that another one of its run's name stands before."""
    return f"{_DUPLICATE}{job_id}"


def is_duplicate(reason: str) -> bool:
    """Whether a job was ended for that reason."""
    return reason.startswith(f"{OURS}{_DUPLICATE}")


def definition_request(spec: RunSpec, target: Target, region: BatchRegion) -> dict[str, Any]:
    """``RegisterJobDefinition`` for an image and a shape, under a name made from all that it says.

    So the definition is found again by its name, and the same name never means something else.
    """
    resources = {"VCPU": target.vcpus, "MEMORY": str(target.memory_mib)}
    if target.gpus:
        resources["GPU"] = str(target.gpus)
    container: dict[str, Any] = {
        "image": spec.image,
        "resourceRequirements": [
            {"type": kind, "value": value} for kind, value in resources.items()
        ],
    }
    roles = {"executionRoleArn": region.execution_role_arn, "jobRoleArn": region.job_role_arn}
    container |= {name: arn for name, arn in roles.items() if arn}
    body: dict[str, Any] = {
        "type": "container",
        "platformCapabilities": [target.platform.value],
        "containerProperties": container,
    }
    if target.platform is Platform.FARGATE:
        container["fargatePlatformConfiguration"] = {"platformVersion": "LATEST"}
    digest = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    return {**body, "jobDefinitionName": f"lowtide-{digest[:32]}", "tags": {DEFINITION: digest}}


def submission_request(
    spec: RunSpec, queue: str, definition: str, region: BatchRegion
) -> dict[str, Any]:
    """``SubmitJob`` for a run. Nothing of the worker's own environment is in it."""
    environment = spec.environment | {
        "LOWTIDE_JOB": spec.workflow_id,
        "LOWTIDE_ATTEMPT": str(spec.attempt),
        "LOWTIDE_REGION": spec.region,
        "LOWTIDE_CHECKPOINT_URI": region.uri(spec.workflow_id, "checkpoint"),
        "LOWTIDE_OUTPUT_URI": region.uri(spec.workflow_id, "output"),
    }
    return {
        "jobName": spec.run,
        "jobQueue": queue,
        "jobDefinition": definition,
        "containerOverrides": {
            "environment": _pairs(environment),
            **({"command": list(spec.command)} if spec.command else {}),
        },
        "retryStrategy": {"attempts": 1},
        "timeout": {
            "attemptDurationSeconds": max(SHORTEST_TIMEOUT_S, math.ceil(spec.max_runtime_s))
        },
        "tags": {
            JOB: spec.workflow_id,
            RUN: spec.run,
            SPEC_SHA256: spec_sha256(spec),
            ATTEMPT: str(spec.attempt),
        },
        "propagateTags": True,
    }


def _pairs(environment: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in environment.items()]
