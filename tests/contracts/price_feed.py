"""What every ``PriceFeed`` does. An adapter's tests subclass this with a fixture ``feed``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.ports import PriceFeed
from domain.prices import PriceTable, parse_prices

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


class PriceFeedContract:
    def test_it_is_the_same_table_while_nothing_changes(self, feed: PriceFeed) -> None:
        """The object itself: worlds, and all that decisions derive from them, hang on it."""
        first = feed.prices(NOW)
        for later in (timedelta(0), timedelta(seconds=1), timedelta(hours=1)):
            assert feed.prices(NOW + later) is first

    def test_the_table_is_what_its_texts_say(self, feed: PriceFeed) -> None:
        """The ledger keeps the texts: parsed again, they are the same table."""
        table = feed.prices(NOW)
        assert parse_prices(*table.source_texts) == table

    def test_it_has_the_places_of_the_table_under_version_control(
        self, feed: PriceFeed, seed: PriceTable
    ) -> None:
        """Whatever is newer: no more and no fewer."""
        assert feed.prices(NOW).compute.keys() == seed.compute.keys()
