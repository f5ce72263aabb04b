from __future__ import annotations

import pytest

from activities.errors import AnswerRefused
from activities.prices.instance_types import Shape, scaled, shape_of, usd
from domain.capacity import CapacityType
from domain.prices import PriceTable, parse_prices

HEAD = (
    "region,capacity_type,usd_per_vcpu_hour,usd_per_gib_hour,usd_per_gpu_hour,reclaims_per_hour\n"
)


def table(row: str = "aws:eu-west-1,on_demand,0.04,0.005,0.35,0\n") -> PriceTable:
    return parse_prices(
        f"# version: t\n{HEAD}{row}",
        "# version: t\nsource_region,destination_region,usd_per_gib\n",
    )


class TestShapes:
    @pytest.mark.parametrize(
        ("instance_type", "shape"),
        [
            ("m6i.large", Shape(2, 8)),
            ("m6i.xlarge", Shape(4, 16)),
            ("c7i.4xlarge", Shape(16, 32)),
            ("r6i.24xlarge", Shape(96, 768)),
            ("m7i-flex.2xlarge", Shape(8, 32)),
            ("c10gn.xlarge", Shape(4, 8)),
        ],
    )
    def test_a_name_tells_the_shape(self, instance_type: str, shape: Shape) -> None:
        """A large has two vCPUs, an xlarge four; the letter says how much memory each has."""
        assert shape_of(instance_type) == shape

    @pytest.mark.parametrize(
        "instance_type",
        ["m6i", "t3.large", "c4.xlarge", "c5n.xlarge", "m6i.metal", "m6i.medium", "m6i.2large", ""],
    )
    def test_a_name_that_tells_none_is_refused(self, instance_type: str) -> None:
        """Rather than guessed: older generations and some families have other memory."""
        with pytest.raises(ValueError, match="expected a size of a c, m or r family"):
            shape_of(instance_type)


class TestPrices:
    def test_what_machines_cost_scales_the_on_demand_row(self) -> None:
        """The table has $0.24 for an m6i.xlarge: at $0.12 and $0.06 the mean is 0.375 of it."""
        found = scaled(table(), "aws:eu-west-1", {"m6i.xlarge": [0.12, 0.06]})
        assert found.ratio == pytest.approx(0.375)
        assert found.usd_per_vcpu_hour == pytest.approx(0.015)
        assert found.usd_per_gib_hour == pytest.approx(0.001875)

    def test_each_type_counts_by_its_own_shape(self) -> None:
        """At half of what the table has for each, the ratio is a half, whatever the sizes."""
        halves = {"c6i.xlarge": [0.1], "m6i.large": [0.06], "r6i.2xlarge": [0.32]}
        found = scaled(table(), "aws:eu-west-1", halves)
        assert found.ratio == pytest.approx(0.5)

    def test_without_a_price_or_a_row_there_is_none(self) -> None:
        """Both are told."""
        with pytest.raises(AnswerRefused, match="no price of any instance type in use"):
            scaled(table(), "aws:eu-west-1", {})
        spot = table("aws:eu-west-1,spot,0.04,0.005,0.35,0\n")
        assert not spot.has("aws:eu-west-1", CapacityType.ON_DEMAND)
        with pytest.raises(AnswerRefused, match="no on-demand row to scale"):
            scaled(spot, "aws:eu-west-1", {"m6i.xlarge": [0.1]})

    @pytest.mark.parametrize("told", ["0.000000", "-0.1", "nan", "inf", "free", "", None, 0.1])
    def test_what_is_no_price_is_refused(self, told: object) -> None:
        """AWS tells them as texts; one of nothing would draw every job."""
        with pytest.raises(AnswerRefused, match=r"m6i\.large in a: .* is no price"):
            usd(told, "m6i.large in a")
