"""Overrides as they come in: raw from a bare ``temporal workflow signal``, or typed by update.

A signal's payload is parsed here and not by the SDK, which would drop a malformed one silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue

from domain.messages import OverrideKind, OverrideRecord, OverrideRequest

SHOWN_OF_BAD_PAYLOAD = 120


def from_signal(kind: OverrideKind, inputs: Sequence[RawValue], at: datetime) -> OverrideRecord:
    """The override that a signal asks for; ``refused`` says why where it cannot be read."""
    if len(inputs) > 1:
        return _refused(kind, at, f"{len(inputs)} inputs: one JSON object is taken, or none")
    request = OverrideRequest()
    for payload in inputs:
        try:
            data = workflow.payload_converter().from_payload(payload.payload)
        except Exception as error:  # noqa: BLE001 - any converter's failure is a refusal to record
            return _refused(kind, at, f"not JSON: {_shown(payload)} ({type(error).__name__})")
        if data is not None and not isinstance(data, dict):
            return _refused(kind, at, f'{_shown(payload)}: not an object, as {{"reason": "..."}}')
        try:
            request = OverrideRequest.model_validate(data or {})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            shown = repr(first["input"])[:SHOWN_OF_BAD_PAYLOAD]
            return _refused(kind, at, f"{field}: {shown}: {first['msg']}")
    return from_request(kind, request, at)


def from_request(kind: OverrideKind, request: OverrideRequest, at: datetime) -> OverrideRecord:
    """The override that a well-formed request asks for; a deadline must lie ahead."""
    record = OverrideRecord(
        kind=kind, at=at, reason=request.reason, actor=request.actor, deadline=request.deadline
    )
    if kind is not OverrideKind.CHANGE_DEADLINE:
        return record
    try:
        deadline = request.require_deadline()
    except ValueError as error:
        return record.model_copy(update={"refused": str(error)})
    if deadline <= at:
        told = f"deadline: {deadline.isoformat()} is not after now ({at.isoformat()})"
        return record.model_copy(update={"refused": told})
    return record


def _shown(payload: RawValue) -> str:
    return repr(payload.payload.data[:SHOWN_OF_BAD_PAYLOAD].decode("utf-8", "replace"))


def _refused(kind: OverrideKind, at: datetime, why: str) -> OverrideRecord:
    return OverrideRecord(kind=kind, at=at, refused=why)
