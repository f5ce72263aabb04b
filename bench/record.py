"""The rows of docs/benchmarks.md: what a section measured, kept in the repository with its command.

A section's rows stand between two marks and are replaced whole when it runs again; what people
wrote around them stays.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
COLUMNS = ("claim", "goal", "measured", "holds")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured claim."""

    claim: str
    goal: str
    """What was asked for; a dash where a figure is only reported."""
    measured: str
    holds: bool | None = None
    """``None`` where there is no goal."""

    def cells(self) -> tuple[str, str, str, str]:
        """As the page shows it."""
        holds = {True: "yes", False: "**no**", None: "–"}[self.holds]
        return (self.claim, self.goal, self.measured, holds)


def record(section: str, rows: Iterable[Row]) -> None:
    """Print the rows, and put them in their section's place on the page."""
    lines = [
        f"`python -m bench {section}` · {datetime.now(UTC):%Y-%m-%d}, Python"
        f" {platform.python_version()}, {os.cpu_count()} cores",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    for row in rows:
        print(f"{row.claim}: {row.measured} (goal {row.goal})", flush=True)
        lines.append("| " + " | ".join(row.cells()) + " |")
    page = PAGE.read_text()
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE.name} has no place for {section}: {begin} ... {end}")
    PAGE.write_text(before + "\n".join([begin, *lines, end]) + after)
