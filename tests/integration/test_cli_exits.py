"""Many short runs of the command: each ends by itself, with the right exit code, output complete.

The Temporal SDK's native thread can abort a process that leaves the interpreter in the usual way;
a few in a hundred short runs did (``clients/cli/__init__.py: run``).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from domain.manifest import JobManifest
from tests.integration.stack import LOWTIDE, Stack
from workers.devserver import free_port

RUNS = 200
AT_ONCE = 3


@dataclass(frozen=True)
class Command:
    """One command line and the exit code that it must have."""

    arguments: tuple[str, ...]
    code: int = 0
    address: str | None = None
    """Another Temporal address than the stack's."""


def commands(folder: Path, ended: JobManifest, deferred: JobManifest) -> tuple[Command, ...]:
    manifest, wrong = folder / "manifest.json", folder / "wrong.yaml"
    manifest.write_text(deferred.model_dump_json())
    wrong.write_text("name: Not A Name\n")
    nobody = f"127.0.0.1:{free_port()}"
    return (
        Command(("list", "--json")),
        Command(("show", ended.name, "--json")),
        Command(("show", deferred.name, "--json")),
        Command(("submit", str(manifest), "--json")),
        Command(("regions", "--json")),
        Command(("signals", "--json")),
        Command(("explain", str(manifest), "--json")),
        Command(("ledger", "show", ended.name, "--json")),
        Command(("ledger", "verify", "--json")),
        Command(("list",)),
        Command(("show", deferred.name)),
        Command(("--help",)),
        Command(("show", "nobody"), 2),
        Command(("run-now", ended.name, "--reason", "too late"), 2),
        Command(("submit", str(wrong)), 2),
        Command(("submit", str(folder / "missing.yaml")), 2),
        Command(("list", "--json"), 3, nobody),
        Command(("show", ended.name), 3, nobody),
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_run_of_the_command_ends_by_a_signal(tmp_path: Path) -> None:
    """200 runs against a live server."""
    async with Stack(tmp_path, LOWTIDE_TRACE__HOUR_S="3600") as stack:
        await stack.start_worker()
        ended = stack.manifest("ended", flexibility="urgent")
        deferred = stack.manifest("waiting", deadline="2099-01-01T00:00:00Z")
        jobs = await stack.submitted(ended, deferred)
        await stack.ended(jobs[0])
        lines = commands(tmp_path, ended, deferred)
        gate = asyncio.Semaphore(AT_ONCE)

        async def run(command: Command) -> str | None:
            async with gate:
                return await fault(stack, command)

        faults = await asyncio.gather(*(run(lines[n % len(lines)]) for n in range(RUNS)))
    assert [told for told in faults if told] == []


async def fault(stack: Stack, command: Command) -> str | None:
    """What is wrong with one run of a command."""
    address = {"TEMPORAL_ADDRESS": command.address} if command.address else {}
    process = await asyncio.create_subprocess_exec(
        LOWTIDE,
        *command.arguments,
        cwd=stack.folder,
        env=stack.environment | address,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode != command.code:
        return f"{command.arguments}: {process.returncode}, not {command.code}: {err.decode()}"
    if command.code == 0:
        json.loads(out) if "--json" in command.arguments else None
        return None if out else f"{command.arguments}: said nothing"
    return None if err.startswith(b"error: ") else f"{command.arguments}: {err.decode()}"
