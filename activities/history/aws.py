"""What the histories on AWS share: how long a request may take, and how its failure is told."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from activities import aws
from activities.errors import HistoryFault

_BRIEF = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=2,
    read_timeout=10,
)
"""Where an answer is lost, or the service fails or throttles, botocore itself tries again: every
request of these histories may reach the service twice."""


def connect(service: str, region: str, endpoint_url: str | None = None) -> Any:
    """A client of one service; credentials come from where boto3 looks for them."""
    return boto3.client(service, region_name=region, endpoint_url=endpoint_url, config=_BRIEF)


def told(history: str) -> AbstractContextManager[None]:
    """Tell failures of boto3 as a ``HistoryFault``."""
    return aws.told(partial(HistoryFault, history))
