"""YAML and JSON text as plain data, without what YAML can do to its reader.

Taken is what JSON could say, in YAML's notation: mappings, lists, text, numbers, true, false and
null. Refused are aliases (a few lines of them stand for gigabytes), tags, a key given twice, and
nesting beyond what any document of ours has. Dates stay text, and so do ``no`` and ``on``: the
model that takes them says what they must be, and an error shows them as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

MAX_DEPTH = 20

_LEADING_TABS = re.compile(r"^[ \t]+", re.MULTILINE)


def read_document(text: str) -> Any:
    """The one document in ``text``; ``None`` where it is empty. Raises ``yaml.YAMLError``."""
    if text.lstrip().startswith(("{", "[")):
        # JSON may be indented by tabs, which YAML forbids.
        text = _LEADING_TABS.sub(lambda found: " " * len(found[0]), text)
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader, and stricter


def read_documents(text: str) -> list[Any]:
    """Every document in ``text``. Raises ``yaml.YAMLError``."""
    return list(yaml.load_all(text, _Loader))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(None, None, "aliases are not taken", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise ComposerError(None, None, "tags are not taken", event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ComposerError(None, None, "nested too deeply", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be text", key.start_mark)
            if key.value in seen:
                raise ConstructorError(None, None, f"{key.value!r} twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _form, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    # No leading zero, which YAML 1.1 takes for octal; longer ones stay text, since Python spends
    # quadratic time on them.
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), _first)
