"""How failures of boto3 are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
)

from activities.errors import ActivityFault


@contextmanager
def told(fault: Callable[[str], ActivityFault]) -> Iterator[None]:
    """Raise failures of boto3 as ``fault``: by their code or type, with no more of their text."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise fault(f"{error.operation_name} failed with {code}") from None
    except BotoCoreError as error:
        raise fault(f"failed with {type(error).__name__}") from None
