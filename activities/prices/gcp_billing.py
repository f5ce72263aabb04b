"""Google's list prices, Spot included: the SKUs of Compute Engine in the Cloud Billing Catalog, v1.

Cores and memory are SKUs of their own, so a machine of any shape has a price. What a SKU is stands
in its description alone (``Spot Preemptible E2 Instance Core running in Frankfurt``); its usage
type tells Spot (``Preemptible``) from ``OnDemand``. A price is ``units`` and ``nanos``, as Google's
``Money`` has it. Spot prices change once a month at most and have no zones.

Pods on GKE Autopilot are billed by SKUs of Kubernetes Engine, which are not read: there the price
is that of a machine of the same family.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

import httpx
from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from activities.carbon.api import ProviderApi, RateLimit, Timings, Wire, open_client
from activities.errors import AnswerRefused, ProviderDown
from domain.capacity import CapacityType
from domain.fresh_prices import FreshPrice
from domain.ports import PriceAnswer, PriceRefusal

BASE_URL = "https://cloudbilling.googleapis.com"
COMPUTE_ENGINE = "6F81-5844-456A"

GOOD_FOR = timedelta(days=7)

MOST_PAGES = 100
"""Some ten are expected, of 5,000 SKUs; a server that never ends is left."""

PAGE_SIZE = 5000
RATE = RateLimit(per_s=2.0)
TIMINGS = Timings(try_s=30.0)
"""A page has some 6 MB."""

MAX_BODY_BYTES = 32 * 2**20

_GCP = "gcp:"
_OK = 200
_NANO = 1e-9
_DECIMALS = 9
_KINDS = {"OnDemand": CapacityType.ON_DEMAND, "Preemptible": CapacityType.SPOT}
_UNITS = {"Core": "h", "Ram": "GiBy.h"}


class _Wire(Wire):
    model_config = ConfigDict(alias_generator=to_camel)


class _Money(_Wire):
    currency_code: str = ""
    units: str = "0"
    """A 64-bit number, which JSON has as a text."""
    nanos: int = 0


class _Rate(_Wire):
    unit_price: _Money


class _Expression(_Wire):
    usage_unit: str = ""
    tiered_rates: tuple[_Rate, ...] = ()


class _Pricing(_Wire):
    pricing_expression: _Expression


class _Category(_Wire):
    resource_family: str = ""
    usage_type: str = ""


class _Sku(_Wire):
    description: str = ""
    category: _Category = _Category()
    service_regions: tuple[str, ...] = ()
    pricing_info: tuple[_Pricing, ...] = ()

    def usd(self, unit: str) -> float:
        """The one price that it has, for ``unit``. Raises ``AnswerRefused``."""
        if not self.pricing_info:
            raise AnswerRefused(f"{self.description}: no price")
        price = self.pricing_info[-1].pricing_expression
        if price.usage_unit != unit or len(price.tiered_rates) != 1:
            raise AnswerRefused(
                f"{self.description}: {len(price.tiered_rates)} rates per {price.usage_unit},"
                f" one per {unit} was expected"
            )
        money = price.tiered_rates[0].unit_price
        value = int(money.units) + money.nanos * _NANO if money.units.isdecimal() else 0.0
        if money.currency_code != "USD" or value <= 0:
            raise AnswerRefused(
                f"{self.description}: {money.units} and {money.nanos} nanos"
                f" {money.currency_code or 'of no currency'} is no price"
            )
        return value


class _Page(_Wire):
    skus: tuple[_Sku, ...] = ()
    next_page_token: str = ""


_Found = Mapping[tuple[str, CapacityType, str], Sequence[_Sku]]


def open_catalogue_client() -> httpx.AsyncClient:
    """A client whose patience and limits are made for the catalogue's pages."""
    return open_client(TIMINGS, connections=1, max_body_bytes=MAX_BODY_BYTES)


class GcpBilling:
    """A ``PriceSource``."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        token: Callable[[], Awaitable[str]],
        family: str,
        base_url: str = BASE_URL,
        limit: RateLimit = RATE,
    ) -> None:
        """Hold what it takes; nothing is asked yet.

        Args:
            client: of ``open_catalogue_client``.
            token: gives a bearer token of Google's.
            family: whose machines are in use, as ``E2``.
            base_url: without the version.
            limit: how fast pages are asked for.

        Raises:
            ProviderMisconfigured: the address would send tokens over a network in the clear.
        """
        self._api = ProviderApi(client, self.name, base_url, limit)
        self._token = token
        self._family = family
        self._described = re.compile(
            rf"(?:Spot Preemptible )?{re.escape(family)}(?: AMD| Arm| Predefined)?"
            r" Instance (?P<what>Core|Ram) running in .+"
        )

    @property
    def name(self) -> str:
        """As people know it."""
        return "Google Cloud list price"

    @property
    def cloud(self) -> str:
        """Whose regions it knows."""
        return "gcp"

    async def fetch(self, regions: Sequence[str], now: datetime) -> PriceAnswer:
        """Both prices of each region.

        Raises:
            ProviderDown: the catalogue, or who gives tokens, does not serve us.
            AnswerRefused: a page is not of the form that we know.
        """
        found, rows, refusals = await self._skus(), [], []
        for region in regions:
            for kind in CapacityType:
                try:
                    rows.append(self._row(region, kind, found, now))
                except AnswerRefused as refused:
                    refusals.append(PriceRefusal(region, str(refused)))
        return PriceAnswer(tuple(rows), tuple(refusals))

    def _row(self, region: str, kind: CapacityType, found: _Found, now: datetime) -> FreshPrice:
        place = region.removeprefix(_GCP)
        prices = {}
        for what, unit in _UNITS.items():
            skus = {sku.usd(unit) for sku in found.get((place, kind, what), ())}
            if len(skus) != 1:
                raise AnswerRefused(
                    f"{self._family} {what} {kind.value}: {len(skus)} prices, one was expected"
                )
            prices[what] = round(skus.pop(), _DECIMALS)
        spot = "Spot " if kind is CapacityType.SPOT else ""
        return FreshPrice(
            region=region,
            capacity_type=kind,
            usd_per_vcpu_hour=prices["Core"],
            usd_per_gib_hour=prices["Ram"],
            as_of=now,
            good_until=now + GOOD_FOR,
            source=f"{self.name}: {spot}{self._family} core and memory",
        )

    async def _skus(self) -> _Found:
        """SKUs of the family's cores and memory, by region, capacity type and what they are."""
        found: dict[tuple[str, CapacityType, str], list[_Sku]] = defaultdict(list)
        next_page = ""
        for _ in range(MOST_PAGES):
            page = await self._page(next_page)
            for sku in page.skus:
                kind = _KINDS.get(sku.category.usage_type)
                match = self._described.fullmatch(sku.description)
                if kind and match and sku.category.resource_family == "Compute":
                    for region in sku.service_regions:
                        found[region, kind, match["what"]].append(sku)
            next_page = page.next_page_token
            if not next_page:
                return found
        raise AnswerRefused(f"the catalogue has over {MOST_PAGES} pages")

    async def _page(self, token: str) -> _Page:
        bearer = self._api.header_value("token", await self._token())
        async with self._api.turn():
            answer = await self._api.get(
                f"/v1/services/{COMPUTE_ENGINE}/skus",
                {
                    "pageSize": PAGE_SIZE,
                    "currencyCode": "USD",
                    **({"pageToken": token} if token else {}),
                },
                headers={"Authorization": f"Bearer {bearer}"},
            )
            if answer.status != _OK:
                raise ProviderDown(f"answers {answer.status}{self._api.said(answer)}")
        return answer.read(_Page)
