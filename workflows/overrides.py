"""Overrides as they come in: raw from a bare ``temporal workflow signal``, or typed by update.

A signal's payload is parsed here and not by the SDK, which would drop a malformed one silently.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue

from domain.messages import OverrideKind, OverrideRecord, OverrideRequest

SHOWN_OF_BAD_PAYLOAD = 120


def from_signal(kind: OverrideKind, payload: RawValue | None, at: datetime) -> OverrideRecord:
    """The override that a signal asks for; ``refused`` says why where it cannot be read."""
    if payload is None:
        request = OverrideRequest()
    else:
        try:
            data = workflow.payload_converter().from_payload(payload.payload)
            request = OverrideRequest.model_validate({} if data is None else data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "input"
            return _refused(kind, at, f"{field}: {first['msg']}")
        except Exception as error:  # noqa: BLE001 - any converter's failure is a refusal to record
            shown = payload.payload.data[:SHOWN_OF_BAD_PAYLOAD].decode("utf-8", "replace")
            return _refused(kind, at, f"not JSON: {shown!r} ({type(error).__name__})")
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


def _refused(kind: OverrideKind, at: datetime, why: str) -> OverrideRecord:
    return OverrideRecord(kind=kind, at=at, refused=why)
