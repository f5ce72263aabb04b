"""The floor under everything: one figure a year for each zone, as the clouds' regions have it.

Google publishes its regions' grid intensity yearly; AWS publishes none for machines, and the Green
Software Foundation's Real Time Cloud data give its regions' yearly means. Both stand in the region
catalogue. A flat forecast cannot choose an hour, but it can choose a place.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.forecast import Forecast, Signal
from domain.ports import ProviderAnswer
from domain.regions import Region, RegionCatalogue

NAME = "published"
HORIZON_HOURS = 48
HOUR = timedelta(hours=1)


class Published:
    """A ``SignalProvider`` of one signal over the catalogue's yearly figures."""

    def __init__(
        self, catalogue: RegionCatalogue, signal: Signal, *, horizon_hours: int = HORIZON_HOURS
    ) -> None:
        """Read the figures; regions without one are passed over.

        Args:
            catalogue: the region catalogue in force.
            signal: which of its two columns.
            horizon_hours: how far the flat line goes.
        """
        self._signal = signal
        self._horizon_hours = horizon_hours
        self._regions: dict[str, list[Region]] = defaultdict(list)
        for region in catalogue.regions.values():
            zone = region.zone(signal)
            if zone is not None and self._figure(region) is not None:
                self._regions[zone].append(region)

    @property
    def name(self) -> str:
        """As it stands in each forecast."""
        return NAME

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """A flat forecast of each zone that has a figure, issued now."""
        return ProviderAnswer(
            tuple(self._forecast(zone, now) for zone in zones if zone in self._regions), ()
        )

    def _forecast(self, zone: str, now: datetime) -> Forecast:
        regions = self._regions[zone]
        figures = [figure for item in regions if (figure := self._figure(item)) is not None]
        years = sorted({str(item.annual_year) for item in regions if item.annual_year})
        return Forecast(
            zone=zone,
            signal=self._signal,
            provider=NAME,
            methodology=f"yearly mean {'/'.join(years)}, {len(figures)} regions of the catalogue",
            issued_at=now,
            start=now.replace(minute=0, second=0, microsecond=0),
            step_s=HOUR.total_seconds(),
            values=(round(statistics.fmean(figures), 3),) * self._horizon_hours,
        )

    def _figure(self, region: Region) -> float | None:
        if self._signal is Signal.AVERAGE:
            return region.average_annual_g_per_kwh
        return region.marginal_annual_g_per_kwh
