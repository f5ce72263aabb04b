"""The tour of all settings: it is the default, names every setting, and all of it can be had."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from workers.settings import POLICIES, Settings, load_settings

TOUR = Path(__file__).parents[2] / "examples" / "lowtide.toml"
HEADING = re.compile(r"#?\[+([^]]+)\]+")
KEY = re.compile(r"\.(?:\"[^\"]+\"|(?<=gpus\.)\w+)")
"""What stands for one of many, as a region: it is no setting's name."""
SETTING = re.compile(r"^(\w+) = ", re.MULTILINE)
COMMENTED_OUT = re.compile(r"^#(?=[\[\w])")


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory with the files that the tour names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").symlink_to(POLICIES)
    for name in ("overrides.csv", "vault-ca.pem", "average.csv", "gke-token"):
        (tmp_path / name).touch()
    return tmp_path


@dataclass(frozen=True)
class Table:
    """A table of the tour, without the "#" of what is commented out."""

    heading: str
    is_set: bool
    """False: it shows what could stand in place of another."""
    as_is: str
    in_full: str

    @property
    def names(self) -> set[str]:
        return set(SETTING.findall(self.in_full))

    @property
    def kind(self) -> str | None:
        found = re.search(r'^kind = "(\w+)"', self.in_full, re.MULTILINE)
        return found and found[1]


def tables() -> list[Table]:
    """In order, that of the top first."""
    found: list[list[str]] = [[]]
    for line in TOUR.read_text().splitlines():
        if HEADING.match(line):
            found.append([])
        found[-1].append(line)
    read = []
    for lines in found:
        in_full = [COMMENTED_OUT.sub("", line) for line in lines]
        heading = HEADING.match(lines[0])
        is_set = heading is None or not lines[0].startswith("#")
        as_is, full = "\n".join(lines), "\n".join(in_full)
        read.append(Table(KEY.sub("", heading[1]) if heading else "", is_set, as_is, full))
    return read


def loaded(folder: Path, *texts: str) -> Settings:
    (folder / "lowtide.toml").write_text("\n".join(texts) + "\n")
    return load_settings()


def plain(settings: Settings) -> Any:
    """Its values, with absolute paths."""

    def absolute(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: absolute(item) for name, item in value.items()}
        return value.resolve() if isinstance(value, Path) else value

    return absolute(settings.model_dump())


def test_as_it_stands_it_is_the_default(root: Path) -> None:
    """Who copies it whole changes nothing."""
    default = plain(load_settings())
    assert plain(loaded(root, TOUR.read_text())) == default


def test_all_that_is_commented_out_beside_it_may_be_set(root: Path) -> None:
    """In the tables that are set, all at once."""
    changed = loaded(root, *(table.in_full for table in tables() if table.is_set))
    assert plain(changed) != plain(loaded(root, TOUR.read_text()))


def below(heading: str) -> list[Table]:
    """Tables within one."""
    return [table for table in tables() if table.heading.startswith(f"{heading}.")]


OTHERS = [table for table in tables() if not table.is_set and "." not in table.heading]


@pytest.mark.parametrize("other", OTHERS, ids=lambda item: f"{item.heading}-{item.kind}")
def test_a_table_may_stand_in_place_of_its_like(root: Path, other: Table) -> None:
    """Each kind of store, history and secrets, with all that it has."""
    kept = [item.as_is for item in tables() if item.is_set and item.heading != other.heading]
    nested = [] if other.kind is None else below(other.heading)
    texts = [item.in_full for item in (other, *nested)]
    section = getattr(loaded(root, *kept, *texts), other.heading)
    [section] = section if isinstance(section, tuple) else [section]
    assert getattr(section, "kind", None) == other.kind
    inner = {item.heading.split(".")[1] for item in nested}
    assert section.model_fields_set == other.names | inner


def sections(model: type[BaseModel], heading: str = "") -> dict[tuple[str, str | None], set[str]]:
    """(heading, kind) -> its settings, of a model and all below it."""
    found: dict[tuple[str, str | None], set[str]] = {}
    plain_fields = set()
    for name, field in model.model_fields.items():
        below = [item for item in parts_of(field.annotation) if issubclass(item, BaseModel)]
        for item in below:
            found |= sections(item, f"{heading}.{name}".removeprefix("."))
        if not below:
            plain_fields.add(name)
    kind = get_args(model.model_fields["kind"].annotation)[0] if "kind" in plain_fields else None
    return {(heading, kind): plain_fields} | found


def parts_of(annotation: Any) -> Iterator[type]:
    """The classes in an annotation."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for item in get_args(annotation):
        yield from parts_of(item)


def test_it_names_every_setting() -> None:
    """One that is added, renamed or taken away must be so here."""
    assert {(table.heading, table.kind): table.names for table in tables()} == sections(Settings)
