"""AWS's list prices, from a fake of ``GetProducts`` that boto3 talks to unchanged."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from activities.errors import ProviderDown
from activities.prices.aws_price_list import Ec2OnDemand, Fargate, PriceList
from domain.capacity import CapacityType
from domain.ports import PriceAnswer
from domain.prices import PriceTable
from tests.servers.prices import Document, PriceServer, ec2_product, fargate_product

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
STOCKHOLM, FRANKFURT = "aws:eu-north-1", "aws:eu-central-1"
TYPES = ("c6i.xlarge", "m6i.xlarge")


@pytest.fixture
def price_list(lists: PriceServer, connect: Any) -> PriceList:
    return PriceList(partial(connect("pricing", lists.url), "eu-central-1"))


@pytest.fixture
def ec2(price_list: PriceList, seed: PriceTable) -> Ec2OnDemand:
    return Ec2OnDemand(price_list, TYPES, seed)


@pytest.fixture
def fargate(price_list: PriceList) -> Fargate:
    return Fargate(price_list)


def reasons(answer: PriceAnswer) -> dict[str, str]:
    return {item.region: item.reason for item in answer.refusals}


class TestEc2:
    async def test_a_type_tells_of_all_regions(
        self, lists: PriceServer, ec2: Ec2OnDemand, seed: PriceTable
    ) -> None:
        """One question for each, in pages; a region is scaled by the mean of its types."""
        on_demand = CapacityType.ON_DEMAND
        general, compute = (seed.usd_per_hour(STOCKHOLM, on_demand, 4, gib) for gib in (16, 8))
        lists.products = [
            *(ec2_product("m6i.xlarge", f"us-fake-{n}", "0.2") for n in range(9)),
            ec2_product("m6i.xlarge", "eu-north-1", f"{general * 1.1:.9f}"),
            ec2_product("c6i.xlarge", "eu-north-1", f"{compute * 1.3:.9f}", memory="8 GiB"),
            ec2_product("m5.xlarge", "eu-north-1", "9.9"),
            fargate_product("eu-north-1", "Fargate-GB-Hours", "9.9"),
        ]
        answer = await ec2.fetch([STOCKHOLM], NOW)
        [row] = answer.rows
        base = seed.price(STOCKHOLM, on_demand)
        assert row.place == (STOCKHOLM, on_demand)
        assert row.usd_per_vcpu_hour == pytest.approx(base.usd_per_vcpu_hour * 1.2, rel=1e-6)
        assert row.usd_per_gib_hour == pytest.approx(base.usd_per_gib_hour * 1.2, rel=1e-6)
        assert "1.2000 of the table's" in row.source
        assert lists.asked["AmazonEC2"] == 3 + 1

    async def test_a_region_without_its_types_is_refused(
        self, lists: PriceServer, ec2: Ec2OnDemand
    ) -> None:
        """The others are kept."""
        lists.products = [ec2_product("m6i.xlarge", "eu-north-1", "0.2")]
        answer = await ec2.fetch([STOCKHOLM, FRANKFURT], NOW)
        assert [row.region for row in answer.rows] == [STOCKHOLM]
        assert reasons(answer) == {FRANKFURT: "no price of any instance type in use"}

    @pytest.mark.parametrize(
        ("products", "reason"),
        [
            ([{"usd": "0.2"}, {"usd": "0.3"}], "m6i.xlarge: 2 prices, one was expected"),
            ([{"usd": "0.2", "memory": "32 GiB"}], r"its shape is [('4', '32 GiB')]"),
            ([{"usd": "-0.2"}], "m6i.xlarge: '-0.2' is no price"),
            ([{"usd": "0.0000000000"}], "m6i.xlarge: '0.0000000000' is no price"),
        ],
    )
    async def test_what_cannot_be_trusted_is_refused(
        self,
        lists: PriceServer,
        ec2: Ec2OnDemand,
        products: list[dict[str, str]],
        reason: str,
    ) -> None:
        """Two prices, another shape than the type's, nothing or less."""
        lists.products = [ec2_product("m6i.xlarge", "eu-north-1", **it) for it in products]
        answer = await ec2.fetch([STOCKHOLM], NOW)
        assert answer.rows == ()
        assert reason in reasons(answer)[STOCKHOLM]

    @pytest.mark.parametrize("unit", ["Quantity", "GB-Mo"])
    async def test_a_price_for_something_else_is_refused(
        self, lists: PriceServer, ec2: Ec2OnDemand, unit: str
    ) -> None:
        """Only an hour's is taken."""

        def spoil(product: Document) -> Document:
            [term] = product["terms"]["OnDemand"].values()
            [dimension] = term["priceDimensions"].values()
            dimension["unit"] = unit
            return product

        lists.products = [ec2_product("m6i.xlarge", "eu-north-1", "0.2")]
        lists.faults.spoil = spoil
        answer = await ec2.fetch([STOCKHOLM], NOW)
        assert reasons(answer) == {
            STOCKHOLM: f"m6i.xlarge: one price an hour was expected, found {unit}"
        }

    async def test_throttling_is_waited_out(self, lists: PriceServer, ec2: Ec2OnDemand) -> None:
        """By botocore: reads may be sent twice."""
        lists.products = [ec2_product("m6i.xlarge", "eu-north-1", "0.2")]
        lists.faults.throttle_next = 1
        assert len((await ec2.fetch([STOCKHOLM], NOW)).rows) == 1
        assert lists.asked["AmazonEC2"] == 3

    async def test_a_service_that_fails_is_told_by_its_code(
        self, lists: PriceServer, ec2: Ec2OnDemand
    ) -> None:
        """And with nothing of its text."""
        lists.faults.failing = True
        with pytest.raises(ProviderDown, match="GetProducts failed with InternalErrorException"):
            await ec2.fetch([STOCKHOLM], NOW)


class TestFargate:
    def products(self, region: str = "eu-north-1") -> list[Document]:
        usage = {
            "Fargate-vCPU-Hours:perCPU": "0.0445",
            "Fargate-GB-Hours": "0.0049",
            "SpotUsage-Fargate-vCPU-Hours:perCPU": "0.0133",
            "SpotUsage-Fargate-GB-Hours": "0.0015",
            "Fargate-ARM-vCPU-Hours:perCPU": "9.9",
            "SpotUsage-Fargate-ARM-GB-Hours": "9.9",
            "Fargate-EphemeralStorage-GB-Hours": "9.9",
            "Fargate-Windows-vCPU-Hours:perCPU": "9.9",
        }
        return [fargate_product(region, *item) for item in usage.items()]

    async def test_both_capacity_types_are_listed(
        self, lists: PriceServer, fargate: Fargate
    ) -> None:
        """Linux on x86, each region's own."""
        lists.products = [*self.products(), *self.products("eu-west-1")]
        answer = await fargate.fetch([STOCKHOLM], NOW)
        assert {
            row.capacity_type: (row.usd_per_vcpu_hour, row.usd_per_gib_hour) for row in answer.rows
        } == {CapacityType.ON_DEMAND: (0.0445, 0.0049), CapacityType.SPOT: (0.0133, 0.0015)}
        assert answer.refusals == ()

    async def test_without_spot_prices_on_demand_stands(
        self, lists: PriceServer, fargate: Fargate
    ) -> None:
        """Whether the list has them in every region is not known."""
        lists.products = [
            item
            for item in self.products()
            if "Spot" not in item["product"]["attributes"]["usagetype"]
        ]
        answer = await fargate.fetch([STOCKHOLM], NOW)
        assert [row.capacity_type for row in answer.rows] == [CapacityType.ON_DEMAND]
        assert reasons(answer) == {STOCKHOLM: "Fargate Spot vCPU: 0 prices, one was expected"}

    async def test_one_regions_trouble_is_its_own(
        self, lists: PriceServer, fargate: Fargate
    ) -> None:
        """A spoilt product refuses the region that it is of."""

        def spoil(product: Document) -> Document:
            if product["product"]["attributes"]["regionCode"] == "eu-north-1":
                del product["product"]["attributes"]
            return product

        lists.products = [*self.products(), *self.products("eu-central-1")]
        lists.faults.spoil = spoil
        answer = await fargate.fetch([STOCKHOLM, FRANKFURT], NOW)
        assert {row.region for row in answer.rows} == {FRANKFURT}
        assert reasons(answer) == {STOCKHOLM: "product.attributes: Field required"}
