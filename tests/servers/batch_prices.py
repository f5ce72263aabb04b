"""The fake's ``DescribeSpotPriceHistory``: EC2's query protocol, prices as strings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

PAGE = 1000
_LINUX = "Linux/UNIX"
_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass(frozen=True)
class SpotPrice:
    """A price from ``since`` on, until the next one of the same type, zone and product."""

    instance_type: str
    zone: str
    usd_per_hour: str
    since: datetime
    product: str = _LINUX

    @classmethod
    def of_json(cls, document: Mapping[str, str]) -> SpotPrice:
        return cls(**{**document, "since": datetime.fromisoformat(document["since"])})  # type: ignore[arg-type]

    @property
    def of(self) -> tuple[str, str, str]:
        return self.instance_type, self.zone, self.product


def standard_prices(region: str) -> list[SpotPrice]:
    """Two sizes of a family in two zones: enough to be asked for; the figures mean nothing."""
    since = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        SpotPrice(instance_type, f"{region}{zone}", usd, since)
        for instance_type, zone, usd in (
            ("m6i.large", "a", "0.031200"),
            ("m6i.large", "b", "0.033100"),
            ("m6i.4xlarge", "a", "0.256000"),
            ("m6i.4xlarge", "b", "0.248700"),
        )
    ]


def price_history(prices: list[SpotPrice], query: Mapping[str, str]) -> str:
    """The answer to a query: what was in force at its start, and every later change to its end."""
    start, end = (_instant(query.get(name)) for name in ("StartTime", "EndTime"))
    found = []
    for _, changes in itertools.groupby(
        sorted(prices, key=lambda price: (price.of, price.since)), lambda price: price.of
    ):
        found += _in_force(list(changes), start, end)
    for field, attribute in (
        ("InstanceType", "instance_type"),
        ("ProductDescription", "product"),
    ):
        wanted = {value for name, value in query.items() if name.startswith(f"{field}.")}
        found = [each for each in found if not wanted or getattr(each, attribute) in wanted]
    if "AvailabilityZone" in query:
        found = [each for each in found if each.zone == query["AvailabilityZone"]]
    found.sort(key=lambda price: price.since, reverse=True)
    first, size = int(query.get("NextToken") or 0), int(query.get("MaxResults") or PAGE)
    rest = str(first + size) if first + size < len(found) else ""
    return _document(found[first : first + size], rest)


def _in_force(
    changes: list[SpotPrice], start: datetime | None, end: datetime | None
) -> list[SpotPrice]:
    before = [each for each in changes if start and each.since <= start][:-1]
    return [each for each in changes if each not in before and (end is None or each.since <= end)]


def _document(prices: list[SpotPrice], next_token: str) -> str:
    items = "".join(
        f"<item><instanceType>{escape(price.instance_type)}</instanceType>"
        f"<productDescription>{escape(price.product)}</productDescription>"
        f"<spotPrice>{price.usd_per_hour}</spotPrice>"
        f"<timestamp>{price.since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}</timestamp>"
        f"<availabilityZone>{escape(price.zone)}</availabilityZone></item>"
        for price in prices
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<DescribeSpotPriceHistoryResponse xmlns="{_NAMESPACE}"><requestId>fake</requestId>'
        f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken>{next_token}</nextToken>"
        "</DescribeSpotPriceHistoryResponse>"
    )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
