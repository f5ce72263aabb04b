"""Every part of the product behind its port, as the wiring chose it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from activities.world import WorldReader
from domain.forecast import Forecast
from domain.policy import Policy
from domain.ports import ComputeBackend, Ledger, PriceFeed, Room, SignalProvider, SignalStore
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
    provider: SignalProvider
    prices: PriceFeed
    compute: ComputeBackend
    world: WorldReader

    @property
    def zones(self) -> tuple[str, ...]:
        """Grid zones of the regions that the policy enables, sorted."""
        zones = {self.catalogue.get(region).grid_zone for region in self.policy.regions}
        return tuple(sorted(zone for zone in zones if zone))

    def steering_forecasts(self) -> Mapping[str, Forecast]:
        """The newest forecast of the signal that steers, by enabled region."""
        by_zone = {
            item.zone: item
            for item in self.signals.forecasts()
            if item.signal is self.policy.steering_signal
        }
        zones = {
            region: self.catalogue.get(region).grid_zone or "" for region in self.policy.regions
        }
        return {region: by_zone[zone] for region, zone in zones.items() if zone in by_zone}
