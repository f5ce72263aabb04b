"""Faults that the fakes of the carbon providers can be told to have."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Kind(StrEnum):
    """What goes wrong. Those from ``DRIFT`` on spoil a good document."""

    STATUS = "status"
    """``status`` with ``body``, and ``Retry-After`` where given."""
    HANG = "hang"
    """Never answers."""
    DRIP = "drip"
    """A body that never ends, a byte at a time."""
    TRUNCATED = "truncated"
    """The first half of the body."""
    DRIFT = "drift"
    """The value's field has another name."""
    MISSING = "missing"
    """One point has no value field."""
    NULL = "null"
    """One point's value is null."""
    TEXT = "text"
    """One point's value is a string."""
    NEGATIVE = "negative"
    ABSURD = "absurd"
    GAP = "gap"
    DUPLICATE = "duplicate"
    UNORDERED = "unordered"
    SHORT = "short"
    """The first two hours only."""
    STALE = "stale"
    """Issued ``hours`` earlier than it was."""
    UNISSUED = "unissued"
    """No issue time."""
    OTHER_PLACE = "other place"
    UNITS = "units"
    ROLLOVER = "rollover"
    """Another model's answer, whatever was asked for."""
    GRANULARITY = "granularity"
    """Tells another step than the points have."""


BEFORE_ANSWERING = frozenset({Kind.STATUS, Kind.HANG, Kind.DRIP})


class Fault(BaseModel):
    """One fault, and when it strikes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    provider: str | None = None
    """``electricity-maps`` or ``watttime``; both where left out."""
    endpoint: str | None = None
    """As ``forecast``, ``latest``, ``history``, ``historical``, ``login``."""
    place: str | None = None
    """A zone or WattTime region."""
    times: int | None = None
    """So often, then never again; for ever where left out."""
    status: int = 500
    retry_after: str | None = None
    body: str = '{"error": "a fault"}'
    content_type: str = "application/json"
    hours: float = 24.0

    def strikes(self, provider: str, endpoint: str, place: str | None) -> bool:
        return (
            self.provider in {None, provider}
            and self.endpoint in {None, endpoint}
            and self.place in {None, place}
        )


HTML = "<html><head><title>403 Forbidden</title></head><body>nginx</body></html>"


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._left: list[tuple[Fault, int | None]] = []

    def add(self, kind: Kind, **more: Any) -> None:
        self.put(Fault(kind=kind, **more))

    def add_html(self, status: int, **more: Any) -> None:
        """A proxy's page, whatever the status says."""
        self.add(Kind.STATUS, status=status, body=HTML, content_type="text/html", **more)

    def put(self, fault: Fault) -> None:
        self._left.append((fault, fault.times))

    def clear(self) -> None:
        self._left.clear()

    @property
    def in_force(self) -> tuple[Fault, ...]:
        return tuple(fault for fault, _ in self._left)

    def strike(self, provider: str, endpoint: str, place: str | None) -> Fault | None:
        """The first fault that strikes now; one of its times is used up."""
        for index, (fault, times) in enumerate(self._left):
            if fault.strikes(provider, endpoint, place):
                if times is not None:
                    if times <= 1:
                        del self._left[index]
                    else:
                        self._left[index] = (fault, times - 1)
                return fault
        return None


def spoil(document: dict[str, Any], fault: Fault) -> dict[str, Any]:  # noqa: C901, PLR0912
    """A good document with one thing wrong: a flat list of cases is the clearest form."""
    bad = copy.deepcopy(document)
    points, time_field, value_field = _points(bad)
    middle = points[len(points) // 2] if points else {}
    meta = bad.get("meta", {})
    match fault.kind:
        case Kind.DRIFT:
            for point in points:
                point["intensity"] = point.pop(value_field)
        case Kind.MISSING:
            del middle[value_field]
        case Kind.NULL:
            middle[value_field] = None
        case Kind.TEXT:
            middle[value_field] = str(middle[value_field])
        case Kind.NEGATIVE:
            middle[value_field] = -1
        case Kind.ABSURD:
            middle[value_field] = 50_000
        case Kind.GAP:
            points.remove(middle)
        case Kind.DUPLICATE:
            points.insert(points.index(middle), dict(middle))
        case Kind.UNORDERED:
            points.reverse()
        case Kind.SHORT:
            first = datetime.fromisoformat(points[0][time_field])
            until = first + timedelta(hours=2)
            points[:] = [p for p in points if datetime.fromisoformat(p[time_field]) < until]
        case Kind.STALE | Kind.UNISSUED:
            holder, field = (meta, "generated_at") if meta else (bad, "updatedAt")
            issued = datetime.fromisoformat(holder.pop(field))
            if fault.kind is Kind.STALE:
                holder[field] = (issued - timedelta(hours=fault.hours)).isoformat()
        case Kind.OTHER_PLACE:
            holder, field = (meta, "region") if meta else (bad, "zone")
            holder[field] = "ELSEWHERE"
        case Kind.UNITS:
            meta["units"] = "kgs_co2_per_mwh"
        case Kind.ROLLOVER:
            meta["model"] = {"date": "2099-01-01"}
        case Kind.GRANULARITY:
            bad["temporalGranularity"] = "15_minutes"
    return bad


def _points(document: dict[str, Any]) -> tuple[list[dict[str, Any]], str, str]:
    """A document's points, and the names of their time and value."""
    if "meta" in document:
        return document["data"], "point_time", "value"
    found = document.get("forecast", document.get("history", [document]))
    return found, "datetime", "carbonIntensity"
