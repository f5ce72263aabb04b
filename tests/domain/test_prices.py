from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import pytest

from domain.capacity import CapacityType
from domain.errors import CatalogueError, MissingPrice
from domain.policy import parse_policy
from domain.prices import PriceTable, parse_prices
from domain.regions import parse_catalogue

POLICIES = Path(__file__).parents[2] / "policies"
COMPUTE = (POLICIES / "prices.csv").read_text()
EGRESS = (POLICIES / "egress.csv").read_text()
CATALOGUE = parse_catalogue((POLICIES / "regions.csv").read_text())

HEAD = (
    "region,capacity_type,usd_per_vcpu_hour,usd_per_gib_hour,usd_per_gpu_hour,reclaims_per_hour\n"
)
RULES = """# version: t
source_region,destination_region,usd_per_gib
aws:eu-west-1,aws:eu-west-2,0.01
aws:eu-*,aws:eu-*,0.02
aws:*,aws:*,0.05
aws:*,*,0.09
"""


def table(rows: str = "", rules: str = RULES) -> PriceTable:
    return parse_prices(f"# version: t\n{HEAD}{rows}", rules)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.partition("\n")[2])))


class TestShipped:
    @pytest.mark.parametrize("text", [COMPUTE, EGRESS], ids=["prices", "egress"])
    def test_every_row_says_where_it_comes_from(self, text: str) -> None:
        """A figure without a source and a date cannot be checked."""
        rows = rows_of(text)
        assert rows
        assert [row for row in rows if not row["source"] or not row["as_of"]] == []

    @pytest.mark.parametrize("policy", ["default.yaml", "demo.yaml"])
    def test_every_offered_capacity_has_its_price(self, policy: str) -> None:
        """And every pair of enabled regions a rule for moving data."""
        prices = parse_prices(COMPUTE, EGRESS)
        offered = parse_policy((POLICIES / policy).read_text(), CATALOGUE).regions
        for region, allowed in offered.items():
            for kind in CapacityType:
                assert allowed.limit(kind) is None or prices.has(region, kind), (region, kind)
        for source, destination in itertools.permutations(offered, 2):
            assert prices.egress_usd_per_gib(source, destination) > 0

    def test_spot_is_cheaper_and_only_spot_is_taken_back(self) -> None:
        """In every region."""
        compute = parse_prices(COMPUTE, EGRESS).compute
        for region in {region for region, _ in compute}:
            spot = compute[region, CapacityType.SPOT]
            on_demand = compute[region, CapacityType.ON_DEMAND]
            assert 0 < spot.usd_per_vcpu_hour < on_demand.usd_per_vcpu_hour
            assert spot.reclaims_per_hour > 0 == on_demand.reclaims_per_hour

    def test_every_priced_region_is_in_the_catalogue(self) -> None:
        """A misspelt region would never be priced."""
        assert {row["region"] for row in rows_of(COMPUTE)} <= set(CATALOGUE.regions)


class TestPrices:
    def test_an_hour_of_a_machine(self) -> None:
        """4 vCPUs, 16 GiB and 2 GPUs: 4 x 0.03 + 16 x 0.004 + 2 x 0.35."""
        prices = table("aws:eu-west-1,spot,0.03,0.004,0.35,0.1\n")
        assert prices.usd_per_hour("aws:eu-west-1", CapacityType.SPOT, 4, 16, 2) == pytest.approx(
            0.884
        )
        with pytest.raises(MissingPrice, match="aws:eu-west-1 on_demand"):
            prices.usd_per_hour("aws:eu-west-1", CapacityType.ON_DEMAND, 4, 16)

    @pytest.mark.parametrize(
        ("source", "destination", "usd"),
        [
            ("aws:eu-west-1", "aws:eu-west-1", 0.0),
            ("aws:eu-west-1", "aws:eu-west-2", 0.01),
            ("aws:eu-west-2", "aws:eu-west-1", 0.02),
            ("aws:eu-west-1", "aws:us-east-1", 0.05),
            ("aws:us-east-1", "aws:eu-west-1", 0.05),
            ("aws:eu-west-1", "gcp:europe-west1", 0.09),
        ],
    )
    def test_the_first_rule_that_matches_holds(
        self, source: str, destination: str, usd: float
    ) -> None:
        """From the narrow to the wide; nothing is paid within a region."""
        assert table().egress_usd_per_gib(source, destination) == usd

    def test_a_pair_without_a_rule_has_no_price(self) -> None:
        """It is not free."""
        with pytest.raises(MissingPrice, match="gcp:europe-west1 -> aws:eu-west-1"):
            table().egress_usd_per_gib("gcp:europe-west1", "aws:eu-west-1")

    def test_the_table_is_its_canonical_form(self) -> None:
        """What a ledger blob holds gives the same table."""
        prices = parse_prices(COMPUTE, EGRESS)
        again = parse_prices(*prices.source_texts)
        assert again == prices
        assert again.sha256 == prices.sha256 != table().sha256


@pytest.mark.parametrize(
    ("row", "where", "allowed"),
    [
        ("aws:eu-west-1,spot,x,0,0,0", "line 3, usd_per_vcpu_hour: x", "a number"),
        ("aws:eu-west-1,spot,-1,0,0,0", "line 3, usd_per_vcpu_hour: -1", "0 or more"),
        ("aws:eu-west-1,spot,nan,0,0,0", "line 3, usd_per_vcpu_hour: nan", "0 or more"),
        ("aws:eu-west-1,spot,inf,0,0,0", "line 3, usd_per_vcpu_hour: inf", "0 or more"),
        ("aws:eu-west-1,spot,1,0,0", "line 3, reclaims_per_hour: nothing", "a value"),
        ("aws:eu-west-1,preemptible,1,0,0,0", "line 3, capacity_type", "spot or on_demand"),
        (",spot,1,0,0,0", "line 3, region: nothing", "a value"),
        (
            "aws:eu-west-1,spot,1,0,0,0\naws:eu-west-1,spot,2,0,0,0",
            "line 4, region: aws:eu-west-1 spot",
            "each pair once",
        ),
    ],
)
def test_a_bad_row_is_told_by_line_and_column(row: str, where: str, allowed: str) -> None:
    """A table is never read in part."""
    with pytest.raises(CatalogueError, match=f"prices, {where}.*{allowed}"):
        table(f"{row}\n")


def test_a_table_without_a_version_is_refused() -> None:
    """A decision says by which version it was made."""
    with pytest.raises(CatalogueError, match=r"prices, line 1.*# version"):
        parse_prices(HEAD, RULES)
    with pytest.raises(CatalogueError, match="egress, line 3, source_region: nothing"):
        table(rules="# version: t\nsource,destination_region,usd_per_gib\na,b,1\n")
