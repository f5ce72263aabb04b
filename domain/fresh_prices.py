"""Fresh prices and learned reclaim rates, laid over the table under version control.

What comes out is a table text like any other, so a decision sees one ``PriceTable`` and the ledger
keeps it whole: its blob holds the figures, where each came from, and which were stale.

The table under version control says which places there are. Of a place's row a fresh price takes
the place of the vCPU and GiB prices, a learned rate of the reclaims; GPU prices stay as they are.
``source`` has two parts, ``<of the prices>; reclaims: <of the reclaims>``, replaced each with its
own figures.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, Field, TypeAdapter

from domain.capacity import CapacityType
from domain.job import Payload
from domain.prices import PriceTable
from domain.reclaims import PSEUDO_EXPOSURE_H, ReclaimHistory, learned_rate

STALE = "stale: "
"""How the source of a price begins that was not refreshed in time: it is the last one known."""

LIVE = " with live prices"
"""How the version of a table ends over which something was laid."""

_RECLAIMS = "; reclaims: "

Place = tuple[str, CapacityType]


class FreshPrice(Payload):
    """What a source said of one place."""

    region: str
    capacity_type: CapacityType
    usd_per_vcpu_hour: float = Field(gt=0, allow_inf_nan=False)
    usd_per_gib_hour: float = Field(gt=0, allow_inf_nan=False)
    as_of: AwareDatetime
    good_until: AwareDatetime
    """After it the price is stale, and still better than none."""
    source: str = Field(pattern=r"^[^\r\n]*$")
    """One line, for people."""

    @property
    def place(self) -> Place:
        """The row of the table that it belongs to."""
        return self.region, self.capacity_type


@dataclass(frozen=True, slots=True)
class LearnedRate:
    """Reclaims of one region's Spot runs, as our own runs have it."""

    reclaims_per_hour: float
    source: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a row's figures come from."""

    as_of: str
    source: str

    @property
    def is_stale(self) -> bool:
        """Whether the price is the last one known, and too old."""
        return self.source.startswith(STALE)


def newest(rows: Iterable[FreshPrice]) -> tuple[FreshPrice, ...]:
    """One row for each place, the newest, ordered by place; whatever order they come in."""
    ordered = sorted(rows, key=lambda row: (row.place, row.as_of, row.model_dump_json()))
    return tuple({row.place: row for row in ordered}.values())


def overlaid(
    compute_csv: str,
    rows: Iterable[FreshPrice],
    rates: Mapping[str, LearnedRate],
    now: datetime,
) -> str:
    """The text of a price table with fresh rows and learned rates in their places.

    Rows and rates of places that the table does not have are left out: nothing else is known of
    them. The same again changes nothing.
    """
    fresh = {row.place: row for row in newest(rows)}
    if not fresh and not rates:
        return compute_csv
    version, _, table = compute_csv.partition("\n")
    reader = csv.DictReader(io.StringIO(table))
    columns = list(dict.fromkeys([*(reader.fieldnames or ()), "as_of", "source"]))
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in reader:
        place = row["region"], CapacityType(row["capacity_type"])
        rate = rates.get(row["region"]) if place[1] is CapacityType.SPOT else None
        writer.writerow(row | _laid_over(row.get("source") or "", fresh.get(place), rate, now))
    return f"{version.strip().removesuffix(LIVE)}{LIVE}\n{written.getvalue()}"


def _laid_over(
    source: str, fresh: FreshPrice | None, rate: LearnedRate | None, now: datetime
) -> dict[str, str]:
    """The cells of a row that change."""
    of_prices, _, of_reclaims = source.partition(_RECLAIMS)
    cells: dict[str, str] = {}
    if fresh is not None:
        of_prices = (STALE if now > fresh.good_until else "") + fresh.source
        cells |= {
            "usd_per_vcpu_hour": repr(fresh.usd_per_vcpu_hour),
            "usd_per_gib_hour": repr(fresh.usd_per_gib_hour),
            "as_of": f"{fresh.as_of.astimezone(UTC):%Y-%m-%dT%H:%MZ}",
        }
    if rate is not None:
        of_reclaims = rate.source
        cells |= {"reclaims_per_hour": repr(rate.reclaims_per_hour)}
    return cells | {"source": of_prices + (_RECLAIMS + of_reclaims if of_reclaims else "")}


def learned_rates(table: PriceTable, history: ReclaimHistory | None) -> Mapping[str, LearnedRate]:
    """The rate of each region of which ``history`` tells, with the table's as what was believed.

    They are as of the history's own time, so that the table changes when something was learned and
    not with every look.
    """
    return {
        region: LearnedRate(
            learned_rate(seed.reclaims_per_hour, exposure),
            f"learned from {exposure.hours:.1f} h of our own Spot runs, {exposure.reclaims:.2f}"
            f" reclaims (recent ones weigh more), with {PSEUDO_EXPOSURE_H:g} h at the table's"
            f" {seed.reclaims_per_hour:g}",
        )
        for region, exposure in (history.regions if history else {}).items()
        if (seed := table.compute.get((region, CapacityType.SPOT))) is not None
    }


def provenance(table: PriceTable) -> Mapping[Place, Provenance]:
    """Where the figures of each row of a table come from."""
    return {
        (row["region"], CapacityType(row["capacity_type"])): Provenance(
            row.get("as_of") or "", row.get("source") or ""
        )
        for row in _compute_rows(table)
    }


def _compute_rows(table: PriceTable) -> Iterator[dict[str, str]]:
    compute_csv, _ = table.source_texts
    yield from csv.DictReader(io.StringIO(compute_csv.partition("\n")[2]))


# ── as a document that workers share ─────────────────────────────────────────────────────────

_ROWS = TypeAdapter(tuple[FreshPrice, ...])


def rows_to_json(rows: Iterable[FreshPrice]) -> bytes:
    """The newest row of each place; ``rows_from_json`` takes them back."""
    return _ROWS.dump_json(newest(rows))


def rows_from_json(content: bytes) -> tuple[FreshPrice, ...]:
    """Rows as they were written. Raises ``ValueError`` where they are of another form."""
    return _ROWS.validate_json(content)
