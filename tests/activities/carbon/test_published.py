"""The yearly figures of the region catalogue as the floor under the signals."""

from __future__ import annotations

import csv
import io

import pytest

from activities.carbon.published import Published
from domain.forecast import Signal
from domain.regions import parse_catalogue
from tests.activities.carbon.loopback import NOW, forecasts
from tests.servers.carbon_grid import catalogue


async def test_a_zone_has_the_mean_of_its_regions() -> None:
    """AWS's and Google's regions in Frankfurt and Berlin share Germany's grid: one figure."""
    rows = list(csv.DictReader(io.StringIO(catalogue().source_text.partition("\n")[2])))
    figures = [float(r["average_annual_g_per_kwh"]) for r in rows if r["grid_zone"] == "DE"]
    assert len(figures) == 3
    [forecast] = (await Published(catalogue(), Signal.AVERAGE).fetch(["DE"], NOW)).forecasts
    assert [sum(figures) / 3] * 48 == pytest.approx(list(forecast.values), abs=0.001)
    assert (forecast.start, forecast.step_s) == (NOW.replace(minute=0), 3600.0)
    assert (forecast.provider, forecast.issued_at) == ("published", NOW)
    assert forecast.methodology == "yearly mean 2024, 3 regions of the catalogue"


async def test_the_years_are_told() -> None:
    """Hong Kong's regions have figures of two years."""
    [forecast] = (await Published(catalogue(), Signal.AVERAGE).fetch(["HK"], NOW)).forecasts
    assert "2023/2024" in forecast.methodology


async def test_the_signals_have_their_own_columns() -> None:
    """Stockholm is clean on average and dirty at the margin: the two are never mixed."""
    average, marginal = [
        (await Published(catalogue(), signal, horizon_hours=3).fetch(["SE-SE3"], NOW)).forecasts[0]
        for signal in Signal
    ]
    assert (average.signal, marginal.signal) == (Signal.AVERAGE, Signal.MARGINAL)
    assert average.values[0] < 30
    assert marginal.values == (791.26,) * 3


async def test_zones_without_a_figure_are_left_out() -> None:
    """Neither invented nor refused: New Zealand's region has none."""
    answer = await Published(catalogue(), Signal.AVERAGE).fetch(["NZ", "NOWHERE", "FR"], NOW)
    assert {"FR"} == set(forecasts(answer))
    assert answer.refusals == ()


def test_every_zone_of_the_catalogue_with_a_figure_is_covered() -> None:
    """The catalogue's year column is read with them."""
    for region in catalogue().regions.values():
        if region.average_annual_g_per_kwh is not None and "us-east2" not in region.id:
            assert region.annual_year in {2023, 2024}


async def test_a_catalogue_without_years_still_serves() -> None:
    """An overriding file may leave the year out; the figure stands."""
    text = catalogue().source_text.replace(",2024,", ",,").replace(",2023,", ",,")
    [forecast] = (
        await Published(parse_catalogue(text), Signal.AVERAGE).fetch(["FR"], NOW)
    ).forecasts
    assert forecast.values[0] == pytest.approx((52.87 + 16.3) / 2)
