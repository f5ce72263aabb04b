"""EC2's Spot prices: ``DescribeSpotPriceHistory``, asked in each region.

With ``StartTime`` at now it answers the price in force in each availability zone, and any that came
since. Prices are strings. The answer is in pages, of which some may be empty. A price says nothing
of whether there is capacity, nor of reclaims.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from activities import aws
from activities.errors import ActivityFault, ProviderDown
from activities.prices.instance_types import scaled, usd
from domain.capacity import CapacityType
from domain.fresh_prices import FreshPrice
from domain.ports import PriceAnswer, PriceRefusal
from domain.prices import PriceTable

GOOD_FOR = timedelta(hours=6)
"""Spot prices change a few times a day, by little; asked hourly, five answers may be missed."""

PRODUCT = "Linux/UNIX"
"""In a VPC, as all are."""

_AWS = "aws:"
_AT_ONCE = 2
"""Regions asked at once. They wait in threads that decisions use too."""

_PATIENT = Config(
    retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=3, read_timeout=10
)
"""Reads only: botocore may send them twice, where AWS throttles or fails."""


def connect(service: str, region: str, endpoint_url: str | None = None) -> Any:
    """A client for questions about prices; credentials come from where boto3 looks for them."""
    return boto3.client(service, region_name=region, endpoint_url=endpoint_url, config=_PATIENT)


class Ec2Spot:
    """A ``PriceSource``."""

    def __init__(
        self, instance_types: Sequence[str], table: PriceTable, client: Callable[[str], Any]
    ) -> None:
        """Hold what it takes; nothing is asked yet.

        Args:
            instance_types: those that compute environments use.
            table: whose on-demand rows the prices scale.
            client: makes the EC2 client of an AWS region.
        """
        self._types = tuple(instance_types)
        self._table = table
        self._client = cache(client)

    @property
    def name(self) -> str:
        """As people know it."""
        return "EC2 Spot"

    @property
    def cloud(self) -> str:
        """Whose regions it knows."""
        return "aws"

    async def fetch(self, regions: Sequence[str], now: datetime) -> PriceAnswer:
        """The Spot price of each region, from those of the instance types in use."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def ask(region: str) -> FreshPrice | PriceRefusal:
            async with turn:
                try:
                    return await asyncio.to_thread(self._price, region, now)
                except ActivityFault as fault:
                    return PriceRefusal(region, str(fault))

        found = await asyncio.gather(*map(ask, regions))
        return PriceAnswer(
            tuple(item for item in found if isinstance(item, FreshPrice)),
            tuple(item for item in found if isinstance(item, PriceRefusal)),
        )

    def _price(self, region: str, now: datetime) -> FreshPrice:
        prices = self._in_force(region.removeprefix(_AWS), now)
        found = scaled(self._table, region, prices)
        count = sum(map(len, prices.values()))
        return FreshPrice(
            region=region,
            capacity_type=CapacityType.SPOT,
            usd_per_vcpu_hour=found.usd_per_vcpu_hour,
            usd_per_gib_hour=found.usd_per_gib_hour,
            as_of=now,
            good_until=now + GOOD_FOR,
            source=f"{self.name}: {found.ratio:.4f} of the table's on-demand price, mean of"
            f" {count} prices ({', '.join(sorted(prices))})",
        )

    def _in_force(self, region: str, now: datetime) -> Mapping[str, Sequence[float]]:
        """The newest price in each zone, by instance type."""
        newest: dict[tuple[str, str], Mapping[str, Any]] = {}
        with aws.told(ProviderDown):
            pages = self._client(region).get_paginator("describe_spot_price_history")
            for page in pages.paginate(
                InstanceTypes=list(self._types), ProductDescriptions=[PRODUCT], StartTime=now
            ):
                for item in page.get("SpotPriceHistory", ()):
                    where = item.get("InstanceType", ""), item.get("AvailabilityZone", "")
                    before = newest.get(where)
                    if before is None or before["Timestamp"] < item["Timestamp"]:
                        newest[where] = item
        prices = defaultdict(list)
        for (instance_type, zone), item in sorted(newest.items()):
            if instance_type in self._types and item.get("ProductDescription") == PRODUCT:
                price = usd(item.get("SpotPrice"), f"{instance_type} in {zone}")
                prices[instance_type].append(price)
        return prices
