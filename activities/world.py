"""What every decision of a moment shares, read once and kept until a part of it changes."""

from __future__ import annotations

import threading
from datetime import datetime

from activities.regret import StoredRegret
from domain.decision import World
from domain.energy import Methodology
from domain.policy import Policy
from domain.ports import PriceFeed, SignalStore
from domain.regions import RegionCatalogue


class WorldReader:
    """Builds ``World`` from the stores.

    The same object is returned while nothing changed, so that what a decision derives from it
    (prefix sums, hashes) is derived once a refresh and not once a job.
    """

    def __init__(
        self,
        signals: SignalStore,
        prices: PriceFeed,
        regret: StoredRegret,
        policy: Policy,
        catalogue: RegionCatalogue,
        methodology: Methodology,
        time_scale: float,
    ) -> None:
        """Hold the sources; nothing is read yet."""
        self._signals = signals
        self._prices = prices
        self._regret = regret
        self._policy = policy
        self._catalogue = catalogue
        self._methodology = methodology
        self._time_scale = time_scale
        self._lock = threading.Lock()
        self._held: tuple[int, World] | None = None

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @property
    def catalogue(self) -> RegionCatalogue:
        """The region catalogue in force."""
        return self._catalogue

    def read(self, now: datetime) -> World:
        """The world as the stores know it."""
        revision, prices = self._signals.revision(), self._prices.prices(now)
        regret = self._regret.regret(now)
        with self._lock:
            if self._held is not None:
                held_revision, world = self._held
                same = world.prices is prices and world.regret is regret
                if same and held_revision == revision:
                    return world
            world = World(
                forecasts=self._signals.forecasts(),
                prices=prices,
                policy=self._policy,
                catalogue=self._catalogue,
                methodology=self._methodology,
                regret=regret,
                time_scale=self._time_scale,
            )
            self._held = (revision, world)
            return world
