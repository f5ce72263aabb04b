"""The region catalogue: where each cloud region stands, and on which grid.

The catalogue is data with a version (``policies/regions.csv``, each fact with its source); a
decision refers to it by content hash.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.errors import CatalogueError, UnknownRegion
from domain.forecast import Signal


class Provider(StrEnum):
    """A cloud provider."""

    AWS = "aws"
    GCP = "gcp"


@dataclass(frozen=True, slots=True)
class Region:
    """One cloud region."""

    id: str
    """``provider:code``, as ``aws:eu-north-1``."""
    location: str
    country: str
    """ISO 3166-1 alpha-2."""
    latitude: float | None
    longitude: float | None
    grid_zone: str | None
    """Electricity Maps zone; ``None`` where no source names one, and no policy may enable it."""
    marginal_zone: str | None
    """Where the grid zone is cut into several for the marginal signal: which of them."""
    watttime_region: str | None
    pue: float
    """Power usage effectiveness: facility energy over IT energy."""
    average_annual_g_per_kwh: float | None
    marginal_annual_g_per_kwh: float | None
    annual_year: int | None = None
    """Which year both are of."""

    def zone(self, signal: Signal) -> str | None:
        """The grid zone whose intensity counts here; the two signals may cut a grid otherwise."""
        if signal is Signal.MARGINAL and self.marginal_zone is not None:
            return self.marginal_zone
        return self.grid_zone

    def annual_g_per_kwh(self, signal: Signal) -> float | None:
        """The published annual mean of a signal."""
        if signal is Signal.AVERAGE:
            return self.average_annual_g_per_kwh
        return self.marginal_annual_g_per_kwh

    @property
    def provider(self) -> Provider:
        """The cloud that runs it."""
        return Provider(self.id.partition(":")[0])

    @property
    def code(self) -> str:
        """The provider's own name of it."""
        return self.id.partition(":")[2]


@dataclass(frozen=True, slots=True)
class RegionCatalogue:
    """All regions of one version of the catalogue."""

    version: str
    regions: Mapping[str, Region]
    source_text: str
    """The file that it was read from: what ledger events refer to."""

    def get(self, region: str, field: str = "region") -> Region:
        """One region. Raises ``UnknownRegion``, naming ``field`` and close matches."""
        try:
            return self.regions[region]
        except KeyError:
            raise UnknownRegion(region, self.regions, field) from None

    def zones(self, signal: Signal, regions: Iterable[str]) -> tuple[str, ...]:
        """Zones of ``signal`` in which ``regions`` stand, sorted."""
        zones = {self.get(region).zone(signal) for region in regions}
        return tuple(sorted(zone for zone in zones if zone))

    def watttime_regions(self, signal: Signal) -> Mapping[str, str]:
        """Zone -> WattTime's region, for each zone that meets just one."""
        met = _watttime_regions(self.regions.values(), signal)
        return {zone: min(names) for zone, names in met.items() if len(names) == 1}

    @property
    def sha256(self) -> str:
        """The content hash by which decisions refer to this catalogue."""
        return hashlib.sha256(self.source_text.encode()).hexdigest()


def parse_catalogue(text: str) -> RegionCatalogue:
    """Read the catalogue's CSV: a ``# version:`` line, then a header and one row a region.

    Raises:
        CatalogueError: naming line and column.
    """
    first, _, table = text.partition("\n")
    if not first.startswith("# version: "):
        raise CatalogueError("line 1", first[:40], "'# version: ...'")
    regions: dict[str, Region] = {}
    for line, row in enumerate(csv.DictReader(io.StringIO(table)), start=3):
        region = _region(row, line)
        if region.id in regions:
            raise CatalogueError(f"line {line}, id", region.id, "each region once")
        regions[region.id] = region
    for zone, names in _watttime_regions(regions.values(), Signal.MARGINAL).items():
        if len(names) > 1:
            told = ", ".join(sorted(names))
            raise CatalogueError(
                f"zone {zone}, watttime_region", told, "one, or a marginal_zone for each of them"
            )
    return RegionCatalogue(first.removeprefix("# version: ").strip(), regions, text)


def with_overrides(text: str, overrides: str) -> str:
    """The catalogue's CSV with some cells replaced.

    Args:
        text: a whole catalogue.
        overrides: a CSV with a column ``id`` and any others of the catalogue's; an empty cell
            leaves what is there.

    Raises:
        CatalogueError: a column that the catalogue does not have.
        UnknownRegion: a region that it does not have.
    """
    first, _, table = text.partition("\n")
    reader = csv.DictReader(io.StringIO(table))
    rows = {row["id"]: row for row in reader}
    columns = reader.fieldnames or ()
    for line, changed in enumerate(csv.DictReader(io.StringIO(overrides)), start=2):
        foreign = [column for column in changed if column not in columns]
        if foreign or "id" not in changed:
            raise CatalogueError(
                f"overrides, line {line}", ", ".join(map(str, foreign)), f"id and {columns}"
            )
        if changed["id"] not in rows:
            raise UnknownRegion(changed["id"], rows, f"overrides, line {line}, id")
        rows[changed["id"]] |= {column: cell for column, cell in changed.items() if cell}
    merged = io.StringIO()
    writer = csv.DictWriter(merged, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    return f"{first} with overrides\n{merged.getvalue()}"


def _watttime_regions(regions: Iterable[Region], signal: Signal) -> Mapping[str, set[str]]:
    met: dict[str, set[str]] = defaultdict(set)
    for region in regions:
        zone = region.zone(signal)
        if zone is not None and region.watttime_region is not None:
            met[zone].add(region.watttime_region)
    return met


def _region(row: Mapping[str, str], line: int) -> Region:
    def number(column: str) -> float | None:
        value = row[column]
        if not value:
            return None
        try:
            figure = float(value)
        except ValueError:
            figure = math.nan
        if not math.isfinite(figure):
            raise CatalogueError(f"line {line}, {column}", value, "a number or nothing")
        return figure

    try:
        provider = row["id"].partition(":")[0]
        if provider not in set(Provider):
            raise CatalogueError(f"line {line}, id", row["id"], "aws:... or gcp:...")
        pue = number("pue")
        if pue is None or pue < 1:
            raise CatalogueError(f"line {line}, pue", row["pue"], "a number of 1 or more")
        return Region(
            id=row["id"],
            location=row["location"],
            country=row["country"],
            latitude=number("latitude"),
            longitude=number("longitude"),
            grid_zone=row["grid_zone"] or None,
            marginal_zone=row.get("marginal_zone") or None,
            watttime_region=row["watttime_region"] or None,
            pue=pue,
            average_annual_g_per_kwh=number("average_annual_g_per_kwh"),
            marginal_annual_g_per_kwh=number("marginal_annual_g_per_kwh"),
            annual_year=None if (year := number("annual_year")) is None else int(year),
        )
    except KeyError as error:
        raise CatalogueError(f"line {line}", "nothing", f"a column {error}") from None
