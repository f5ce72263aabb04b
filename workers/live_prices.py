"""The clouds' own prices, as the settings say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from activities.compute.gke_cluster import AdcTokens
from activities.prices import ec2_spot
from activities.prices.aws_price_list import Ec2OnDemand, Fargate, PriceList
from activities.prices.ec2_spot import Ec2Spot
from activities.prices.gcp_billing import GcpBilling, open_catalogue_client
from domain.ports import PriceSource
from domain.prices import PriceTable
from workers.sections import LivePricesSettings


def live_sources(
    own: LivePricesSettings, table: PriceTable
) -> tuple[tuple[PriceSource, ...], Callable[[], Awaitable[None]]]:
    """Who is asked, and how to close the connections.

    Raises:
        ProviderMisconfigured: an address in the clear.
    """
    client = open_catalogue_client()
    google = GcpBilling(client, AdcTokens().token, own.gcp_family, _url(own.billing_url))
    return (*_of_aws(own, table), google), client.aclose


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
