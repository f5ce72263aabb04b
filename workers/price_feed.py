"""Where prices come from, as the settings say: the table alone, or the clouds over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial

from activities.compute.gke_cluster import AdcTokens
from activities.prices import ec2_spot
from activities.prices.aws_price_list import Ec2OnDemand, Fargate, PriceList
from activities.prices.ec2_spot import Ec2Spot
from activities.prices.gcp_billing import GcpBilling, open_catalogue_client
from activities.prices.refresh import PriceRefresh
from activities.prices.static import StaticPrices
from activities.prices.stored import StoredPrices
from domain.ports import Documents, PriceFeed, PriceSource
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
            client = open_catalogue_client()
            google = GcpBilling(client, AdcTokens().token, own.gcp_family, _url(own.billing_url))
            sources = (*_of_aws(own, table), google)
            refresh = PriceRefresh(sources, table, documents, sorted(regions))
            return Prices(StoredPrices(table, documents), refresh, client.aclose)


def _of_aws(own: LivePricesSettings, table: PriceTable) -> tuple[PriceSource, ...]:
    at = None if own.price_list_url is None else _url(own.price_list_url)
    price_list = PriceList(partial(ec2_spot.connect, "pricing", own.price_list_region, at))
    if own.aws == "fargate":
        return (Fargate(price_list),)
    ec2_at = None if own.ec2_url is None else _url(own.ec2_url)
    return (
        Ec2OnDemand(price_list, own.instance_types, table),
        Ec2Spot(own.instance_types, table, partial(ec2_spot.connect, "ec2", endpoint_url=ec2_at)),
    )


def _url(setting: object) -> str:
    return str(setting).rstrip("/")


async def _nothing_to_close() -> None:
    """A table is read whole."""
