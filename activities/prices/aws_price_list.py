"""AWS's list prices: ``GetProducts`` of the Price List service, which few regions have.

An answer's ``PriceList`` holds JSON texts, one a product: ``product.attributes``, and under
``terms.OnDemand`` the price as a text. Filters are exact matches. A question about an instance type
covers all regions, one about Fargate a single one.

Fargate has no API for its Spot prices; the list has them under the usage types ``SpotUsage-Fargate-
...``. Where it has none, the price table's row stays. Fargate's "GB" are GiB: a task's memory is
set in MiB.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from activities import aws
from activities.errors import ActivityFault, AnswerRefused, ProviderDown
from activities.prices.instance_types import scaled, shape_of, usd
from domain.capacity import CapacityType
from domain.fresh_prices import FreshPrice
from domain.ports import PriceAnswer, PriceRefusal
from domain.prices import PriceTable

GOOD_FOR = timedelta(days=7)
"""List prices change a few times a year."""

_AWS = "aws:"
_HOURS = frozenset({"hrs", "hours", "hour", "gb-hours"})

_EC2_FILTERS = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "locationType": "AWS Region",
}
_FARGATE_USAGE = re.compile(
    r"(?:[A-Z0-9]+-)?(?P<spot>SpotUsage-)?Fargate-(?P<what>vCPU|GB)-Hours(?::perCPU)?"
)
"""Linux on x86; ARM and Windows have names of their own."""


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class _Attributes(_Wire):
    region_code: str = ""
    instance_type: str = ""
    vcpu: str = ""
    memory: str = ""
    usagetype: str = Field("", alias="usagetype")


class _Described(_Wire):
    attributes: _Attributes


class _Dimension(_Wire):
    unit: str
    price_per_unit: Mapping[str, str]


class _Term(_Wire):
    price_dimensions: Mapping[str, _Dimension]


class _Terms(_Wire):
    on_demand: Mapping[str, _Term] = Field(default_factory=dict, alias="OnDemand")


class _Product(_Wire):
    product: _Described
    terms: _Terms = _Terms()

    def usd_per_hour(self, of: str) -> float:
        """The one price that it has. Raises ``AnswerRefused``."""
        found = [
            dimension
            for term in self.terms.on_demand.values()
            for dimension in term.price_dimensions.values()
        ]
        if len(found) != 1 or found[0].unit.lower() not in _HOURS:
            units = ", ".join(item.unit for item in found) or "nothing"
            raise AnswerRefused(f"{of}: one price an hour was expected, found {units}")
        return usd(found[0].price_per_unit.get("USD"), of)


class PriceList:
    """The service, behind a client of one of its regions."""

    def __init__(self, client: Callable[[], Any]) -> None:
        """Take what makes the client; it is made at the first question."""
        self._client = cache(client)

    def products(self, service: str, filters: Mapping[str, str]) -> Iterator[_Product]:
        """Products that match all filters.

        Raises:
            ProviderDown: the service does not serve us.
            AnswerRefused: a product is not of the form that we know.
        """
        wanted = [
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in filters.items()
        ]
        pages = self._client().get_paginator("get_products")
        with aws.told(ProviderDown):
            for page in pages.paginate(ServiceCode=service, Filters=wanted):
                yield from map(_read, page.get("PriceList", ()))


class Ec2OnDemand:
    """A ``PriceSource``: what the instance types in use cost by the list."""

    def __init__(
        self, price_list: PriceList, instance_types: Sequence[str], table: PriceTable
    ) -> None:
        """Hold the service, the types, and the table whose on-demand rows their prices scale."""
        self._list = price_list
        self._types = tuple(instance_types)
        self._table = table

    @property
    def name(self) -> str:
        """As people know it."""
        return "EC2 list price"

    @property
    def cloud(self) -> str:
        """Whose regions it knows."""
        return "aws"

    async def fetch(self, regions: Sequence[str], now: datetime) -> PriceAnswer:
        """The on-demand price of each region. One question an instance type."""
        prices = await asyncio.to_thread(self._prices)
        rows, refusals = [], []
        for region in regions:
            try:
                rows.append(self._row(region, prices.get(region.removeprefix(_AWS), {}), now))
            except AnswerRefused as refused:
                refusals.append(PriceRefusal(region, str(refused)))
        return PriceAnswer(tuple(rows), tuple(refusals))

    def _prices(self) -> Mapping[str, Mapping[str, Sequence[_Product]]]:
        """Products by region and type."""
        found: dict[str, dict[str, list[_Product]]] = defaultdict(lambda: defaultdict(list))
        for instance_type in self._types:
            for product in self._list.products(
                "AmazonEC2", {"instanceType": instance_type, **_EC2_FILTERS}
            ):
                region = product.product.attributes.region_code
                found[region][instance_type].append(product)
        return found

    def _row(
        self, region: str, products: Mapping[str, Sequence[_Product]], now: datetime
    ) -> FreshPrice:
        prices = {
            instance_type: [_machine_price(instance_type, found)]
            for instance_type, found in products.items()
        }
        found = scaled(self._table, region, prices)
        listed = ", ".join(f"{name} ${price:g}/h" for name, [price] in sorted(prices.items()))
        return FreshPrice(
            region=region,
            capacity_type=CapacityType.ON_DEMAND,
            usd_per_vcpu_hour=found.usd_per_vcpu_hour,
            usd_per_gib_hour=found.usd_per_gib_hour,
            as_of=now,
            good_until=now + GOOD_FOR,
            source=f"{self.name}: {listed}; {found.ratio:.4f} of the table's",
        )


class Fargate:
    """A ``PriceSource``: what Fargate and Fargate Spot cost by the list."""

    def __init__(self, price_list: PriceList) -> None:
        """Hold the service."""
        self._list = price_list

    @property
    def name(self) -> str:
        """As people know it."""
        return "Fargate list price"

    @property
    def cloud(self) -> str:
        """Whose regions it knows."""
        return "aws"

    async def fetch(self, regions: Sequence[str], now: datetime) -> PriceAnswer:
        """Both prices of each region. One question a region."""
        rows: list[FreshPrice] = []
        refusals: list[PriceRefusal] = []
        for region in regions:
            try:
                prices = await asyncio.to_thread(self._prices, region.removeprefix(_AWS))
            except ActivityFault as fault:
                refusals.append(PriceRefusal(region, str(fault)))
                continue
            for kind in CapacityType:
                try:
                    rows.append(self._row(region, kind, prices, now))
                except AnswerRefused as refused:
                    refusals.append(PriceRefusal(region, str(refused)))
        return PriceAnswer(tuple(rows), tuple(refusals))

    def _prices(self, region: str) -> Mapping[tuple[CapacityType, str], set[float]]:
        found: dict[tuple[CapacityType, str], set[float]] = defaultdict(set)
        for product in self._list.products("AmazonECS", {"regionCode": region}):
            usage = product.product.attributes.usagetype
            if match := _FARGATE_USAGE.fullmatch(usage):
                kind = CapacityType.SPOT if match["spot"] else CapacityType.ON_DEMAND
                found[kind, match["what"]].add(product.usd_per_hour(usage))
        return found

    def _row(
        self,
        region: str,
        kind: CapacityType,
        prices: Mapping[tuple[CapacityType, str], set[float]],
        now: datetime,
    ) -> FreshPrice:
        of = "Fargate Spot" if kind is CapacityType.SPOT else "Fargate"
        vcpu, gib = (_the_one(prices.get((kind, what), ()), f"{of} {what}") for what in _WHAT)
        return FreshPrice(
            region=region,
            capacity_type=kind,
            usd_per_vcpu_hour=vcpu,
            usd_per_gib_hour=gib,
            as_of=now,
            good_until=now + GOOD_FOR,
            source=f"{self.name}: {of}, Linux on x86",
        )


_WHAT = ("vCPU", "GB")


def _read(text: str) -> _Product:
    try:
        return _Product.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise AnswerRefused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _machine_price(instance_type: str, products: Sequence[_Product]) -> float:
    """What a type costs, if its shape is the one that its name tells."""
    shape = shape_of(instance_type)
    told = {(str(shape.vcpus), f"{shape.memory_gib:g} GiB")}
    found = {(item.product.attributes.vcpu, item.product.attributes.memory) for item in products}
    if found != told:
        raise AnswerRefused(f"{instance_type}: its shape is {sorted(found)}, {told} was expected")
    return _the_one({item.usd_per_hour(instance_type) for item in products}, instance_type)


def _the_one(prices: set[float] | tuple[()], of: str) -> float:
    if len(prices) != 1:
        raise AnswerRefused(f"{of}: {len(prices)} prices, one was expected")
    [price] = prices
    return price
