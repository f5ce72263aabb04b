"""Google's list prices, from a fake of the Cloud Billing Catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from activities.carbon.api import RateLimit, Timings, open_client
from activities.errors import (
    ActivityFault,
    AnswerRefused,
    ComputeUnavailable,
    ProviderDown,
    ProviderMisconfigured,
)
from activities.prices import gcp_billing
from activities.prices.gcp_billing import GcpBilling
from domain.capacity import CapacityType
from domain.ports import PriceAnswer
from tests.servers.prices import TOKEN, Document, PriceServer, sku, skus_of

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
BELGIUM, FINLAND = "gcp:europe-west1", "gcp:europe-north1"
SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
HASTY = Timings(try_s=5.0, backoff_s=0.01, longest_wait_s=0.02)

FAST = RateLimit(per_s=1000.0, burst=200)

Fetch = Callable[..., Awaitable[PriceAnswer]]


async def token() -> str:
    return TOKEN


@pytest.fixture
async def fetch(lists: PriceServer) -> AsyncIterator[Fetch]:
    """Asks for Belgium and Finland."""
    async with open_client(HASTY, max_body_bytes=gcp_billing.MAX_BODY_BYTES) as client:

        async def ask(
            token: Callable[[], Awaitable[str]] = token, family: str = "E2"
        ) -> PriceAnswer:
            source = GcpBilling(client, token, family, lists.url, FAST)
            return await source.fetch([BELGIUM, FINLAND], NOW)

        yield ask


def both(**changed: float) -> list[Document]:
    own = {"core": 0.0218, "ram": 0.0029, "spot_share": 0.4} | changed
    return [
        *skus_of("Belgium", "europe-west1", **own),
        *skus_of("Finland", "europe-north1", **{**own, "core": 0.024}),
    ]


def prices(answer: PriceAnswer) -> dict[tuple[str, CapacityType], tuple[float, float]]:
    return {row.place: (row.usd_per_vcpu_hour, row.usd_per_gib_hour) for row in answer.rows}


async def test_cores_and_memory_are_found_among_all_skus(lists: PriceServer, fetch: Fetch) -> None:
    """Over pages; Spot by its usage type; other families, shapes and commitments left alone."""
    lists.skus = both()
    answer = await fetch()
    assert prices(answer) == {
        (BELGIUM, ON_DEMAND): (0.0218, 0.0029),
        (BELGIUM, SPOT): (0.00872, 0.00116),
        (FINLAND, ON_DEMAND): (0.024, 0.0029),
        (FINLAND, SPOT): (0.0096, 0.00116),
    }
    assert answer.refusals == ()
    assert lists.asked["catalogue"] == 4


async def test_a_sku_may_be_of_many_regions(lists: PriceServer, fetch: Fetch) -> None:
    """As those "in EMEA" are."""
    regions = ["europe-west1", "europe-north1", "europe-west3"]
    lists.skus = [
        sku(f"{spot}E2 Instance {what} running in EMEA", regions, usd, usage_type=usage)
        for spot, usage in (("", "OnDemand"), ("Spot Preemptible ", "Preemptible"))
        for what, usd in (("Core", 0.02), ("Ram", 0.003))
    ]
    assert set(prices(await fetch()).values()) == {(0.02, 0.003)}


@pytest.mark.parametrize("description", ["N2D AMD Instance Core", "N2D Instance Core"])
async def test_vendors_names_within_a_family(
    lists: PriceServer, fetch: Fetch, description: str
) -> None:
    """Some descriptions name the processor."""
    ram = description.replace("Core", "Ram")
    lists.skus = [
        sku(f"{name} running in Belgium", ["europe-west1"], usd)
        for name, usd in ((description, 1.5), (ram, 0.25))
    ]
    answer = await fetch(family="N2D")
    assert prices(answer) == {(BELGIUM, ON_DEMAND): (1.5, 0.25)}


async def test_two_prices_for_one_thing_are_refused(lists: PriceServer, fetch: Fetch) -> None:
    """Which of them is paid is not known; the others are kept."""
    lists.skus = [*both(), sku("E2 Instance Core running in EMEA", ["europe-west1"], 0.05)]
    answer = await fetch()
    assert (BELGIUM, ON_DEMAND) not in prices(answer)
    assert len(answer.rows) == 3
    assert [(item.region, item.reason) for item in answer.refusals] == [
        (BELGIUM, "E2 Core on_demand: 2 prices, one was expected")
    ]


def of_price(**changed: object) -> Callable[[Document], Document]:
    """Spoils the price of every SKU of Belgium."""

    def spoil(document: Document) -> Document:
        if document["serviceRegions"] == ["europe-west1"]:
            rate = document["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]
            rate["unitPrice"] |= changed
        return document

    return spoil


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"units": "0", "nanos": 0}, "0 and 0 nanos USD is no price"),
        ({"units": "-1", "nanos": -5}, "-1 and -5 nanos USD is no price"),
        ({"nanos": -5}, "0 and -5 nanos USD is no price"),
        ({"currencyCode": "EUR"}, "nanos EUR is no price"),
    ],
)
async def test_what_is_no_price_refuses_its_region(
    lists: PriceServer, fetch: Fetch, changed: dict[str, object], reason: str
) -> None:
    """And no other."""
    lists.skus, lists.faults.spoil = both(), of_price(**changed)
    answer = await fetch()
    assert {region for region, _ in prices(answer)} == {FINLAND}
    assert {item.region for item in answer.refusals} == {BELGIUM}
    assert all(reason in item.reason for item in answer.refusals)


async def test_another_unit_is_refused(lists: PriceServer, fetch: Fetch) -> None:
    """A month's price is no hour's."""

    def spoil(document: Document) -> Document:
        expression = document["pricingInfo"][0]["pricingExpression"]
        expression["usageUnit"] = expression["usageUnit"].replace("h", "mo")
        return document

    lists.skus, lists.faults.spoil = both(), spoil
    answer = await fetch()
    assert answer.rows == ()
    assert "1 rates per mo, one per h was expected" in answer.refusals[0].reason


async def test_missing_memory_is_refused(lists: PriceServer, fetch: Fetch) -> None:
    """A core alone is no machine."""
    lists.skus = [item for item in both() if " Ram " not in item["description"]]
    answer = await fetch()
    assert answer.rows == ()
    assert len(answer.refusals) == 4
    assert "Ram on_demand: 0 prices" in " ".join(item.reason for item in answer.refusals)


class TestFaults:
    async def test_throttling_is_waited_out(self, lists: PriceServer, fetch: Fetch) -> None:
        """A page is asked for again, and none is lost."""
        lists.skus, lists.faults.throttle_next = both(), 2
        assert len((await fetch()).rows) == 4

    async def test_a_service_that_fails_is_told(self, lists: PriceServer, fetch: Fetch) -> None:
        """After its retries."""
        lists.faults.failing = True
        with pytest.raises(ProviderDown, match="answers 500"):
            await fetch()

    async def test_a_refused_token_is_told_without_it(
        self, lists: PriceServer, fetch: Fetch
    ) -> None:
        """Whatever the service says of it."""

        async def other() -> str:
            return "another-token"

        lists.skus = both()
        with pytest.raises(ProviderDown, match="answers 401") as raised:
            await fetch(other)
        assert "another-token" not in str(raised.value)

    async def test_without_a_token_nothing_is_asked(self, lists: PriceServer, fetch: Fetch) -> None:
        """Who gives tokens may be out of reach."""

        async def none() -> str:
            raise ComputeUnavailable("Google's token service", "DefaultCredentialsError")

        with pytest.raises(ActivityFault, match="DefaultCredentialsError"):
            await fetch(none)
        assert lists.asked["catalogue"] == 0

    async def test_a_catalogue_without_an_end_is_left(
        self, lists: PriceServer, fetch: Fetch
    ) -> None:
        """It says so, and keeps nothing of it."""
        lists.skus, lists.endless = both(), True
        with pytest.raises(AnswerRefused, match="over 100 pages"):
            await fetch()
        assert lists.asked["catalogue"] == gcp_billing.MOST_PAGES == 100

    async def test_a_page_of_another_form_is_refused(
        self, lists: PriceServer, fetch: Fetch
    ) -> None:
        """By the field that is wrong."""

        def spoil(document: Document) -> Document:
            return document | {"serviceRegions": "europe-west1"}

        lists.skus, lists.faults.spoil = both(), spoil
        with pytest.raises(AnswerRefused, match=r"skus\.0\.serviceRegions"):
            await fetch()

    async def test_tokens_never_travel_in_the_clear(self) -> None:
        """An address with http that is not this machine stops the start."""
        async with open_client() as client:
            with pytest.raises(ProviderMisconfigured, match=r"base_url is http://billing\.example"):
                GcpBilling(client, token, "E2", "http://billing.example")
