"""``lowtide prices``: what decisions reckon with, and where each figure comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from clients.cli.output import JsonOption, command, number, print_json, table, text, whole
from domain.capacity import CapacityType
from domain.fresh_prices import STALE, provenance
from domain.prices import PriceTable
from workers.wiring import load_parts


@command
async def prices(
    *,
    region: Annotated[
        str | None, typer.Option(help="Only this region, as aws:eu-north-1; need not be enabled.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show prices and Spot reclaim rates of each region.

    With LOWTIDE_PRICE_FEED__KIND=live, prices of the clouds and reclaim rates learned from our own
    runs stand over the price table. A stale price was not told anew in time: it is the last known.
    --json has each source in full.
    """
    parts = load_parts()
    if region is None:
        regions = sorted(parts.policy.regions)
    else:
        regions = [parts.catalogue.get(region, "--region").id]
    newest = parts.prices.prices(datetime.now(UTC))
    rows = list(_rows(newest, regions))
    if as_json:
        print_json(rows)
        return
    table(
        f"Prices (table {newest.version}, $ an hour)",
        (
            *(whole("region"), whole("capacity"), number("vCPU"), number("GiB")),
            *(number("reclaims"), whole("as of"), text("source")),
        ),
        (
            (
                row["region"],
                row["capacity_type"],
                f"{row['usd_per_vcpu_hour']:.5f}",
                f"{row['usd_per_gib_hour']:.5f}",
                f"{row['reclaims_per_hour']:.3g}",
                row["as_of"].partition("T")[0],
                _who(row["source"]),
            )
            for row in rows
        ),
        note="reclaims: of one run, an hour; --json has each source in full",
    )


def _rows(newest: PriceTable, regions: Iterable[str]) -> Iterator[dict[str, Any]]:
    sources = provenance(newest)
    for region in regions:
        for kind in CapacityType:
            if newest.has(region, kind):
                price, came = newest.price(region, kind), sources[region, kind]
                yield {
                    "region": region,
                    "capacity_type": kind.value,
                    "usd_per_vcpu_hour": price.usd_per_vcpu_hour,
                    "usd_per_gib_hour": price.usd_per_gib_hour,
                    "reclaims_per_hour": price.reclaims_per_hour,
                    "as_of": came.as_of,
                    "source": came.source,
                    "stale": came.is_stale,
                }


def _who(source: str) -> str:
    """A source without the figures that it goes on to tell."""
    who, *_ = re.split(r"[:;,(]", source.removeprefix(STALE), maxsplit=1)
    return f"{STALE}{who}" if source.startswith(STALE) else who
