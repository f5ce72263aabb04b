from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import CapacityType
from domain.fresh_prices import (
    LIVE,
    STALE,
    FreshPrice,
    LearnedRate,
    learned_rates,
    newest,
    overlaid,
    provenance,
    rows_from_json,
    rows_to_json,
)
from domain.prices import PriceTable, parse_prices
from domain.reclaims import Exposure, ReclaimHistory

POLICIES = Path(__file__).parents[2] / "policies"
COMPUTE = (POLICIES / "prices.csv").read_text()
EGRESS = (POLICIES / "egress.csv").read_text()
SEED = parse_prices(COMPUTE, EGRESS)
PLACES = sorted(SEED.compute)
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
STOCKHOLM = "aws:eu-north-1"

PRICES = st.floats(1e-9, 1e3)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters=";:", exclude_categories=["Cc"]), max_size=20
)


def fresh(
    region: str = STOCKHOLM,
    kind: CapacityType = CapacityType.SPOT,
    vcpu: float = 0.02,
    gib: float = 0.003,
    at: datetime = NOW,
    source: str = "told",
) -> FreshPrice:
    return FreshPrice(
        region=region,
        capacity_type=kind,
        usd_per_vcpu_hour=vcpu,
        usd_per_gib_hour=gib,
        as_of=at,
        good_until=at + 6 * HOUR,
        source=source,
    )


ROWS = st.lists(
    st.builds(
        lambda place, vcpu, gib, age, source: fresh(*place, vcpu, gib, NOW - age * HOUR, source),
        st.sampled_from(PLACES),
        PRICES,
        PRICES,
        st.integers(0, 12),
        TEXTS,
    ),
    max_size=12,
)
RATES = st.dictionaries(
    st.sampled_from([region for region, _ in PLACES]),
    st.builds(LearnedRate, st.floats(0, 10), TEXTS.filter(bool)),
    max_size=6,
)


def table(rows: list[FreshPrice], rates: dict[str, LearnedRate], now: datetime = NOW) -> PriceTable:
    return parse_prices(overlaid(COMPUTE, rows, rates, now), EGRESS)


def cells(text: str) -> dict[tuple[str, str], dict[str, str]]:
    rows = csv.DictReader(io.StringIO(text.partition("\n")[2]))
    return {(row["region"], row["capacity_type"]): row for row in rows}


class TestOverlay:
    @given(ROWS, RATES)
    def test_it_parses_to_exactly_what_was_laid_over(
        self, rows: list[FreshPrice], rates: dict[str, LearnedRate]
    ) -> None:
        """The newest row of a place to the last bit, learned rates on Spot, all else the seed's."""
        told = {row.place: row for row in sorted(rows, key=lambda row: row.as_of)}
        found = table(rows, rates)
        assert found.compute.keys() == SEED.compute.keys()
        for place, price in found.compute.items():
            region, kind = place
            seed = SEED.compute[place]
            age = max((row.as_of for row in rows if row.place == place), default=None)
            candidates = [row for row in rows if row.place == place and row.as_of == age]
            expected = {(row.usd_per_vcpu_hour, row.usd_per_gib_hour) for row in candidates} or {
                (seed.usd_per_vcpu_hour, seed.usd_per_gib_hour)
            }
            assert (price.usd_per_vcpu_hour, price.usd_per_gib_hour) in expected
            assert price.usd_per_gpu_hour == seed.usd_per_gpu_hour
            learned = rates.get(region) if kind is CapacityType.SPOT else None
            rate = learned.reclaims_per_hour if learned else seed.reclaims_per_hour
            assert price.reclaims_per_hour == rate
            stale = place in told and told[place].good_until < NOW
            assert provenance(found)[place].is_stale is stale

    @given(ROWS, RATES, st.randoms())
    def test_it_is_the_same_in_any_order(
        self, rows: list[FreshPrice], rates: dict[str, LearnedRate], chance: random.Random
    ) -> None:
        """Also where two rows of a place are of one time."""
        mixed = chance.sample(rows, len(rows))
        turned = dict(reversed(rates.items()))
        assert overlaid(COMPUTE, rows, rates, NOW) == overlaid(COMPUTE, mixed, turned, NOW)

    @given(ROWS, RATES)
    def test_the_same_again_changes_nothing(
        self, rows: list[FreshPrice], rates: dict[str, LearnedRate]
    ) -> None:
        """Neither figures nor marks nor the version pile up."""
        once = overlaid(COMPUTE, rows, rates, NOW)
        assert overlaid(once, rows, rates, NOW) == once

    def test_without_anything_to_lay_over_it_is_the_seed(self) -> None:
        """To the byte, so that its hash is the one that the table under version control has."""
        assert overlaid(COMPUTE, [], {}, NOW) == COMPUTE

    def test_rows_that_nobody_told_of_stay_to_the_letter(self) -> None:
        """Each cell, and its source."""
        before, after = cells(COMPUTE), cells(overlaid(COMPUTE, [fresh()], {}, NOW))
        del before[STOCKHOLM, "spot"], after[STOCKHOLM, "spot"]
        assert before == after

    def test_a_row_says_where_each_figure_comes_from(self) -> None:
        """Of a fresh price, the table's reclaims are still the table's; and the other way round."""
        rate = LearnedRate(0.002, "learned")
        sources = {
            name: provenance(table(rows, rates))[STOCKHOLM, CapacityType.SPOT]
            for name, rows, rates in (
                ("price", [fresh()], {}),
                ("rate", [], {STOCKHOLM: rate}),
                ("both", [fresh()], {STOCKHOLM: rate}),
            )
        }
        assert sources["price"].source.startswith("told; reclaims: Spot Instance Advisor")
        assert sources["price"].as_of == "2026-11-24T09:00Z"
        assert sources["rate"].source.startswith("inferred: 0.4 of the on-demand price")
        assert sources["rate"].source.endswith("; reclaims: learned")
        assert sources["rate"].as_of == "2026-09"
        assert sources["both"].source == "told; reclaims: learned"

    def test_a_price_that_is_not_refreshed_is_kept_and_marked(self) -> None:
        """From its limit on, and no longer once it is told anew."""
        late = NOW + 6 * HOUR
        assert not provenance(table([fresh()], {}, late))[fresh().place].is_stale
        found = table([fresh()], {}, late + timedelta(seconds=1))
        assert found.price(*fresh().place).usd_per_vcpu_hour == 0.02
        assert provenance(found)[fresh().place].source.startswith(f"{STALE}told; reclaims: ")
        again = table([fresh(), fresh(at=late)], {}, late + HOUR)
        assert not provenance(again)[fresh().place].is_stale

    def test_the_version_says_so(self) -> None:
        """A decision says by which table it was made."""
        assert table([fresh()], {}).version == f"{SEED.version}{LIVE}"

    def test_places_that_the_table_does_not_have_are_left_out(self) -> None:
        """Nothing is known of their reclaims, nor of whether they may be used."""
        found = table([fresh("aws:mars-1")], {"aws:mars-1": LearnedRate(1.0, "learned")})
        assert found.compute == SEED.compute


class TestDocument:
    @given(ROWS)
    def test_rows_are_read_back_as_they_were_written(self, rows: list[FreshPrice]) -> None:
        """The newest of each place."""
        assert rows_from_json(rows_to_json(rows)) == newest(rows)
        assert len(newest(rows)) == len({row.place for row in rows})

    @pytest.mark.parametrize(
        "spoilt",
        [
            b"{}",
            b"[1]",
            b"not JSON",
            rows_to_json([fresh()]).replace(b"0.02", b"-0.02"),
            rows_to_json([fresh()]).replace(b"0.02", b"0"),
            rows_to_json([fresh()]).replace(b"told", b"two\\nlines"),
            rows_to_json([fresh()]).replace(b"+00:00", b"").replace(b"00Z", b"00"),
        ],
    )
    def test_what_is_of_another_form_is_refused(self, spoilt: bytes) -> None:
        """A price of nothing or less, a time without a zone."""
        with pytest.raises(ValueError, match="validation error"):
            rows_from_json(spoilt)


class TestLearnedRates:
    def test_the_tables_rate_is_what_was_believed(self) -> None:
        """3 reclaims in 1,000 h, with the table's 0.000107 for another 1,000 h."""
        history = ReclaimHistory(as_of=NOW, regions={STOCKHOLM: Exposure(hours=1000, reclaims=3)})
        rates = learned_rates(SEED, history)
        assert rates[STOCKHOLM].reclaims_per_hour == 0.0015535
        assert "1000.0 h of our own Spot runs, 3.00 reclaims" in rates[STOCKHOLM].source
        assert table([], dict(rates)).price(STOCKHOLM, CapacityType.SPOT).reclaims_per_hour == (
            0.0015535
        )

    def test_regions_without_runs_or_without_a_row_have_none(self) -> None:
        """The table's rate stands there."""
        history = ReclaimHistory(as_of=NOW, regions={"aws:mars-1": Exposure(hours=9, reclaims=9)})
        assert learned_rates(SEED, history) == learned_rates(SEED, None) == {}
