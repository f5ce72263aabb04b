"""How every command speaks: tables for people, JSON for programs, one line for an error."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import Annotated, Any, ParamSpec

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from temporalio.service import RPCError

from clients.errors import ClientError, NoWorker, Unreachable
from domain.errors import LowtideError

P = ParamSpec("P")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_FAILED = 1
"""The job, the check or the demo did not end well."""
EXIT_BAD_INPUT = 2
"""What was asked for is not allowed; nothing was done."""
EXIT_UNREACHABLE = 3
"""Temporal or a worker did not answer."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def command(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async command; turn what went wrong into one line and an exit code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            asyncio.run(function(*args, **kwargs))
        except (Unreachable, NoWorker) as error:
            fail(str(error), EXIT_UNREACHABLE)
        except (LowtideError, ClientError) as error:
            fail(str(error), EXIT_BAD_INPUT)
        except RPCError as error:
            fail(f"Temporal: {error.message}", EXIT_UNREACHABLE)

    return run


def fail(message: str, code: int) -> None:
    """Say what is wrong on standard error and leave with ``code``."""
    for line in message.split("; "):
        err.print(f"[red]error:[/] {line}", soft_wrap=True, markup=True)
    raise typer.Exit(code)


def print_json(data: object) -> None:
    """Plain JSON on standard output, whatever the console's width."""
    typer.echo(json.dumps(plain(data), indent=2, ensure_ascii=False))


def plain(data: object) -> object:
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


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; ``None`` shows as a dash."""
    shown = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*("–" if cell is None else str(cell) for cell in row))
    out.print(shown)


def moment(instant: datetime | None) -> str | None:
    """``11-24 02:00:00Z``."""
    return None if instant is None else f"{instant:%m-%d %H:%M:%S}Z"
