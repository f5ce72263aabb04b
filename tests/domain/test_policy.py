from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from domain.capacity import CapacityType
from domain.errors import InvalidPolicy, UnknownRegion, UnknownResidency
from domain.forecast import Signal
from domain.policy import OnSignalLoss, Policy, parse_policy
from domain.regions import parse_catalogue

POLICIES = Path(__file__).parents[2] / "policies"
CATALOGUE = parse_catalogue((POLICIES / "regions.csv").read_text())

TEXT = """
version: "t"
weights: {carbon: 0.7, cost: 0.3}
steering_signal: average
residency:
  germany: {countries: [DE]}
  two: {regions: [aws:eu-north-1], countries: [FR], description: a list and a country}
regions:
  aws:eu-central-1: {spot: {vcpus: 10}, on_demand: {vcpus: 5, gpus: 1}, gpu_models: [T4]}
  aws:eu-north-1: {spot: {vcpus: 10}}
  aws:eu-west-3: {on_demand: {vcpus: 10}}
"""


def policy(old: str = "", new: str = "") -> Policy:
    assert old in TEXT
    return parse_policy(TEXT.replace(old, new, 1), CATALOGUE)


class TestReading:
    def test_what_is_left_out_has_a_default(self) -> None:
        """Margins, freshness and jitter are there without being named."""
        read = policy()
        assert read.on_signal_loss is OnSignalLoss.OTHER_SIGNAL
        assert read.safety_margin == timedelta(minutes=45)
        assert read.look_again.min_remaining == timedelta(hours=6)
        assert read.max_usd_per_vcpu_hour is None

    def test_a_region_offers_what_it_limits(self) -> None:
        """A capacity type without a limit is not offered; GPU models have no case."""
        offered = policy().regions
        assert offered["aws:eu-north-1"].limit(CapacityType.ON_DEMAND) is None
        limit = offered["aws:eu-central-1"].limit(CapacityType.ON_DEMAND)
        assert limit is not None
        assert (limit.vcpus, limit.gpus) == (5, 1)
        assert offered["aws:eu-central-1"].gpu_models == ("t4",)

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("carbon: 0.7, cost: 0.3", "carbon: 0, cost: 0", "weights.*one of carbon and cost"),
            ("carbon: 0.7", "carbon: -1", "weights.carbon: -1 .*greater than or equal to 0"),
            ("carbon: 0.7", "carbon: .inf", "weights.carbon: '.inf'"),
            ("average", "mean", "steering_signal: 'mean' .*'average' or 'marginal'"),
            ("steering_signal: average\n", "", "steering_signal: nothing .*required"),
            ('"t"', '"t"\nsafty_margin: 5m', "safty_margin: .*perhaps safety_margin"),
            ('"t"', '"t"\nsafety_margin: -5', "safety_margin: -5 .*greater than or equal to"),
            ('"t"', '"t"\nsafety_margin: 400d', "safety_margin: '400d' .*less than or equal to"),
            ('"t"', '"t"\nsafety_margin: soon', "safety_margin: 'soon' .*a duration, as 90s"),
            ('"t"', '"t"\nmax_usd_per_vcpu_hour: 0', "max_usd_per_vcpu_hour: 0 .*greater than 0"),
            ("vcpus: 10", "vcpus: 10, max: 1", "regions.aws:eu-central-1.spot.max: 1"),
            (
                "countries: [DE]",
                "countries: [PL]",
                "residency.germany: .*one region that is enabled",
            ),
            ("weights", "- weights", "policy: the text at line 3.*well-formed YAML"),
            ("  two:", "  germany:", "policy: .*'germany' twice"),
            ('version: "t"', "{", "policy: the text"),
        ],
    )
    def test_a_fault_is_told_by_field_and_value(self, old: str, new: str, told: str) -> None:
        """A policy is taken whole or not at all."""
        with pytest.raises(InvalidPolicy, match=told):
            policy(old, new)

    def test_a_region_must_be_in_the_catalogue_with_a_grid(self) -> None:
        """Enabled or named by a class: a misspelt region would silently allow nothing."""
        with pytest.raises(UnknownRegion, match=r"aws:eu-north-9 .*perhaps aws:eu-north-1"):
            policy("  aws:eu-north-1: {", "  aws:eu-north-9: {")
        with pytest.raises(UnknownRegion, match="aws:eu-north-9"):
            policy("[aws:eu-north-1]", "[aws:eu-north-9, aws:eu-north-1]")
        without_grid = next(item.id for item in CATALOGUE.regions.values() if not item.grid_zone)
        with pytest.raises(InvalidPolicy, match="a region whose grid zone is known"):
            policy(
                "  aws:eu-north-1: {",
                f"  {without_grid}: {{spot: {{vcpus: 1}}}}\n  aws:eu-north-1: {{",
            )

    @pytest.mark.parametrize("name", ["default.yaml", "demo.yaml"])
    def test_the_shipped_policies_read(self, name: str) -> None:
        """And each residency class has regions."""
        read = parse_policy((POLICIES / name).read_text(), CATALOGUE)
        assert read.steering_signal is Signal.AVERAGE
        for residency in read.residency:
            assert read.legal_regions(residency, CATALOGUE)


class TestResidency:
    def test_legal_regions_are_enabled_and_allowed(self) -> None:
        """By list or by country, sorted; what is not enabled is not legal anywhere."""
        read = policy()
        assert read.legal_regions("germany", CATALOGUE) == ("aws:eu-central-1",)
        assert read.legal_regions("two", CATALOGUE) == ("aws:eu-north-1", "aws:eu-west-3")
        assert not read.is_legal("germany", "gcp:europe-west3", CATALOGUE)
        assert read.residency_allows("germany", CATALOGUE.get("gcp:europe-west3"))
        assert not read.is_legal("germany", "aws:eu-north-1", CATALOGUE)

    def test_an_unknown_class_is_never_an_empty_one(self) -> None:
        """It is refused, with the classes that there are."""
        with pytest.raises(UnknownResidency, match=r"residency: moon .*germany, two"):
            policy().legal_regions("moon", CATALOGUE)


class TestIdentity:
    def test_the_hash_is_the_contents(self) -> None:
        """Layout and order of fields do not count; each value does."""
        read = policy()
        assert policy("\nversion", "\n# a comment\n\nversion").sha256 == read.sha256
        assert policy("{carbon: 0.7, cost: 0.3}", "{cost: 0.3, carbon: 0.7}").sha256 == read.sha256
        assert policy("0.7", "0.71").sha256 != read.sha256
        assert Policy.model_validate_json(read.canonical()) == read

    def test_the_hash_of_a_policy_never_changes(self) -> None:
        """Ledger lines name policies by it; only a field more makes it another."""
        assert policy().sha256 == "cd742d601b107ecf6f100ac802e2ea05d25daa4380ed75eb6fe8476baf0bf960"
