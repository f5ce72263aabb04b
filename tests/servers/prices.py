"""Fakes of AWS's Price List, of Google's Cloud Billing Catalog and of Google's tokens, on one port.

boto3 talks to the first unchanged (``endpoint_url``); the others are plain HTTP. Lists come in
pages of a few products. They simulate what is documented and what public copies of answers show:
nobody compared them with the services.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

from aiohttp import web

Document = dict[str, Any]

TOKEN = "a-token-of-googles"  # noqa: S105 - of a fake
PAGE = 4
_TARGET = "AWSPriceListService.GetProducts"


@dataclass
class Faults:
    """What goes wrong, for both fakes."""

    throttle_next: int = 0
    failing: bool = False
    spoil: Callable[[Document], Document | None] = field(default=lambda document: document)
    """Changes each product or SKU before it is sent; ``None`` leaves it out."""


def ec2_product(
    instance_type: str, region: str, usd: str, *, vcpu: str = "4", memory: str = "16 GiB"
) -> Document:
    """A product of Amazon EC2: Linux, shared tenancy."""
    attributes = {
        "instanceType": instance_type,
        "regionCode": region,
        "locationType": "AWS Region",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "vcpu": vcpu,
        "memory": memory,
        "usagetype": f"BoxUsage:{instance_type}",
    }
    return _product("AmazonEC2", "Compute Instance", attributes, usd, "Hrs")


def fargate_product(region: str, usage: str, usd: str, prefix: str = "EUN1-") -> Document:
    """A product of Fargate, by its usage type."""
    attributes = {"regionCode": region, "usagetype": f"{prefix}{usage}"}
    return _product("AmazonECS", "Compute", attributes, usd, "hours")


def _product(
    service: str, family: str, attributes: Mapping[str, str], usd: str, unit: str
) -> Document:
    price = {"unit": unit, "pricePerUnit": {"USD": usd}, "beginRange": "0", "endRange": "Inf"}
    return {
        "serviceCode": service,
        "product": {"productFamily": family, "sku": "S", "attributes": dict(attributes)},
        "terms": {"OnDemand": {"S.T": {"priceDimensions": {"S.T.D": price}, "sku": "S"}}},
    }


def sku(
    description: str, regions: Iterable[str], usd: float, *, usage_type: str = "OnDemand"
) -> Document:
    """A SKU of Compute Engine, cores or memory by its description."""
    unit = "GiBy.h" if " Ram " in description else "h"
    price = {"currencyCode": "USD", "units": str(int(usd)), "nanos": round(usd % 1 * 1e9)}
    expression = {
        "usageUnit": unit,
        "displayQuantity": 1,
        "tieredRates": [{"startUsageAmount": 0, "unitPrice": price}],
    }
    return {
        "name": "services/6F81-5844-456A/skus/0000-0000-0000",
        "skuId": "0000-0000-0000",
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": "RAM" if unit == "GiBy.h" else "CPU",
            "usageType": usage_type,
        },
        "serviceRegions": list(regions),
        "pricingInfo": [{"effectiveTime": "2026-11-01T00:00:00Z", "pricingExpression": expression}],
    }


def skus_of(place: str, region: str, core: float, ram: float, spot_share: float) -> list[Document]:
    """Cores and memory of E2 in one region, on-demand and Spot, among what is not asked for."""
    return [
        sku(f"E2 Instance Core running in {place}", [region], core),
        sku(f"E2 Custom Instance Core running in {place}", [region], core * 2),
        sku(f"E2 Instance Ram running in {place}", [region], ram),
        sku(f"N2 Instance Core running in {place}", [region], core * 3),
        sku(
            f"Spot Preemptible E2 Instance Core running in {place}",
            [region],
            core * spot_share,
            usage_type="Preemptible",
        ),
        sku(
            f"Spot Preemptible E2 Instance Ram running in {place}",
            [region],
            ram * spot_share,
            usage_type="Preemptible",
        ),
        sku(f"Commitment v1: E2 Cpu in {place} for 1 Year", [region], core, usage_type="Commit1Yr"),
    ]


class PriceServer:
    """Both fakes while the block runs."""

    def __init__(self) -> None:
        self.products: list[Document] = []
        self.skus: list[Document] = []
        self.faults = Faults()
        self.asked: Counter[str] = Counter()
        """By service: ``AmazonEC2``, ``AmazonECS``, ``catalogue``."""
        self.endless = False
        """Whether the catalogue always has another page."""
        self._port = 0
        app = web.Application()
        app.router.add_post("/", self._get_products)
        app.router.add_get("/v1/services/{service}/skus", self._list_skus)
        app.router.add_post("/token", self._give_token)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        [address] = self._runner.addresses
        self._port = address[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def _get_products(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Amz-Target") != _TARGET:
            return _aws_error(HTTPStatus.BAD_REQUEST, "UnknownOperationException")
        asked: Document = json.loads(await request.read())
        self.asked[asked["ServiceCode"]] += 1
        if self.faults.throttle_next > 0:
            self.faults.throttle_next -= 1
            return _aws_error(HTTPStatus.BAD_REQUEST, "ThrottlingException")
        if self.faults.failing:
            return _aws_error(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalErrorException")
        filters = {item["Field"]: item["Value"] for item in asked.get("Filters", ())}
        matching = [
            product
            for product in self.products
            if product["serviceCode"] == asked["ServiceCode"]
            and filters.items() <= product["product"]["attributes"].items()
        ]
        page, token = self._page(matching, asked.get("NextToken", ""))
        answer = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(item) for item in page]}
        if token:
            answer["NextToken"] = token
        return web.json_response(answer, content_type="application/x-amz-json-1.1")

    async def _list_skus(self, request: web.Request) -> web.Response:
        self.asked["catalogue"] += 1
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _google_error(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED")
        if self.faults.throttle_next > 0:
            self.faults.throttle_next -= 1
            return _google_error(HTTPStatus.TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED")
        if self.faults.failing:
            return _google_error(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL")
        page, token = self._page(self.skus, request.query.get("pageToken", ""))
        token = "0" if self.endless else token
        return web.json_response({"skus": page, "nextPageToken": token})

    async def _give_token(self, _: web.Request) -> web.Response:
        """What Google's token service answers a service account, whoever it is."""
        self.asked["token"] += 1
        return web.json_response({"access_token": TOKEN, "expires_in": 3600})

    def _page(self, items: list[Document], token: str) -> tuple[list[Document], str]:
        first = int(token or 0)
        page = [self.faults.spoil(json.loads(json.dumps(it))) for it in items[first:][:PAGE]]
        rest = str(first + PAGE) if first + PAGE < len(items) else ""
        return [item for item in page if item is not None], rest


def _aws_error(status: HTTPStatus, code: str) -> web.Response:
    return web.json_response(
        {"__type": code, "message": code}, status=status, content_type="application/x-amz-json-1.1"
    )


def _google_error(status: HTTPStatus, code: str) -> web.Response:
    error = {"code": status.value, "message": "see the status", "status": code}
    return web.json_response({"error": error}, status=status)
