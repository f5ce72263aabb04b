"""Prices of compute and of moving data, as a table under version control."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import rfc8785

from domain.capacity import CapacityType
from domain.errors import CatalogueError, MissingPrice


@dataclass(frozen=True, slots=True)
class ComputePrice:
    """One region and capacity type."""

    usd_per_vcpu_hour: float
    usd_per_gib_hour: float
    usd_per_gpu_hour: float
    reclaims_per_hour: float
    """Expected reclaims of one run an hour; 0 for on-demand."""


@dataclass(frozen=True, slots=True)
class EgressPrice:
    """Moving data out of a source region; the first rule that matches holds."""

    source: str
    """Region, the beginning of one as ``gcp:europe-*``, or ``*``."""
    destination: str
    """The same; moving data within a region is free and needs no rule."""
    usd_per_gib: float

    def matches(self, source: str, destination: str) -> bool:
        """Whether this rule speaks of the pair."""
        return _covers(self.source, source) and _covers(self.destination, destination)


@dataclass(frozen=True)
class PriceTable:
    """All prices of one version."""

    version: str
    compute: Mapping[tuple[str, CapacityType], ComputePrice]
    egress: tuple[EgressPrice, ...]
    source_texts: tuple[str, str]
    """The compute and egress files that it was read from."""

    def price(self, region: str, capacity_type: CapacityType) -> ComputePrice:
        """One row. Raises ``MissingPrice``."""
        try:
            return self.compute[region, capacity_type]
        except KeyError:
            raise MissingPrice(
                "region", f"{region} {capacity_type.value}", "a region with a row in the prices"
            ) from None

    def has(self, region: str, capacity_type: CapacityType) -> bool:
        """Whether the table knows this region and capacity type."""
        return (region, capacity_type) in self.compute

    def usd_per_hour(
        self,
        region: str,
        capacity_type: CapacityType,
        vcpus: float,
        memory_gib: float,
        gpus: int = 0,
    ) -> float:
        """What one hour of a machine of this shape costs. Raises ``MissingPrice``."""
        price = self.price(region, capacity_type)
        return (
            vcpus * price.usd_per_vcpu_hour
            + memory_gib * price.usd_per_gib_hour
            + gpus * price.usd_per_gpu_hour
        )

    def egress_usd_per_gib(self, source: str, destination: str) -> float:
        """What moving one GiB costs. Raises ``MissingPrice`` where no rule matches."""
        if source == destination:
            return 0.0
        for rule in self.egress:
            if rule.matches(source, destination):
                return rule.usd_per_gib
        raise MissingPrice("egress", f"{source} -> {destination}", "a pair that a rule covers")

    def canonical(self) -> bytes:
        """RFC 8785 canonical JSON of both files; ``parse_prices`` takes them back."""
        return rfc8785.dumps(list(self.source_texts))

    @property
    def sha256(self) -> str:
        """The content hash by which decisions refer to this table."""
        return hashlib.sha256(self.canonical()).hexdigest()


def parse_prices(compute_csv: str, egress_csv: str) -> PriceTable:
    """Read both files: a ``# version:`` line each, then a header and rows.

    Raises:
        CatalogueError: naming file, line and column.
    """
    version, compute_rows = _rows("prices", compute_csv)
    _, egress_rows = _rows("egress", egress_csv)
    compute: dict[tuple[str, CapacityType], ComputePrice] = {}
    for line, row in compute_rows:
        place = f"prices, line {line}"
        kind = row.get("capacity_type", "")
        if kind not in set(CapacityType):
            raise CatalogueError(f"{place}, capacity_type", kind, "spot or on_demand")
        key = (_cell(row, "region", place), CapacityType(kind))
        if key in compute:
            raise CatalogueError(f"{place}, region", f"{key[0]} {kind}", "each pair once")
        compute[key] = ComputePrice(
            *(
                _number(row, column, place)
                for column in (
                    "usd_per_vcpu_hour",
                    "usd_per_gib_hour",
                    "usd_per_gpu_hour",
                    "reclaims_per_hour",
                )
            )
        )
    egress = tuple(
        EgressPrice(
            _cell(row, "source_region", f"egress, line {line}"),
            _cell(row, "destination_region", f"egress, line {line}"),
            _number(row, "usd_per_gib", f"egress, line {line}"),
        )
        for line, row in egress_rows
    )
    return PriceTable(version, compute, egress, (compute_csv, egress_csv))


def _rows(file: str, text: str) -> tuple[str, list[tuple[int, dict[str, str]]]]:
    first, _, table = text.partition("\n")
    if not first.startswith("# version: "):
        raise CatalogueError(f"{file}, line 1", first[:40], "'# version: ...'")
    rows = list(enumerate(csv.DictReader(io.StringIO(table)), start=3))
    return first.removeprefix("# version: ").strip(), rows


def _cell(row: Mapping[str, str], column: str, place: str) -> str:
    value = row.get(column)
    if not value:
        raise CatalogueError(f"{place}, {column}", "nothing", "a value")
    return value


def _number(row: Mapping[str, str], column: str, place: str) -> float:
    value = _cell(row, column, place)
    try:
        number = float(value)
    except ValueError:
        raise CatalogueError(f"{place}, {column}", value, "a number") from None
    if not 0 <= number < math.inf:
        raise CatalogueError(f"{place}, {column}", value, "0 or more")
    return number


def _covers(pattern: str, region: str) -> bool:
    if pattern.endswith("*"):
        return region.startswith(pattern[:-1])
    return pattern == region
