"""From what sources say to the table that decisions read, over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.errors import ProviderDown, StoreUnavailable
from activities.prices.refresh import PriceRefresh
from activities.prices.stored import LOOK_EVERY, StoredPrices
from activities.stores.sqlite import SqliteStore
from domain.capacity import CapacityType
from domain.fresh_prices import FreshPrice, provenance, rows_from_json, rows_to_json
from domain.ports import DocumentName, PriceAnswer, PriceRefusal
from domain.prices import PriceTable
from domain.reclaims import Exposure, ReclaimHistory

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
STOCKHOLM, FRANKFURT, BELGIUM = "aws:eu-north-1", "aws:eu-central-1", "gcp:europe-west1"
REGIONS = (FRANKFURT, STOCKHOLM, BELGIUM)
SPOT = CapacityType.SPOT


@dataclass
class Told:
    """A source that tells one Spot price for each region that it has one of."""

    usd: dict[str, float] = field(default_factory=dict)
    cloud: str = "aws"
    fault: Exception | None = None
    hangs: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.cloud} told"

    async def fetch(self, regions: Sequence[str], now: datetime) -> PriceAnswer:
        self.asked.append(tuple(regions))
        if self.hangs:
            await asyncio.Event().wait()
        if self.fault:
            raise self.fault
        rows = tuple(
            price(region, self.usd[region], now) for region in regions if region in self.usd
        )
        absent = [region for region in regions if region not in self.usd]
        return PriceAnswer(rows, tuple(PriceRefusal(region, "no price") for region in absent))


class Odd(Told):
    """Refuses each region for a reason of its own."""

    async def fetch(self, regions: Sequence[str], now: datetime) -> PriceAnswer:
        del now
        return PriceAnswer((), tuple(PriceRefusal(region, f"odd {region}") for region in regions))


def price(region: str, usd: float, at: datetime = NOW) -> FreshPrice:
    return FreshPrice(
        region=region,
        capacity_type=SPOT,
        usd_per_vcpu_hour=usd,
        usd_per_gib_hour=0.002,
        as_of=at,
        good_until=at + 6 * HOUR,
        source="told",
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened:
        yield opened


def vcpu(table: PriceTable, region: str) -> float:
    return table.price(region, SPOT).usd_per_vcpu_hour


class TestRefresh:
    async def test_what_came_is_what_decisions_read(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """Each source is asked for its own cloud's regions; what it refuses is told."""
        aws, gcp = Told({STOCKHOLM: 0.02}), Told({BELGIUM: 0.012}, "gcp")
        report = await PriceRefresh([aws, gcp], seed, store, REGIONS).refresh(NOW)
        assert (aws.asked, gcp.asked) == ([(FRANKFURT, STOCKHOLM)], [(BELGIUM,)])
        assert (report.rows, report.refused) == (2, (f"{FRANKFURT}: aws told: no price",))
        table = StoredPrices(seed, store).prices(NOW)
        assert (vcpu(table, STOCKHOLM), vcpu(table, BELGIUM)) == (0.02, 0.012)
        assert vcpu(table, FRANKFURT) == vcpu(seed, FRANKFURT)

    async def test_a_place_that_nobody_tells_of_keeps_the_last_known(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """Marked stale after its time, by every worker; until it is told anew."""
        await PriceRefresh([Told({STOCKHOLM: 0.02})], seed, store, REGIONS).refresh(NOW)
        later = NOW + 7 * HOUR
        await PriceRefresh([Told({FRANKFURT: 0.03})], seed, store, REGIONS).refresh(later)
        table = StoredPrices(seed, store).prices(later)
        assert (vcpu(table, STOCKHOLM), vcpu(table, FRANKFURT)) == (0.02, 0.03)
        stale = {place for place, came in provenance(table).items() if came.is_stale}
        assert stale == {(STOCKHOLM, SPOT)}
        await PriceRefresh([Told({STOCKHOLM: 0.021})], seed, store, REGIONS).refresh(later)
        table = StoredPrices(seed, store).prices(later)
        assert not provenance(table)[STOCKHOLM, SPOT].is_stale

    @pytest.mark.parametrize("factor", [1 / 9, 9.0, 1000.0])
    async def test_an_absurd_price_is_refused_and_told(
        self, store: SqliteStore, seed: PriceTable, factor: float
    ) -> None:
        """Cents for dollars: the table says what is plausible, and the last known stays."""
        usual = vcpu(seed, STOCKHOLM)
        await PriceRefresh([Told({STOCKHOLM: usual * 1.5})], seed, store, [STOCKHOLM]).refresh(NOW)
        absurd = Told({STOCKHOLM: usual * factor})
        report = await PriceRefresh([absurd], seed, store, [STOCKHOLM]).refresh(NOW + HOUR)
        assert report.rows == 0
        assert report.refused[0].startswith(f"{STOCKHOLM}: spot: $")
        assert "per vCPU-hour, where the table has $0.014174" in report.refused[0]
        assert vcpu(StoredPrices(seed, store).prices(NOW + HOUR), STOCKHOLM) == usual * 1.5

    async def test_a_place_that_the_table_does_not_have_is_told(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """It would be laid over nothing."""
        report = await PriceRefresh([Told({"aws:x": 1.0})], seed, store, ["aws:x"]).refresh(NOW)
        assert report.refused == ("aws:x: spot: the price table has no row to lay it over",)

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            (Told(fault=ProviderDown("answers 503")), "answers 503"),
            (Told(fault=KeyError("x")), "failed (KeyError)"),
            (Told(hangs=True), "no answer within 0.05 s"),
        ],
        ids=["down", "defect", "hangs"],
    )
    async def test_one_sources_trouble_costs_no_other(
        self, store: SqliteStore, seed: PriceTable, source: Told, reason: str
    ) -> None:
        """It is told once, for all of its regions."""
        sources = [source, Told({BELGIUM: 0.012}, "gcp")]
        report = await PriceRefresh(sources, seed, store, REGIONS, source_s=0.05).refresh(NOW)
        assert report.rows == 1
        assert report.refused == (f"{FRANKFURT}, {STOCKHOLM}: aws told: {reason}",)

    async def test_a_report_stays_small(self, store: SqliteStore, seed: PriceTable) -> None:
        """It stands in workflow history."""
        regions = [f"aws:r{number}" for number in range(30)]
        report = await PriceRefresh([Odd()], seed, store, regions).refresh(NOW)
        assert (len(report.refused), report.refused[-1]) == (21, "10 more reasons")

    async def test_what_another_build_wrote_is_written_anew(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """A document of another form stops neither refresh nor decisions."""
        store.put_document(DocumentName.FRESH_PRICES, b"of another form")
        assert vcpu(StoredPrices(seed, store).prices(NOW), STOCKHOLM) == vcpu(seed, STOCKHOLM)
        await PriceRefresh([Told({STOCKHOLM: 0.02})], seed, store, REGIONS).refresh(NOW)
        assert len(rows_from_json(store.document(DocumentName.FRESH_PRICES))) == 1

    async def test_the_activity_asks_at_the_servers_time(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """The time is the attempt's; a second attempt changes nothing."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, started_time=NOW)
        refresh = PriceRefresh([Told({STOCKHOLM: 0.02})], seed, store, REGIONS)
        assert (await environment.run(refresh.refresh_prices)).rows == 1
        written = store.document(DocumentName.FRESH_PRICES)
        assert [row.as_of for row in rows_from_json(written)] == [NOW]
        await environment.run(refresh.refresh_prices)
        assert written == store.document(DocumentName.FRESH_PRICES)


class Counted:
    """The store's documents, and how often they were read."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.read = 0
        self.is_down = False

    def document(self, name: DocumentName) -> bytes | None:
        self.read += 1
        if self.is_down:
            raise StoreUnavailable("documents", "out of reach")
        return self._store.document(name)


class TestStoredPrices:
    def test_it_is_the_same_table_while_nothing_changed(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """Worlds, and all that decisions derive from them, hang on the object."""
        store.put_document(DocumentName.FRESH_PRICES, rows_to_json([price(STOCKHOLM, 0.02)]))
        prices = StoredPrices(seed, store)
        first = prices.prices(NOW)
        assert prices.prices(NOW + timedelta(seconds=1)) is first
        assert prices.prices(NOW + HOUR) is first
        store.put_document(DocumentName.FRESH_PRICES, rows_to_json([price(STOCKHOLM, 0.03)]))
        later = prices.prices(NOW + 2 * HOUR)
        assert later is not first
        assert (vcpu(first, STOCKHOLM), vcpu(later, STOCKHOLM)) == (0.02, 0.03)

    def test_without_anything_newer_it_is_the_seed_itself(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """A fresh installation decides by the table under version control."""
        assert StoredPrices(seed, store).prices(NOW) is seed

    def test_the_store_is_looked_at_now_and_then(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """However many decisions there are; what is new is seen within that time."""
        counted = Counted(store)
        prices = StoredPrices(seed, counted)
        for second in range(30):
            prices.prices(NOW + timedelta(seconds=second))
        assert counted.read == 2
        store.put_document(DocumentName.FRESH_PRICES, rows_to_json([price(STOCKHOLM, 0.02)]))
        assert vcpu(prices.prices(NOW + LOOK_EVERY), STOCKHOLM) == 0.02
        assert counted.read == 4

    def test_a_price_becomes_stale_without_anyones_doing(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """Once: the table changes then, and stays."""
        store.put_document(DocumentName.FRESH_PRICES, rows_to_json([price(STOCKHOLM, 0.02)]))
        prices = StoredPrices(seed, store)
        fresh = prices.prices(NOW)
        stale = prices.prices(NOW + 7 * HOUR)
        assert stale is not fresh
        assert provenance(stale)[STOCKHOLM, SPOT].is_stale
        assert vcpu(stale, STOCKHOLM) == vcpu(fresh, STOCKHOLM)
        assert prices.prices(NOW + 700 * HOUR) is stale

    def test_learned_reclaims_stand_in_spot_rows(
        self, store: SqliteStore, seed: PriceTable
    ) -> None:
        """Of the regions that were learned of."""
        history = ReclaimHistory(as_of=NOW, regions={STOCKHOLM: Exposure(hours=1000, reclaims=20)})
        store.put_document(DocumentName.RECLAIMS, history.model_dump_json().encode())
        table = StoredPrices(seed, store).prices(NOW)
        assert table.price(STOCKHOLM, SPOT).reclaims_per_hour == pytest.approx(0.01, rel=0.01)
        assert table.price(STOCKHOLM, CapacityType.ON_DEMAND).reclaims_per_hour == 0
        assert table.price(FRANKFURT, SPOT) == seed.price(FRANKFURT, SPOT)

    def test_a_store_out_of_reach_is_told(self, store: SqliteStore, seed: PriceTable) -> None:
        """The step is tried again, as for all else that a decision reads; the next look counts."""
        counted = Counted(store)
        prices = StoredPrices(seed, counted)
        counted.is_down = True
        with pytest.raises(StoreUnavailable):
            prices.prices(NOW)
        counted.is_down = False
        store.put_document(DocumentName.FRESH_PRICES, rows_to_json([price(STOCKHOLM, 0.02)]))
        assert vcpu(prices.prices(NOW), STOCKHOLM) == 0.02
