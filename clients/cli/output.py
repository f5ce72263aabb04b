"""How every command speaks: tables for people, JSON for programs, one line for an error.

What was asked for goes to standard output; errors and progress go to standard error.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, NoReturn, ParamSpec

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from temporalio.service import RPCError, RPCStatusCode

from clients.errors import NoWorker, Unreachable
from domain.errors import InvalidFields, LowtideError, Unavailable

P = ParamSpec("P")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_FAILED = 1
"""The job, the check or the demo did not end well."""
EXIT_BAD_INPUT = 2
"""What was asked for is not allowed; nothing was done."""
EXIT_UNREACHABLE = 3
"""Temporal, a worker or a store did not answer."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def command(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async command; turn what went wrong into one line and an exit code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with faults_told():
            asyncio.run(function(*args, **kwargs))

    return run


@contextmanager
def faults_told() -> Iterator[None]:
    """Turn what goes wrong inside into one line and an exit code; decorates sync commands too."""
    try:
        yield
    except (Unreachable, NoWorker, Unavailable) as error:
        fail(str(error), EXIT_UNREACHABLE)
    except InvalidFields as error:
        for problem in error.problems[:-1]:
            complain(str(problem))
        fail(str(error.problems[-1]), EXIT_BAD_INPUT)
    except LowtideError as error:
        fail(str(error), EXIT_BAD_INPUT)
    except RPCError as error:
        asked_wrong = error.status is RPCStatusCode.INVALID_ARGUMENT
        fail(f"Temporal: {error.message}", EXIT_BAD_INPUT if asked_wrong else EXIT_UNREACHABLE)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_BAD_INPUT)


def complain(message: str) -> None:
    """One line on standard error."""
    err.print(Text.assemble(("error: ", "red"), message), soft_wrap=True)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong and leave with ``code``."""
    complain(message)
    raise typer.Exit(code)


def print_json(data: object) -> None:
    """Plain JSON on standard output, whatever the console's width."""
    typer.echo(json.dumps(plain(data), indent=2, ensure_ascii=False))


def plain(data: object) -> Any:
    """Models, instants and tuples as JSON knows them."""
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json")
    if isinstance(data, dict):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(item) for item in data]
    if isinstance(data, datetime):
        return data.isoformat()
    return data


def table(
    title: str, columns: Iterable[Column], rows: Iterable[Iterable[object]], note: str = ""
) -> None:
    """Print a table; ``None`` shows as a dash."""
    shown = plain_table(columns)
    for row in rows:
        shown.add_row(*("–" if cell is None else Text(str(cell)) for cell in row))
    out.print(Text(title, style="bold"), soft_wrap=True)
    out.print(shown)
    if note:
        out.print(Text(note), soft_wrap=True)


def plain_table(columns: Iterable[Column]) -> Table:
    """A table without lines: 80 columns are few."""
    return Table(*columns, header_style="dim", box=None, pad_edge=False, padding=(0, 1, 0, 0))


def whole(header: str) -> Column:
    """A column of short facts, none of which may be cut or broken."""
    return Column(header, no_wrap=True)


def number(header: str) -> Column:
    """A column of figures."""
    return Column(header, no_wrap=True, justify="right")


def text(header: str) -> Column:
    """A column that takes the width that is left, over as many lines as it needs."""
    return Column(header, overflow="fold")


def moment(instant: datetime | None) -> str | None:
    """``11-24 02:00:00Z``."""
    return None if instant is None else f"{instant:%m-%d %H:%M:%S}Z"


def grams(value: float | None) -> str | None:
    """``1,234.5 g``; small figures keep two digits that mean something."""
    if value is None:
        return None
    return f"{value:,.1f} g" if abs(value) >= 1 or value == 0 else f"{value:.2g} g"


def dollars(value: float | None) -> str | None:
    """``$0.0691``."""
    return None if value is None else f"${value:,.4f}"
