from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from clients.cli.live import CAPTION, JobsTable
from clients.scheduler import Client
from lowtide import Phase
from tests.clients.site import SOON, Site
from tests.integration.stack import eventually
from workers.wiring import Parts, load_parts


@pytest.fixture
def parts(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """The parts of the site's worker, and the root logger as it was afterwards."""
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield load_parts()
    root.handlers, root.level = handlers, level


async def lines(table: JobsTable, width: int) -> list[str]:
    """What a terminal of this width shows."""
    console = Console(width=width, height=60, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(await table.render())
    return [line.rstrip() for line in captured.get().splitlines()]


def timeless(line: str) -> str:
    """Without what the clock changes from one look to the next."""
    return re.sub(r"\d+ s$|^[0-9:]{8}Z", "", line)


async def test_eighty_columns_show_every_fact_of_every_job(site: Site, parts: Parts) -> None:
    """Phase, planned place and start, the grid now against the plan, the way to the deadline."""
    client = await Client.connect(site.address)
    waiting = await client.submit(site.manifest("reclaimed-09", tenant="demo"))
    urgent = await client.submit(
        site.manifest("urgent-09", tenant="demo", deadline=f'"{SOON}"', residency="germany")
    )
    await urgent.wait()
    planned = (await waiting.status()).placement
    assert planned is not None
    table = JobsTable(client, parts)

    async def finished() -> bool:
        shown = [line for line in await lines(table, 80) if line.startswith("urgent-09")]
        return bool(shown) and Phase.FINISHED.value in shown[0]

    await eventually(finished)
    shown = await lines(table, 80)
    assert max(map(len, shown)) <= 80
    assert not [line for line in shown if "…" in line]
    assert shown[-1] == CAPTION
    [row] = [line for line in shown if line.startswith("reclaimed-09")]
    assert row.split()[1:4] == [
        "Deferred",
        planned.cell.region,
        f"{planned.cell.start:%H:%M:%S}",
    ]
    # Sweden: 40 g/kWh now, a tenth of it in the hours for which the job waits.
    assert "  40→   4 " in row
    assert "░░ " in row
    assert row.endswith(" s")
    [done] = [line for line in shown if line.startswith("urgent-09")]
    assert "    → 400 " in done
    assert [timeless(line) for line in await lines(table, 120)] == list(map(timeless, shown))
