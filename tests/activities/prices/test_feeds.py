"""Both price feeds against the one contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.prices.static import StaticPrices
from activities.prices.stored import StoredPrices
from activities.stores.sqlite import SqliteStore
from domain.fresh_prices import rows_to_json
from domain.ports import DocumentName, PriceFeed
from domain.prices import PriceTable
from domain.reclaims import Exposure, ReclaimHistory
from tests.activities.prices.test_refresh import STOCKHOLM, price
from tests.contracts.price_feed import NOW, PriceFeedContract


class TestStaticPrices(PriceFeedContract):
    @pytest.fixture
    def feed(self, seed: PriceTable) -> PriceFeed:
        return StaticPrices(seed)


class TestStoredPrices(PriceFeedContract):
    """With a fresh price, one of a place that the table lacks, and a learned rate."""

    @pytest.fixture
    def feed(self, seed: PriceTable, tmp_path: Path) -> Iterator[PriceFeed]:
        history = ReclaimHistory(as_of=NOW, regions={STOCKHOLM: Exposure(hours=1000, reclaims=20)})
        rows = [price(STOCKHOLM, 0.02), price("aws:mars-1", 0.02)]
        with SqliteStore(tmp_path / "lowtide.db") as store:
            store.put_document(DocumentName.FRESH_PRICES, rows_to_json(rows))
            store.put_document(DocumentName.RECLAIMS, history.model_dump_json().encode())
            yield StoredPrices(seed, store)
