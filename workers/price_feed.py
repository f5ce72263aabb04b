"""Where prices come from, as the settings say: the table alone, or the clouds over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from activities.prices.refresh import PriceRefresh
from activities.prices.static import StaticPrices
from activities.prices.stored import StoredPrices
from domain.ports import Documents, PriceFeed
from domain.prices import PriceTable
from workers.sections import LivePricesSettings, PriceFeedSettings, TablePricesSettings


@dataclass(frozen=True, slots=True)
class Prices:
    """What decisions read, and what brings it up to date."""

    feed: PriceFeed
    refresh: PriceRefresh
    close: Callable[[], Awaitable[None]]
    """Close the connections, in the event loop that used them."""


def prices_of(
    settings: PriceFeedSettings,
    table: PriceTable,
    documents: Documents,
    regions: Collection[str],
) -> Prices:
    """Wire the price feed.

    Args:
        settings: which kind.
        table: under version control.
        documents: where workers share what is newer.
        regions: those of the policy.

    Raises:
        ProviderMisconfigured: an address in the clear.
    """
    match settings:
        case TablePricesSettings():
            nothing = PriceRefresh((), table, documents, ())
            return Prices(StaticPrices(table), nothing, _nothing_to_close)
        case LivePricesSettings() as own:
            # The clouds' libraries take long to load: who asks no cloud does not wait for them.
            from workers.live_prices import live_sources  # noqa: PLC0415

            sources, close = live_sources(own, table)
            refresh = PriceRefresh(sources, table, documents, sorted(regions))
            return Prices(StoredPrices(table, documents), refresh, close)


async def _nothing_to_close() -> None:
    """A table is read whole."""
