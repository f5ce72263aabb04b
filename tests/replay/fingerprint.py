"""Fingerprints: the commands that each workflow's source issues, in source order.

A workflow's history can only be replayed by code that issues the same commands in the same order.
The fingerprint reads that order off the syntax tree, of the workflow's own module and of every
module of ``workflows/`` that it imports. A call counts if it issues a command itself, or if it
calls a function that does; so two steps that change places are seen, wherever their commands
stand. It is coarser than a replay (it knows no conditions) and covers what no recorded history
happens to reach.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASELINE = Path(__file__).with_name("fingerprints.json")

NAMED_BY_ARGUMENT = frozenset(
    {
        "create_task",
        "deprecate_patch",
        "execute_activity",
        "execute_activity_method",
        "execute_child_workflow",
        "execute_local_activity",
        "execute_local_activity_method",
        "execute_operation",
        "patched",
        "start_activity",
        "start_activity_method",
        "start_child_workflow",
        "start_local_activity",
        "start_local_activity_method",
        "start_operation",
    }
)
"""Commands whose first argument is part of what replay compares, as an activity's name is."""

COMMANDS = NAMED_BY_ARGUMENT | {
    "as_completed",
    "cancel",
    "continue_as_new",
    "gather",
    "signal",
    "sleep",
    "timeout",
    "timeout_at",
    "upsert_memo",
    "upsert_search_attributes",
    "wait",
    "wait_condition",
    "wait_for",
}
"""Calls that issue a command, or decide the order in which coroutines issue theirs."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> dict[str, str]:
    """Every module of ``workflows/`` by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for path in sorted((ROOT / "workflows").glob("*.py"))
    }


def baseline() -> dict[str, list[str]]:
    """The fingerprints that were last accepted."""
    accepted: dict[str, list[str]] = json.loads(BASELINE.read_text())
    return accepted


def renew_baseline() -> None:
    """Accept the source as it is."""
    BASELINE.write_text(json.dumps(fingerprints(sources()), indent=1) + "\n")


def fingerprints(modules: Mapping[str, str]) -> dict[str, list[str]]:
    """``module.function: call`` for each call, in source order, by workflow type."""
    trees = {name: ast.parse(source) for name, source in modules.items()}
    return {
        workflow_type: _fingerprint({name: trees[name] for name in _reached(module, trees)})
        for module, tree in trees.items()
        for workflow_type in _workflow_types(tree)
    }


def _fingerprint(trees: Mapping[str, ast.Module]) -> list[str]:
    functions = {
        f"{module.rpartition('.')[2]}.{name}": function
        for module, tree in trees.items()
        for name, function in _functions(tree)
    }
    issuing = _issuing(functions.values())
    return [
        f"{name}: {_shown(call)}"
        for name, function in functions.items()
        for call in _calls(function)
        if _called(call) in issuing
    ]


def _issuing(functions: Collection[Function]) -> set[str]:
    """Names of calls that issue a command, directly or by what they call in turn."""
    issuing = set(COMMANDS)
    while True:
        found = {
            function.name
            for function in functions
            if any(_called(call) in issuing for call in _calls(function))
        }
        if found <= issuing:
            return issuing
        issuing |= found


def _workflow_types(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "workflow.defn":
                named = [item.value for item in decorator.keywords if item.arg == "name"]
                yield ast.literal_eval(named[0]) if named else node.name


def _reached(module: str, trees: Mapping[str, ast.Module]) -> list[str]:
    """``module`` and all of ``trees`` that it imports, sorted."""
    reached, ahead = set(), {module}
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead |= {target for target in _imports(trees[name]) if target in trees} - reached
    return sorted(reached)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _functions(node: ast.AST, inside: str = "") -> Iterator[tuple[str, Function]]:
    """Every function and method by its qualified name; an inner one counts to the outer one."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{inside}{child.name}.")
        elif isinstance(child, Function):
            yield f"{inside}{child.name}", child


def _calls(function: Function) -> list[ast.Call]:
    """Calls in the body, in source order (decorators are no calls of the workflow)."""
    calls = [
        node for part in function.body for node in ast.walk(part) if isinstance(node, ast.Call)
    ]
    return sorted(
        calls, key=lambda call: (call.lineno, call.col_offset, -(call.end_col_offset or 0))
    )


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _shown(call: ast.Call) -> str:
    name = _called(call)
    if name in NAMED_BY_ARGUMENT and call.args:
        return f"{name}({ast.unparse(call.args[0])})"
    if name == "wait_condition" and any(item.arg == "timeout" for item in call.keywords):
        return f"{name}(timeout)"
    return name
