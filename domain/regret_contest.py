"""Whether forecasts beat annual means: the contest between both, on what really came.

Held at each moment by residency class, it needs no job, so it goes on whichever rule decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field

from domain.forecast import Forecast, Signal
from domain.job import Payload
from domain.policy import Policy
from domain.regions import Region, RegionCatalogue
from domain.regret import Regret, leads_h

CONTEST_DAYS = 7.0
"""Fewer days decide no contest."""

COUNTS_AT_MOST = timedelta(hours=12)
"""An issue counts for the accounted time since the one learned before it, up to this: forecasts of
one hour say one thing, however often they are asked for, and errors last for some hours."""

CHOICE_AHEAD_H = 24.0
"""How far the forecast's choice looks, accounted hours."""

Floats = NDArray[np.float64]

Classes = Mapping[str, Sequence[Region]]
"""Residency class -> its legal regions."""


def classes_of(policy: Policy, catalogue: RegionCatalogue) -> Classes:
    """Each residency class of a policy."""
    return {
        name: [catalogue.get(region) for region in policy.legal_regions(name, catalogue)]
        for name in sorted(policy.residency)
    }


def greenest_by_year(regions: Iterable[Region], signal: Signal) -> Region | None:
    """The least annual mean, PUE included; ``None`` where no region has one."""
    means = [
        (annual * region.pue, region.id, region)
        for region in regions
        if (annual := region.annual_g_per_kwh(signal)) is not None
    ]
    return min(means)[2] if means else None


def days_counted(newest: datetime | None, issued_at: datetime, time_scale: float) -> float:
    """Days that an issue counts for after ``newest``; 0 where it is not newer."""
    since = COUNTS_AT_MOST if newest is None else (issued_at - newest) * time_scale
    return max(timedelta(0), min(COUNTS_AT_MOST, since)) / timedelta(days=1)


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """A region at one moment: what was foretold there, and what came."""

    region: Region
    forecast: Forecast
    came: Floats
    """(steps,): gCO2eq/kWh, not a number where it was not observed."""

    def really(self, step: int) -> float:
        """What came, PUE included."""
        return float(self.came[step]) * self.region.pue if step < len(self.came) else math.nan

    def cleanest(self, regret: Regret, time_scale: float) -> tuple[float, int]:
        """(least expected intensity within the time that a choice looks ahead, its step)."""
        forecast = regret.expected(self.forecast, time_scale)
        count = max(1, int((leads_h(forecast, time_scale) < CHOICE_AHEAD_H).sum()))
        step = int(np.argmin(forecast.values[:count]))
        return forecast.values[step] * self.region.pue, step


class Contest(Payload):
    """The forecast's choices against the greenest region by annual mean at once, in one class."""

    newest: AwareDatetime | None = None
    """When the newest forecast that counts was issued."""
    days: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    forecast_sum: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """What the forecast's choices really had, g/kWh x PUE x days."""
    static_sum: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """The same of the annual mean's."""

    @property
    def forecast_g_per_kwh(self) -> float | None:
        """What the forecast's choices really had on the mean, PUE included."""
        return self.forecast_sum / self.days if self.days else None

    @property
    def static_g_per_kwh(self) -> float | None:
        """The same of the annual mean's."""
        return self.static_sum / self.days if self.days else None

    @property
    def lost(self) -> bool:
        """Whether the forecast's choices were the worse ones, over days enough to tell."""
        return self.days >= CONTEST_DAYS and self.forecast_sum > self.static_sum

    def faded(self, left: float) -> Contest:
        """Counted for a part."""
        return Contest(
            newest=self.newest,
            days=left * self.days,
            forecast_sum=left * self.forecast_sum,
            static_sum=left * self.static_sum,
        )

    def and_then(self, rivals: Sequence[Rival], regret: Regret, time_scale: float) -> Contest:
        """With one moment more, if it is newer and what both choices came to was observed.

        Args:
            rivals: the class's regions that have a forecast; at least one.
            regret: what the forecast's choice goes by.
            time_scale: accounted seconds for each second on the clock.
        """
        issued_at = max(rival.forecast.issued_at for rival in rivals)
        days = days_counted(self.newest, issued_at, time_scale)
        greenest = greenest_by_year((rival.region for rival in rivals), rivals[0].forecast.signal)
        if not days or greenest is None:
            return self
        static_g = next(rival for rival in rivals if rival.region is greenest).really(0)
        (_, step), _, chosen = min(
            (rival.cleanest(regret, time_scale), rival.region.id, at)
            for at, rival in enumerate(rivals)
        )
        forecast_g = rivals[chosen].really(step)
        if math.isnan(static_g) or math.isnan(forecast_g):
            return self
        return Contest(
            newest=issued_at,
            days=self.days + days,
            forecast_sum=self.forecast_sum + days * forecast_g,
            static_sum=self.static_sum + days * static_g,
        )
