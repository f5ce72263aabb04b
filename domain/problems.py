"""What Pydantic found wrong with a document, as field, value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any

import yaml
from pydantic import ValidationError

from domain.errors import Problem, near

MAX_PROBLEMS = 20
"""So many faults are told at once."""

SHOWN = 80
"""Characters of a faulty text that are repeated."""

_REMEDIES = {
    "missing": "a value: this field is required",
    "datetime": "an instant with a time zone, as 2026-11-25T06:00:00Z, or +8h from now",
    "timezone": "an instant with a time zone, as 2026-11-25T06:00:00Z, or +8h from now",
    "time_delta": "a duration, as 90s, 40m, 1h30m or 2d",
    "path": "a file that is there",
}
"""By the beginning of Pydantic's error type, where its own message would not help."""

_PREAMBLE = re.compile(r"^(Value error, |[A-Z][a-z]+ should (be |have )?)")


def problems_of(
    error: ValidationError, document: str, known: Collection[str], documented: str
) -> tuple[Problem, ...]:
    """A ``Problem`` for each of the first faults.

    Args:
        error: what the model raised.
        document: what to call the whole, where a fault is no single field's.
        known: names of all fields, for a misspelt one.
        documented: where a person finds them.
    """
    faults = error.errors(include_url=False)[:MAX_PROBLEMS]
    return tuple(_problem(item, document, known, documented) for item in faults)


def malformed(document: str, error: yaml.YAMLError) -> Problem:
    """What stands in the way of reading a document, and where."""
    mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return Problem(document, f"the text{place}", f"well-formed YAML or JSON ({what or error})")


def _problem(item: Any, document: str, known: Collection[str], documented: str) -> Problem:
    path = [str(part) for part in item["loc"] if part != "[key]"]
    remedy = next((text for kind, text in _REMEDIES.items() if item["type"].startswith(kind)), None)
    value = "nothing" if item["type"] == "missing" else shown(item["input"])
    if item["type"] == "extra_forbidden":
        remedy = f"a field that {documented} documents{near(path[-1], known)}"
    elif item["type"].startswith("union_tag"):
        path.append(item["ctx"]["discriminator"].strip("'"))
        value = shown(item["ctx"].get("tag"))
        remedy = item["ctx"].get("expected_tags", "a value: it tells which fields there are")
    return Problem(
        field=".".join(path) or document,
        value=value,
        allowed=remedy or _PREAMBLE.sub("", item["msg"]),
    )


def shown(value: object) -> str:
    """A value in a few words: what nesting stands for may be endless."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case datetime():
            return value.isoformat()
        case str():
            return repr(value[:SHOWN])
        case _:
            return repr(value)
