"""``lowtide regret``: what people see of what was learned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.forecast import Signal
from domain.ports import DocumentName
from domain.regret import BUCKETS
from domain.regret_contest import Contest
from domain.regret_learning import Kept, RegretHistory
from domain.regret_lessons import RegretLessons, SeenMoment
from tests.clients.site import Site
from tests.clients.test_cli_commands import assert_fits

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder with a store; nothing runs there."""
    laid_out = Site.lay_out(tmp_path)
    laid_out.state.mkdir()
    return laid_out


def keep(site: Site, lessons: RegretLessons) -> None:
    with site.store() as store:
        store.put_document(DocumentName.REGRET, lessons.model_dump_json().encode())


def kept(days: float, slope: float) -> Kept:
    return Kept(
        newest=NOW,
        days=(days,) * BUCKETS,
        promised=(100.0 * days,) * BUCKETS,
        product=(100.0 * days * slope,) * BUCKETS,
    )


HISTORY = RegretHistory(
    as_of=NOW,
    zones={Signal.AVERAGE: {"DE": kept(28.0, 0.4), "SE-SE3": kept(14.0, 0.9)}},
    contests={
        Signal.AVERAGE: {
            "eu": Contest(newest=NOW, days=28, forecast_sum=28 * 20, static_sum=28 * 44),
            "germany": Contest(newest=NOW, days=28, forecast_sum=28 * 390, static_sum=28 * 371),
            "young": Contest(newest=NOW, days=2, forecast_sum=2 * 390, static_sum=2 * 371),
        }
    },
)


def test_before_anything_was_learned_it_says_so(site: Site) -> None:
    """And until when the first decision waits for its hours to pass."""
    assert (
        "Nothing was learned yet. Forecasts are taken at their word." in site.call("regret").stdout
    )
    moment = SeenMoment(job="job-default-a", seq=1, at=NOW, time_scale=1.0)
    keep(site, RegretLessons(history=RegretHistory(as_of=NOW), waiting=(moment,)))
    done = site.call("regret")
    assert f"the first until {NOW + timedelta(days=3):%Y-%m-%d %H:%M}Z" in done.stdout
    assert site.json("regret") == {"zones": [], "contests": [], "waiting": 1}


def test_shares_by_zone_and_the_rule_that_decides(site: Site) -> None:
    """Plainly where the forecast has lost, and that the annual means decide there."""
    keep(site, RegretLessons(history=HISTORY))
    done = site.call("regret")
    table, told = done.stdout.split("days: of forecasts", maxsplit=1)
    assert_fits(table)
    regret = HISTORY.regret()
    for zone in ("DE", "SE-SE3"):
        [line] = [line for line in table.splitlines() if line.startswith(zone)]
        share = regret.survival[Signal.AVERAGE, zone][9]
        assert line.endswith(f"{share:.2f}")
    assert "germany, average: the forecast has lost (390 g/kWh by the forecast's choice" in told
    assert "371 at once in aws:eu-central-1, over 28.0 days). The static rule is in use." in told
    assert "eu, average: the forecast leads (20 g/kWh" in told
    assert "young, average: 390 g/kWh" in told
    assert "371 at once in the greenest by annual mean, over 2.0 days" in told
    assert "too few to tell, the forecast decides" in told


def test_json_has_all_lead_times(site: Site) -> None:
    """The same figures as decisions go by."""
    keep(site, RegretLessons(history=HISTORY))
    data = site.json("regret")
    assert [row["zone"] for row in data["zones"]] == ["DE", "SE-SE3"]
    shares = data["zones"][0]["shares"]
    assert (
        tuple(item["share"] for item in shares) == HISTORY.regret().survival[Signal.AVERAGE, "DE"]
    )
    assert (shares[0]["from_h"], shares[0]["to_h"], shares[-1]["to_h"]) == (0, 1, None)
    rules = {row["residency"]: row["rule"] for row in data["contests"]}
    assert rules == {"eu": "forecast", "germany": "static-greenest", "young": "forecast"}
