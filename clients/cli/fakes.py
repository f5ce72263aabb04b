"""Stand-ins of outside systems for ``lowtide dev``: test servers of a checkout, as processes."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.cli.output import EXIT_BAD_INPUT, EXIT_FAILED, fail

CHECKOUT = Path(__file__).parents[2]
STARTS_WITHIN_S = 30.0
REFRESH_EVERY = "15s"
"""So that whoever breaks a provider sees what comes of it."""


@dataclass(frozen=True, slots=True)
class CarbonFakes:
    """Both carbon providers on this machine."""

    control: str
    """Where faults are set and taken away."""
    environment: Mapping[str, str]
    """What an account at them is called."""
    settings: Mapping[str, Any]
    """What makes the product ask them."""

    def manual(self) -> str:
        """How to break one and watch."""
        fault = json.dumps({"kind": "status", "status": 503, "provider": "watttime"})
        return (
            f"fakes         {self.control} shows what they were asked\n"
            f"break one     curl -X POST {self.control}/faults -d '{fault}'\n"
            f"mend all      curl -X DELETE {self.control}/faults\n"
            f"watch         lowtide signals   (a refresh every {REFRESH_EVERY})"
        )


@asynccontextmanager
async def carbon_fakes() -> AsyncIterator[CarbonFakes]:
    """The fakes of Electricity Maps and WattTime while the block runs, fed from a real trace.

    Leaves with one line where this is no checkout.
    """
    server = CHECKOUT / "tests" / "servers" / "carbon.py"
    if not server.exists() or importlib.util.find_spec("aiohttp") is None:
        fail("--providers fake needs a checkout of the project: run it there", EXIT_BAD_INPUT)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.servers.carbon"),
        cwd=CHECKOUT,
        stdout=PIPE,
        # Ctrl-C in the terminal is for us; we end it when we have ended.
        start_new_session=True,
    )
    try:
        yield await _told(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _told(process: Process) -> CarbonFakes:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            told = json.loads(await process.stdout.readline())
    except (TimeoutError, ValueError):
        fail("the fake providers did not start; their error stands above", EXIT_FAILED)
    return CarbonFakes(
        control=told["control"],
        environment=told["environment"],
        settings={
            "refresh_every": REFRESH_EVERY,
            "signals": {
                "source": "live",
                # Every refresh brings the past too, so that persistence can stand in at once.
                "past_every": REFRESH_EVERY,
                "electricity_maps": {
                    "base_url": told["electricity-maps"],
                    "requests_per_s": told["requests_per_s"],
                },
                "watttime": {"base_url": told["watttime"]},
            },
        },
    )
