"""``make bench``: run every section, or those that are named: ``python -m bench placement``."""

from __future__ import annotations

import importlib
import os
import platform
import sys

SECTIONS = (
    *("placement", "batch", "actions", "throughput", "refresh"),
    *("exact", "scenarios", "capacity", "scale", "dial", "noise", "issued", "persistence"),
)
"""Modules of this package; each has ``main()``, which prints what it measured. Those of the second
line put their rows into docs/benchmarks.md too."""


def run(sections: list[str]) -> int:
    """Run sections in order; returns the exit code."""
    unknown = sorted(set(sections) - set(SECTIONS))
    if unknown:
        print(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    for name in sections or SECTIONS:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
