"""What the histories on AWS share: how long a request may take, and how its failure is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
)

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


@contextmanager
def told(history: str) -> Iterator[None]:
    """Tell failures of boto3 as a ``HistoryFault``: by their code or type, with no more text."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise HistoryFault(history, f"{error.operation_name} failed with {code}") from None
    except BotoCoreError as error:
        raise HistoryFault(history, f"failed with {type(error).__name__}") from None
