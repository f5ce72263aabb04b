"""Lowtide's public face: ``from lowtide import Client, JobManifest``."""

from __future__ import annotations

from clients.errors import (
    ClientError,
    JobNotFound,
    JobRefused,
    JobTerminated,
    NoWorker,
    OverrideRefused,
    RerunRefused,
    Unreachable,
)
from clients.scheduler import Client, JobHandle, JobSummary
from domain.errors import InvalidManifest, LowtideError, ManifestConflict
from domain.job import Outcome, Phase, Placement
from domain.manifest import Flexibility, InputData, JobManifest, Resources, read_manifest
from domain.messages import JobResult, JobStatus

__all__ = [
    "Client",
    "ClientError",
    "Flexibility",
    "InputData",
    "InvalidManifest",
    "JobHandle",
    "JobManifest",
    "JobNotFound",
    "JobRefused",
    "JobResult",
    "JobStatus",
    "JobSummary",
    "JobTerminated",
    "LowtideError",
    "ManifestConflict",
    "NoWorker",
    "Outcome",
    "OverrideRefused",
    "Phase",
    "Placement",
    "RerunRefused",
    "Resources",
    "Unreachable",
    "read_manifest",
]
