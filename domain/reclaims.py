"""What Spot reclaims cost, which is work done again, and how often they come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from domain.job import Payload

_SMALL = 1e-9
_HOPELESS = 20.0
"""Expected reclaims of one run beyond which it hardly ever ends: more would tell nothing apart."""


def expected_rework_factor(reclaims_per_hour: float, hours: float) -> float:
    """Expected running time over useful time, for a job that starts over at each reclaim.

    With reclaims as a Poisson process of rate ``l`` and a job of length ``T``, the expected time
    until one undisturbed run is done is ``(exp(lT) - 1) / l`` (Daly, "A higher order estimate of
    the optimum checkpoint interval", FGCS 2006, with neither checkpoint nor restart cost); over
    ``T`` that is ``(exp(lT) - 1) / (lT)``, 1 for no reclaims; ``lT`` counts as 20 at most.
    """
    exposure = min(reclaims_per_hour * hours, _HOPELESS)
    return 1.0 if exposure < _SMALL else math.expm1(exposure) / exposure


# ── learned from our own runs ────────────────────────────────────────────────────────────────

HALF_LIFE = timedelta(days=30)
"""After this time what was learned counts half: a pool's mood lasts weeks, not a year."""

PSEUDO_EXPOSURE_H = 1000.0
"""Run hours that the table's rate counts for. A first reclaim lifts a rate to some 0.001 an hour,
which adds half a percent to a ten-hour job: noted, and no panic. A thousand hours of our own runs
outweigh the table."""

_DIGITS = 6
"""Significant digits of a learned rate; more would only make tables differ."""


class Exposure(Payload):
    """Spot runs: for how long they could have been taken back, and how often they were."""

    hours: float = Field(ge=0, allow_inf_nan=False)
    """Accounted hours, as ``reclaims_per_hour`` is per accounted hour."""
    reclaims: float = Field(ge=0, allow_inf_nan=False)

    def __add__(self, other: Exposure) -> Exposure:
        """Both together."""
        return Exposure(hours=self.hours + other.hours, reclaims=self.reclaims + other.reclaims)

    def weighted(self, weight: float) -> Exposure:
        """Counted for a part."""
        return Exposure(hours=self.hours * weight, reclaims=self.reclaims * weight)


class ReclaimHistory(Payload):
    """What our own runs have shown of each region, as it counts at ``as_of``."""

    as_of: AwareDatetime
    regions: Mapping[str, Exposure] = Field(default_factory=dict)

    def and_then(self, runs: Iterable[tuple[str, Exposure]], now: datetime) -> ReclaimHistory:
        """With ``runs`` of regions, learned at ``now``; what was learned before has faded.

        The decay is over time on the clock, whatever pace a trace is replayed at.
        """
        as_of = max(now, self.as_of)
        faded = 0.5 ** ((as_of - self.as_of) / HALF_LIFE)
        regions = {region: found.weighted(faded) for region, found in self.regions.items()}
        for region, exposure in runs:
            regions[region] = regions[region] + exposure if region in regions else exposure
        return ReclaimHistory(as_of=as_of, regions=dict(sorted(regions.items())))


def learned_rate(believed_per_hour: float, exposure: Exposure) -> float:
    """Reclaims an hour, given what was believed and what our own runs show.

    The mean of a Gamma-Poisson posterior: reclaims over hours, where the belief stands for
    ``PSEUDO_EXPOSURE_H`` hours at its rate (Gelman et al., "Bayesian Data Analysis", 2.6).
    """
    reclaims = exposure.reclaims + believed_per_hour * PSEUDO_EXPOSURE_H
    return float(f"{reclaims / (exposure.hours + PSEUDO_EXPOSURE_H):.{_DIGITS}g}")
