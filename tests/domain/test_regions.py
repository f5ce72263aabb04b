from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from activities.carbon.trace import SHIPPED_FILES, read_trace
from domain.errors import CatalogueError, UnknownRegion
from domain.forecast import Signal
from domain.policy import parse_policy
from domain.regions import Provider, RegionCatalogue, parse_catalogue, with_overrides

POLICIES = Path(__file__).parents[2] / "policies"
TEXT = (POLICIES / "regions.csv").read_text()
CATALOGUE = parse_catalogue(TEXT)
ROWS = list(csv.DictReader(io.StringIO(TEXT.partition("\n")[2])))

SOURCE_OF = {
    "grid_zone": "zone_source",
    "watttime_region": "watttime_source",
    "pue": "pue_source",
    "average_annual_g_per_kwh": "annual_source",
    "marginal_annual_g_per_kwh": "annual_source",
}

COLUMNS = (
    "id,location,country,latitude,longitude,grid_zone,watttime_region,pue,"
    "average_annual_g_per_kwh,marginal_annual_g_per_kwh,annual_year"
)


def catalogue(*rows: str, columns: str = COLUMNS) -> RegionCatalogue:
    return parse_catalogue("\n".join(("# version: t", columns, *rows, "")))


class TestShipped:
    @pytest.mark.parametrize(("fact", "source"), SOURCE_OF.items())
    def test_every_fact_says_where_it_comes_from(self, fact: str, source: str) -> None:
        """A figure whose source nobody knows cannot be checked."""
        assert [row["id"] for row in ROWS if row[fact] and not row[source]] == []
        assert any(row[fact] for row in ROWS)

    def test_every_yearly_figure_names_its_year(self) -> None:
        """Grids change by tens of percent over a few years."""
        assert [
            row["id"]
            for row in ROWS
            if row["average_annual_g_per_kwh"] and not row["annual_year"].isdigit()
        ] == []

    @pytest.mark.parametrize("policy", ["default.yaml", "demo.yaml"])
    def test_every_enabled_region_is_known_with_its_grid(self, policy: str) -> None:
        """And its grid stands in the shipped trace, or it could never be chosen by carbon."""
        traced = read_trace(SHIPPED_FILES[Signal.AVERAGE]).zones
        for region in parse_policy((POLICIES / policy).read_text(), CATALOGUE).regions:
            assert CATALOGUE.get(region).grid_zone in traced, region

    def test_both_clouds_are_there(self) -> None:
        """Each region once, with plausible facts."""
        assert {region.provider for region in CATALOGUE.regions.values()} == set(Provider)
        for region in CATALOGUE.regions.values():
            assert 1 <= region.pue < 2
            assert len(region.country) == 2
            assert region.average_annual_g_per_kwh is None or (
                0 <= region.average_annual_g_per_kwh < 1500
            )

    def test_the_two_signals_stay_apart(self) -> None:
        """Stockholm is clean by average and not by the next kWh: a mix-up would show here."""
        stockholm = CATALOGUE.get("aws:eu-north-1")
        assert stockholm.average_annual_g_per_kwh == pytest.approx(24.71)
        assert stockholm.marginal_annual_g_per_kwh == pytest.approx(791.26)


def test_a_region_is_read_field_by_field() -> None:
    """Empty cells are unknown facts."""
    found = catalogue("gcp:europe-x1,Town,BE,,,BE,,1.1,,400,2024").get("gcp:europe-x1")
    assert (found.provider, found.code) == (Provider.GCP, "europe-x1")
    assert (found.grid_zone, found.watttime_region, found.latitude) == ("BE", None, None)
    assert (found.average_annual_g_per_kwh, found.marginal_annual_g_per_kwh) == (None, 400.0)


class TestZones:
    def test_a_signal_may_cut_a_grid_otherwise(self) -> None:
        """Virginia and Ohio share a grid zone of the average signal, and no marginal one."""
        virginia, ohio = CATALOGUE.get("aws:us-east-1"), CATALOGUE.get("aws:us-east-2")
        assert virginia.zone(Signal.AVERAGE) == ohio.zone(Signal.AVERAGE) == "US-MIDA-PJM"
        assert (virginia.zone(Signal.MARGINAL), ohio.zone(Signal.MARGINAL)) == (
            "PJM_DC",
            "PJM_SOUTHWEST_OH",
        )
        assert CATALOGUE.zones(Signal.AVERAGE, [virginia.id, ohio.id]) == ("US-MIDA-PJM",)
        assert len(CATALOGUE.zones(Signal.MARGINAL, [virginia.id, ohio.id])) == 2

    def test_every_marginal_zone_is_one_region_of_watttime(self) -> None:
        """And an average zone that meets several has none: which should it be?"""
        marginal = CATALOGUE.watttime_regions(Signal.MARGINAL)
        for region in CATALOGUE.regions.values():
            if region.watttime_region and region.grid_zone:
                assert marginal[region.zone(Signal.MARGINAL)] == region.watttime_region
        assert "US-MIDA-PJM" not in CATALOGUE.watttime_regions(Signal.AVERAGE)
        assert CATALOGUE.watttime_regions(Signal.AVERAGE)["DE"] == "DE"

    def test_a_zone_of_two_watttime_regions_is_refused(self) -> None:
        """One of them would silently stand for both."""
        rows = ("aws:x,T,BE,,,BE,ONE,1.1,,,", "aws:y,T,BE,,,BE,TWO,1.1,,,")
        with pytest.raises(CatalogueError, match=r"zone BE, watttime_region: ONE, TWO"):
            catalogue(*rows)


class TestOverrides:
    def test_only_the_cells_that_are_given_change(self) -> None:
        """A file of one's own maps some regions anew; the rest stays, and the hash tells."""
        text = with_overrides(TEXT, "id,grid_zone,pue\naws:eu-west-1,GB-NIR,\n")
        changed = parse_catalogue(text)
        assert changed.get("aws:eu-west-1").grid_zone == "GB-NIR"
        assert changed.get("aws:eu-west-1").pue == CATALOGUE.get("aws:eu-west-1").pue
        assert changed.get("aws:eu-west-2") == CATALOGUE.get("aws:eu-west-2")
        assert changed.version == f"{CATALOGUE.version} with overrides"

    @pytest.mark.parametrize(
        ("overrides", "told"),
        [
            ("id,zone\naws:eu-west-1,GB\n", "overrides, line 2: zone is not allowed"),
            ("region,pue\naws:eu-west-1,1.2\n", "overrides, line 2: region"),
            ("id,pue\naws:eu-west-1,1.2,3\n", "overrides, line 2"),
        ],
    )
    def test_a_column_that_is_not_there_is_told(self, overrides: str, told: str) -> None:
        """A misspelt one would change nothing, silently."""
        with pytest.raises(CatalogueError, match=told):
            with_overrides(TEXT, overrides)

    def test_a_region_that_is_not_there_is_told(self) -> None:
        """With close names."""
        with pytest.raises(UnknownRegion, match=r"line 2, id: aws:eu-west-11 .*aws:eu-west-1"):
            with_overrides(TEXT, "id,pue\naws:eu-west-11,1.2\n")


def test_an_unknown_region_is_told_with_close_names() -> None:
    """And with the field that named it."""
    with pytest.raises(UnknownRegion, match=r"home_region: aws:eu-nort-1 .*perhaps aws:eu-north-1"):
        CATALOGUE.get("aws:eu-nort-1", "home_region")


def test_the_hash_is_the_files() -> None:
    """Any change of the file is another catalogue."""
    assert parse_catalogue(TEXT).sha256 == CATALOGUE.sha256
    assert parse_catalogue(TEXT + "\n").sha256 != CATALOGUE.sha256


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["azure:x,T,BE,,,BE,,1.1,,"], r"line 3, id: azure:x .*aws:\.\.\. or gcp:"),
        (["aws:x,T,BE,,,BE,,0.9,,"], r"line 3, pue: 0\.9 .*1 or more"),
        (["aws:x,T,BE,,,BE,,,,"], r"line 3, pue:"),
        (["aws:x,T,BE,,,BE,,1.1,much,"], r"line 3, average_annual_g_per_kwh: much .*a number"),
        (["aws:x,T,BE,,,BE,,nan,,"], r"line 3, pue: nan .*a number"),
        (["aws:x,T,BE,,,BE,,1.1,,"] * 2, r"line 4, id: aws:x .*each region once"),
    ],
)
def test_a_bad_row_is_told_by_line_and_column(rows: list[str], told: str) -> None:
    """A catalogue is never read in part."""
    with pytest.raises(CatalogueError, match=told):
        catalogue(*rows)


def test_a_missing_column_or_version_is_told() -> None:
    """Whatever the rows hold."""
    with pytest.raises(CatalogueError, match="a column 'country'"):
        catalogue("aws:x,T,1.1", columns="id,location,pue")
    with pytest.raises(CatalogueError, match=r"line 1.*# version"):
        parse_catalogue(COLUMNS + "\n")
