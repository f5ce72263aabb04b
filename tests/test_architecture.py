"""The arrows between our packages, the size of files, and what pure code may not touch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("domain", "workflows", "activities", "workers", "clients")
MAX_LINES = 400

ALLOWED = {
    "domain": {"domain"},
    "workflows": {"workflows", "domain"},
    "activities": {"activities", "domain"},
    "workers": {"workers", "activities", "workflows", "domain"},
    "clients": {"clients", "workflows", "domain"},
    "lowtide": {"clients", "domain"},
    "infra": set(),
}

OPERATOR_COMMANDS = {
    "backtest",
    "carbon_now",
    "demo",
    "dev",
    "explain",
    "ledger",
    "live",
    "prices",
    "refresh",
    "regret",
    "signals",
    "worker",
}
"""Modules of clients/cli/ that may import workers.wiring: the second door. What stands under infra/
as the entry of another clock may too.
"""

IMPURE = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}
IMPURE_MODULES = {
    *("time", "random", "secrets", "uuid", "os", "pathlib", "shutil", "tempfile", "threading"),
    *("multiprocessing", "socket", "ssl", "subprocess", "requests", "httpx"),
}
IMPURE_CALLS = {"open", "input", "print"}


def modules(*packages: str) -> list[Path]:
    return sorted(path for name in packages for path in (ROOT / name).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def wrong_arrows(module: str, source: str) -> list[str]:
    """Imports of ``module`` (as ``clients.cli.dev``) that run against the arrows."""
    parts = module.split(".")
    package, name = parts[0], parts[-1]
    wrong = []
    for target in imports(ast.parse(source)):
        top = target.split(".")[0]
        if top not in OURS or top in ALLOWED[package]:
            continue
        operator = module.startswith("clients.cli.") and name in OPERATOR_COMMANDS
        second_door = operator or package == "infra"
        if not (second_door and target == "workers.wiring"):
            wrong.append(f"{module} imports {target}")
    return wrong


def impurities(source: str) -> list[str]:
    """Clock, environment, randomness and I/O modules that ``source`` touches."""
    tree = ast.parse(source)
    found = [name for name in imports(tree) if name.split(".")[0] in IMPURE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            if pair in IMPURE:
                found.append(".".join(pair))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [node.func.id] if node.func.id in IMPURE_CALLS else []
    return found


@pytest.mark.parametrize(
    "path", modules(*OURS, "infra"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_follow_the_arrows(path: Path) -> None:
    """No module imports a package that stands above it."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert wrong_arrows(module, path.read_text()) == []


def test_the_public_face_reaches_clients_and_domain_only() -> None:
    """``lowtide.py`` re-exports the SDK and nothing of the worker's side."""
    assert wrong_arrows("lowtide", (ROOT / "lowtide.py").read_text()) == []


@pytest.mark.parametrize(
    "path", modules("domain", "workflows"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_pure_code_reads_no_clock_environment_or_randomness(path: Path) -> None:
    """Decisions and workflows must come out the same whenever they are run again."""
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(
    "path",
    modules(*OURS, "infra", "tests", "tools", "bench"),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_stay_readable(path: Path) -> None:
    """A file over 400 lines is most likely two ideas."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


class TestTheGuardItself:
    """A guard that cannot fail guards nothing."""

    def test_it_sees_a_wrong_arrow(self) -> None:
        """``import`` and ``from`` are both seen, in functions too."""
        source = "def f():\n    import activities.runs\nfrom workers.wiring import build\n"
        assert sorted(wrong_arrows("domain.x", source), reverse=True) == [
            "domain.x imports workers.wiring",
            "domain.x imports activities.runs",
        ]

    def test_the_second_door_is_for_operators_only(self) -> None:
        """The SDK never reaches the wiring; an operator's command reaches nothing else."""
        source = "from workers.wiring import load_parts\nfrom workers.process import serve\n"
        assert wrong_arrows("clients.cli.dev", source) == [
            "clients.cli.dev imports workers.process"
        ]
        assert wrong_arrows("clients.scheduler", source) == [
            "clients.scheduler imports workers.wiring",
            "clients.scheduler imports workers.process",
        ]
        assert wrong_arrows("infra.lambda.handler", source + "import domain.forecast\n") == [
            "infra.lambda.handler imports workers.process",
            "infra.lambda.handler imports domain.forecast",
        ]

    def test_it_sees_a_clock(self) -> None:
        """The usual ways to read a clock, the environment or randomness are found."""
        source = "import random\nfrom datetime import datetime\nx = datetime.now()\ny = open('z')\n"
        assert sorted(impurities(source)) == ["datetime.now", "open", "random"]
