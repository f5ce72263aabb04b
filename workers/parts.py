"""Every part of the product behind its port, as the wiring chose it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from activities.prices.refresh import PriceRefresh
from activities.refresh import Signals
from activities.world import WorldReader
from domain.forecast import Forecast
from domain.policy import Policy
from domain.ports import (
    ComputeBackend,
    Documents,
    Ledger,
    PriceFeed,
    Room,
    SignalHistory,
    SignalStore,
)
from domain.regions import RegionCatalogue
from workers.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """Every part, behind its port."""

    settings: Settings
    policy: Policy
    catalogue: RegionCatalogue
    signals: SignalStore
    ledger: Ledger
    room: Room
    refresher: Signals
    """Asks the providers; the activity of it, and what other clocks call."""
    history: SignalHistory
    """What was observed: beside the signal store, or the store itself."""
    prices: PriceFeed
    price_refresh: PriceRefresh
    """Asks the sources of prices; none where the price table stands alone."""
    documents: Documents
    compute: ComputeBackend
    world: WorldReader
    close: Callable[[], Awaitable[None]]
    """Close connections to providers. Those of stores end with the process."""

    def steering_forecasts(self) -> Mapping[str, Forecast]:
        """The newest forecast of the signal that steers, by enabled region."""
        steering = self.policy.steering_signal
        by_zone = {item.zone: item for item in self.signals.forecasts() if item.signal is steering}
        zones = {
            region: self.catalogue.get(region).zone(steering) or ""
            for region in self.policy.regions
        }
        return {region: by_zone[zone] for region, zone in zones.items() if zone in by_zone}
