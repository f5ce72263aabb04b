"""Prices as workers share them: the table under version control, and what was learned since."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from domain.fresh_prices import learned_rates, overlaid, rows_from_json
from domain.ports import DocumentName, Documents
from domain.prices import PriceTable, parse_prices
from domain.reclaims import ReclaimHistory

LOOK_EVERY = timedelta(seconds=30)
"""What is newer is seen by every worker within this time."""

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class StoredPrices:
    """A ``PriceFeed``: fresh rows and learned reclaim rates of the store over a seed table.

    Asked for all the time, it looks at the store every ``LOOK_EVERY`` at most, and returns the same
    table while no figure and no mark of staleness has changed.
    """

    def __init__(self, seed: PriceTable, documents: Documents) -> None:
        """Hold the table under version control, and where the rest stands."""
        self._seed = seed
        self._documents = documents
        self._lock = threading.Lock()
        self._looked_at: datetime | None = None
        self._table = seed

    def prices(self, now: datetime) -> PriceTable:
        """The newest table that this process knows of."""
        with self._lock:
            if self._looked_at is None or now - self._looked_at >= LOOK_EVERY:
                self._look(now)
                self._looked_at = now
            return self._table

    def _look(self, now: datetime) -> None:
        rows = self._read(DocumentName.FRESH_PRICES, rows_from_json) or ()
        history = self._read(DocumentName.RECLAIMS, ReclaimHistory.model_validate_json)
        compute_csv, egress_csv = self._seed.source_texts
        text = overlaid(compute_csv, rows, learned_rates(self._seed, history), now)
        if text != self._table.source_texts[0]:
            self._table = parse_prices(text, egress_csv)

    def _read(self, name: DocumentName, parse: Callable[[bytes], T]) -> T | None:
        """A document; nothing where there is none, or none that this build can read."""
        content = self._documents.document(name)
        try:
            return None if content is None else parse(content)
        except ValueError:
            _LOG.warning("document %s is of another form; the price table stands in for it", name)
            return None
