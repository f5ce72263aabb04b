"""EC2's Spot prices, from the fake that boto3 talks to unchanged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.prices.ec2_spot import Ec2Spot
from domain.capacity import CapacityType
from domain.ports import PriceAnswer
from domain.prices import PriceTable
from tests.servers.batch import BatchServer
from tests.servers.batch_prices import SpotPrice

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
STOCKHOLM, FRANKFURT = "aws:eu-north-1", "aws:eu-central-1"
TYPES = ("c6i.xlarge", "m6i.xlarge")


def spot(
    usd: str, zone: str = "a", instance_type: str = "m6i.xlarge", ago: float = 2, **more: Any
) -> SpotPrice:
    return SpotPrice(instance_type, f"eu-north-1{zone}", usd, NOW - ago * HOUR, **more)


@pytest.fixture
def source(ec2: BatchServer, seed: PriceTable, connect: Any) -> Ec2Spot:
    return Ec2Spot(TYPES, seed, connect("ec2", ec2.url))


async def told(ec2: BatchServer, source: Ec2Spot, *prices: SpotPrice) -> PriceAnswer:
    ec2.region("eu-north-1").prices = list(prices)
    return await source.fetch([STOCKHOLM], NOW)


def machine(seed: PriceTable, memory_gib: float = 16) -> float:
    """What the table takes for four vCPUs on-demand in Stockholm."""
    return seed.usd_per_hour(STOCKHOLM, CapacityType.ON_DEMAND, 4, memory_gib)


async def test_prices_scale_the_tables_on_demand_row(
    ec2: BatchServer, source: Ec2Spot, seed: PriceTable
) -> None:
    """A quarter and three quarters of the table's price in two zones: a half of its row."""
    quarter, three = (f"{machine(seed) * share:.9f}" for share in (0.25, 0.75))
    answer = await told(ec2, source, spot(quarter, "a"), spot(three, "b"))
    [row] = answer.rows
    base = seed.price(STOCKHOLM, CapacityType.ON_DEMAND)
    assert row.place == (STOCKHOLM, CapacityType.SPOT)
    assert row.usd_per_vcpu_hour == pytest.approx(base.usd_per_vcpu_hour / 2, rel=1e-6)
    assert row.usd_per_gib_hour == pytest.approx(base.usd_per_gib_hour / 2, rel=1e-6)
    assert row.as_of == NOW < row.good_until
    assert row.source.startswith("EC2 Spot: 0.5000 of the table's on-demand price, mean of 2")
    assert answer.refusals == ()


async def test_each_region_is_asked_for_its_own(
    ec2: BatchServer, source: Ec2Spot, seed: PriceTable
) -> None:
    """By a client of that region; each is scaled by its own row."""
    for region, share in (("eu-north-1", 0.3), ("eu-central-1", 0.6)):
        price = seed.usd_per_hour(f"aws:{region}", CapacityType.ON_DEMAND, 4, 16) * share
        ec2.region(region).prices = [SpotPrice("m6i.xlarge", f"{region}a", f"{price:.9f}", NOW)]
    answer = await source.fetch([STOCKHOLM, FRANKFURT], NOW)
    shares = {
        row.region: row.usd_per_vcpu_hour
        / seed.price(row.region, CapacityType.ON_DEMAND).usd_per_vcpu_hour
        for row in answer.rows
    }
    assert shares == pytest.approx({STOCKHOLM: 0.3, FRANKFURT: 0.6}, rel=1e-6)


async def test_the_price_in_force_counts(
    ec2: BatchServer, source: Ec2Spot, seed: PriceTable
) -> None:
    """Not those before it; and of a change since the question, the newer one."""
    last, next_one = (f"{machine(seed) * share:.9f}" for share in (0.4, 0.5))
    prices = [spot("9.0", ago=5), spot(last, ago=1), spot(next_one, ago=-1 / 60)]
    answer = await told(ec2, source, *prices[:2])
    assert "0.4000 of" in answer.rows[0].source
    answer = await told(ec2, source, *prices)
    assert "0.5000 of" in answer.rows[0].source
    assert "mean of 1 prices" in answer.rows[0].source


async def test_a_long_answer_comes_in_pages(
    ec2: BatchServer, source: Ec2Spot, seed: PriceTable
) -> None:
    """2,400 prices in three pages, the cheap half in the last: all of them count."""
    low, high = (f"{machine(seed) * share:.9f}" for share in (0.2, 0.8))
    prices = [spot(low if n < 1200 else high, f"{n}", ago=5000 - n) for n in range(2400)]
    answer = await told(ec2, source, *prices)
    assert ec2.requests["eu-north-1", "DescribeSpotPriceHistory"] == 3
    assert "0.5000 of the table's on-demand price, mean of 2400" in answer.rows[0].source


async def test_types_that_are_not_in_use_do_not_count(
    ec2: BatchServer, source: Ec2Spot, seed: PriceTable
) -> None:
    """Nor other products; a type that a region does not have is simply not there."""
    price = f"{machine(seed, 8) * 0.5:.9f}"
    answer = await told(
        ec2,
        source,
        spot(price, instance_type="c6i.xlarge"),
        spot("5.0", instance_type="x2idn.16xlarge"),
        spot("5.0", product="Windows"),
    )
    assert "0.5000 of the table's on-demand price, mean of 1 prices (c6i.xlarge)" in (
        answer.rows[0].source
    )


@pytest.mark.parametrize("usd", ["0.000000", "-0.1", "free", "nan"])
async def test_a_price_that_is_none_refuses_its_region(
    ec2: BatchServer, source: Ec2Spot, usd: str
) -> None:
    """The whole of it: a mean over what is left would be of other zones than before."""
    answer = await told(ec2, source, spot("0.08", "a"), spot(usd, "b"))
    assert answer.rows == ()
    [refusal] = answer.refusals
    assert refusal.region == STOCKHOLM
    assert refusal.reason == f"m6i.xlarge in eu-north-1b: '{usd}' is no price"


async def test_a_region_without_prices_is_refused(ec2: BatchServer, source: Ec2Spot) -> None:
    """No type in use is sold there."""
    answer = await told(ec2, source)
    assert [item.reason for item in answer.refusals] == ["no price of any instance type in use"]


async def test_one_region_that_is_down_costs_no_other(ec2: BatchServer, source: Ec2Spot) -> None:
    """It is refused with what happened."""
    ec2.region("eu-central-1").faults.down = True
    ec2.region("eu-north-1").prices = [spot("0.08")]
    answer = await source.fetch([STOCKHOLM, FRANKFURT], NOW)
    assert [row.region for row in answer.rows] == [STOCKHOLM]
    [refusal] = answer.refusals
    assert (refusal.region, refusal.reason) == (
        FRANKFURT,
        "failed with ConnectionClosedError",
    )
