"""Stand-ins of outside systems for ``lowtide dev``: test servers of a checkout, as processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.cli.output import EXIT_BAD_INPUT, EXIT_FAILED, fail

CHECKOUT = Path(__file__).parents[2]
STARTS_WITHIN_S = 30.0
ENDS_WITHIN_S = 10.0
REFRESH_EVERY = "15s"
"""So that whoever breaks a provider sees what comes of it."""

NO_ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "fake",
    "AWS_SECRET_ACCESS_KEY": "fake",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""In place of whoever's own: nothing that is signed for a fake may be of use elsewhere."""


@dataclass(frozen=True, slots=True)
class Fakes:
    """What stands in, and how the product is led to it."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    manual: tuple[str, ...] = ()
    """Lines for people: what it can be made to do."""


@asynccontextmanager
async def carbon_fakes() -> AsyncIterator[Fakes]:
    """The fakes of Electricity Maps and WattTime while the block runs, fed from a real trace."""
    async with _server("tests.servers.carbon") as told:
        control = told["control"]
        fault = json.dumps({"kind": "status", "status": 503, "provider": "watttime"})
        yield Fakes(
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
            environment=told["environment"],
            manual=(
                f"providers     {control} shows what the fakes were asked",
                f"break one     curl -X POST {control}/faults -d '{fault}'",
                f"mend all      curl -X DELETE {control}/faults",
                f"watch         lowtide signals   (a refresh every {REFRESH_EVERY})",
            ),
        )


@asynccontextmanager
async def cloud_fakes(regions: Iterable[str], state: Path) -> AsyncIterator[Fakes]:
    """The fakes of AWS Batch and of GKE clusters, one for each region; their jobs really run.

    What runs there ends with them: the product takes it for lost, and runs it again.
    """
    aws = sorted(region for region in regions if region.startswith("aws:"))
    gcp = {region: region.partition(":")[2] for region in regions if region.startswith("gcp:")}
    clusters = [word for name in sorted(gcp.values()) for word in ("--cluster", name)]
    async with (
        _server("tests.servers.batch") as batch,
        _server("tests.servers.kubernetes", *clusters) as kubernetes,
    ):
        token = state / "fake-gke-token"
        state.mkdir(parents=True, exist_ok=True)
        token.write_text("fake\n")
        on_aws = {
            region: {"bucket": f"fake-{region[4:]}", "endpoint_url": batch["batch"]}
            for region in aws
        }
        on_gke = {
            region: {
                "project": "fake",
                "location": name,
                "name": name,
                "bucket": f"fake-{name}",
                "endpoint_url": kubernetes[name],
            }
            for region, name in gcp.items()
        }
        compute = {"kind": "cloud", "aws": on_aws, "gke": on_gke, "gke_token_file": str(token)}
        yield Fakes(
            settings={"compute": compute},
            environment=NO_ACCOUNT,
            manual=_manual(batch["control"], kubernetes["control"], aws, sorted(gcp.values())),
        )


def _manual(batch: str, kubernetes: str, aws: list[str], clusters: list[str]) -> tuple[str, ...]:
    """How to take a machine back, as ``lowtide show`` names its run."""
    lines = [f"clouds        {batch} (AWS Batch), {kubernetes} (GKE)"]
    if aws:
        order = json.dumps({"regions": {aws[0][4:]: {"reclaim": ["RUN"]}}})
        lines.append(f"reclaim one   curl -X PATCH {batch} -d '{order}'")
    if clusters:
        action = json.dumps({"action": "preempt", "run": "RUN"})
        lines.append(f"preempt one   curl -X POST {kubernetes}/{clusters[0]} -d '{action}'")
    return tuple(lines)


@asynccontextmanager
async def _server(module: str, *arguments: str) -> AsyncIterator[Mapping[str, Any]]:
    """A test server while the block runs; yields what it tells of itself.

    Leaves with one line where this is no checkout.
    """
    if not (CHECKOUT / module.replace(".", "/")).with_suffix(".py").exists():
        fail("fakes need a checkout of the project: run it there", EXIT_BAD_INPUT)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=CHECKOUT,
        stdout=PIPE,
        # Ctrl-C in the terminal is for us; we end it when we have ended.
        start_new_session=True,
    )
    try:
        yield await _told(process, module)
    finally:
        await _end(process)


async def _told(process: Process, module: str) -> Mapping[str, Any]:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            told: Mapping[str, Any] = json.loads(await process.stdout.readline())
    except (TimeoutError, ValueError):
        fail(f"{module} did not start; its error stands above", EXIT_FAILED)
    return told


async def _end(process: Process) -> None:
    """By the signal at which it ends the processes that it has started."""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
