"""Prices from a table under version control."""

from __future__ import annotations

from datetime import datetime

from domain.prices import PriceTable


class StaticPrices:
    """A ``PriceFeed`` whose table never changes while the worker runs."""

    def __init__(self, table: PriceTable) -> None:
        """Hold the table (``policies/prices.csv``, each row with its source)."""
        self._table = table

    def prices(self, now: datetime) -> PriceTable:
        """The table, whatever ``now``."""
        del now
        return self._table
