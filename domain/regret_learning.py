"""What is learned of regret: forecasts as they were issued against what came.

How much of a promised change comes true is a slope, by signal, zone and lead time: that of what
came on what was promised, through the origin. Each is counted from its own first step: a saving is
against running now, so what now turned out to be is part of what came. (Against the forecast's own
first value, that value's error would stand on both sides and pass for skill.) The sums fade with a
half-life, and where they stand for few days the slope is shrunk to the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field

from domain.forecast import Forecast, Signal
from domain.job import Payload
from domain.regret import BUCKETS, LEAD_EDGES_H, Regret, leads_h
from domain.regret_contest import Classes, Contest, Rival, days_counted
from domain.settlement import Observed

LEARNED_AHEAD = timedelta(hours=48)
"""Accounted time ahead of its start up to which a forecast is held against what came."""

HALF_LIFE = timedelta(days=21)
"""Accounted time after which what was learned counts half: weather and models change by season."""

PSEUDO_DAYS = 7.0
"""Days of forecasts that a belief counts for. A week of our own counts as much, a month more."""

_LEAST_COVER = 0.5
"""Share of a step that must be observed."""

_ROUNDING = 1e-6

_SHARE_DIGITS = 2
"""More would only make regrets, and so worlds, differ for nothing."""

Floats = NDArray[np.float64]
T = TypeVar("T")

_Sums = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...],
    Field(min_length=BUCKETS, max_length=BUCKETS),
]
_Weights = Annotated[
    tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...],
    Field(min_length=BUCKETS, max_length=BUCKETS),
]
_NOTHING = (0.0,) * BUCKETS


class Kept(Payload):
    """One zone's promises and what was kept of them, by lead bucket."""

    newest: AwareDatetime | None = None
    """When the newest forecast that counts was issued: none counts twice."""
    days: _Weights = _NOTHING
    """Days that the forecasts of a bucket stand for; 0 where none promised any change."""
    promised: _Weights = _NOTHING
    """Squares of the promised change, (g/kWh)^2 x days."""
    product: _Sums = _NOTHING
    """Products of promised and real change, the same unit."""

    def faded(self, left: float) -> Kept:
        """Counted for a part."""
        sums = {
            name: _scaled(getattr(self, name), left) for name in ("days", "promised", "product")
        }
        return self.model_copy(update=sums)

    def and_then(self, forecast: Forecast, came: Floats, time_scale: float) -> Kept:
        """With one forecast more, if it is newer."""
        days = days_counted(self.newest, forecast.issued_at, time_scale)
        if not days:
            return self
        values = np.asarray(forecast.values[: len(came)])
        promised, real = values - values[:1], came - came[:1]
        known = (promised != 0) & ~np.isnan(real)
        leads = leads_h(forecast, time_scale)[: len(came)][known]
        bucket = np.searchsorted(LEAD_EDGES_H, leads, side="right")
        count = np.bincount(bucket, minlength=BUCKETS)

        def with_mean(sums: tuple[float, ...], values: Floats) -> tuple[float, ...]:
            total = np.bincount(bucket, weights=values[known], minlength=BUCKETS)
            return tuple((sums + days * total / np.maximum(count, 1)).tolist())

        return Kept(
            newest=forecast.issued_at,
            days=tuple((self.days + days * (count > 0)).tolist()),
            promised=with_mean(self.promised, promised**2),
            product=with_mean(self.product, promised * real),
        )


class RegretHistory(Payload):
    """All that was learned, as it counts at ``as_of``."""

    as_of: AwareDatetime
    zones: Mapping[Signal, Mapping[str, Kept]] = Field(default_factory=dict)
    contests: Mapping[Signal, Mapping[str, Contest]] = Field(default_factory=dict)
    """By residency class."""

    def learn(
        self,
        issues: Iterable[tuple[Forecast, ...]],
        observed: Observed,
        classes: Classes,
        now: datetime,
        time_scale: float = 1.0,
    ) -> RegretHistory:
        """With ``issues`` learned at ``now``; what was learned before has faded.

        Their order does not matter. A forecast issued no later than what was learned of its zone
        adds nothing, so that one which several jobs saw counts once. Hours that are not observed
        are left out: give an issue when those of ``LEARNED_AHEAD`` are known.

        Args:
            issues: each the forecasts of all zones that stood at one moment.
            observed: what came.
            classes: among whose regions contests are held.
            now: on the clock.
            time_scale: accounted seconds for each second on the clock.
        """
        as_of = max(now, self.as_of)
        left = 0.5 ** ((as_of - self.as_of) * time_scale / HALF_LIFE)
        zones = {key: kept.faded(left) for key, kept in _flat(self.zones).items()}
        contests = {key: found.faded(left) for key, found in _flat(self.contests).items()}
        regret = self.regret()
        for issue in sorted(issues, key=_order):
            seen = {(item.signal, item.zone): item for item in issue if item.values}
            came = {key: _came(item, observed, time_scale) for key, item in seen.items()}
            for key, item in seen.items():
                zones[key] = zones.get(key, Kept()).and_then(item, came[key], time_scale)
            for signal in sorted({signal for signal, _ in seen}):
                for name, regions in classes.items():
                    places = [(region, (signal, region.zone(signal) or "")) for region in regions]
                    rivals = [
                        Rival(region, seen[key], came[key]) for region, key in places if key in seen
                    ]
                    if rivals:
                        held = contests.get((signal, name), Contest())
                        contests[signal, name] = held.and_then(rivals, regret, time_scale)
        return RegretHistory(as_of=as_of, zones=_nested(zones), contests=_nested(contests))

    def regret(self) -> Regret:
        """What decisions go by.

        A slope is clipped to 0..1 and shrunk where it stands for few days: each zone's towards
        that of all zones at its lead time, this one towards that of the lead time before it, and
        the nearest towards 1, which takes forecasts at their word. Each belief counts for
        ``PSEUDO_DAYS`` (the mean of a normal posterior; Gelman et al., "Bayesian Data Analysis",
        2.5 and 5.4).
        """
        return Regret(
            survival={
                (signal, zone): shares
                for signal, zones in self.zones.items()
                for zone, shares in _shares(zones).items()
            },
            static_rule=frozenset(key for key, held in _flat(self.contests).items() if held.lost),
        )


def _shares(zones: Mapping[str, Kept]) -> Mapping[str, tuple[float, ...]]:
    """One signal's shares by zone."""
    days = np.array([kept.days for kept in zones.values()])
    promised = np.array([kept.promised for kept in zones.values()])
    product = np.array([kept.product for kept in zones.values()])
    # Zones err together, as their weather comes: all tell no more days than the best known one.
    together = _slope(product.sum(axis=0), promised.sum(axis=0))
    believed = np.ones(BUCKETS)
    nearer = 1.0
    for bucket, (slope, known) in enumerate(zip(together, days.max(axis=0), strict=True)):
        nearer = believed[bucket] = _shrunk(slope, known, nearer)
    shares = _shrunk(_slope(product, promised), days, believed).round(_SHARE_DIGITS)
    return {zone: tuple(row) for zone, row in zip(zones, shares.tolist(), strict=True)}


def _slope(product: Floats, promised: Floats) -> Floats:
    """Of real on promised changes, clipped to 0..1; 0 where nothing was promised."""
    slope: Floats = np.divide(product, promised, out=np.zeros_like(product), where=promised > 0)
    return slope.clip(0.0, 1.0)


def _shrunk(slope: Any, days: Any, believed: Any) -> Any:
    """A slope of ``days``, weighed with a belief of ``PSEUDO_DAYS``; numbers or arrays."""
    return (slope * days + believed * PSEUDO_DAYS) / (days + PSEUDO_DAYS)


def _came(forecast: Forecast, observed: Observed, time_scale: float) -> Floats:
    """(steps,): observed over each of the forecast's first steps; not a number where it was not."""
    steps = LEARNED_AHEAD / time_scale / timedelta(seconds=forecast.step_s)
    count = min(len(forecast.values), math.floor(steps + _ROUNDING))
    end = forecast.start + timedelta(seconds=forecast.step_s * count)
    points = observed(forecast.zone, forecast.signal, forecast.start, end)
    if not points:
        return np.full(count, np.nan)
    begins = np.array([(item.start - forecast.start).total_seconds() for item in points])
    ends = begins + [item.step_s for item in points]
    # Where steps of two lengths overlap, the later point begins when the one before it ends.
    begins[1:] = np.maximum(begins[1:], np.maximum.accumulate(ends)[:-1])
    spans = np.maximum(ends - begins, 0.0)
    ends = begins + spans
    edges_s = forecast.step_s * np.arange(count + 1)

    def up_to_edges(rates: Floats) -> Floats:
        """The integral over what was observed, up to each edge."""
        total = np.concatenate(([0.0], np.cumsum(rates * spans)))
        known = np.column_stack((total[:-1], total[1:])).ravel()
        result: Floats = np.interp(edges_s, np.column_stack((begins, ends)).ravel(), known)
        return result

    covered_s = np.diff(up_to_edges(np.ones(len(points))))
    grams = np.diff(up_to_edges(np.array([item.g_per_kwh for item in points])))
    enough = covered_s >= _LEAST_COVER * forecast.step_s
    came: Floats = np.divide(grams, covered_s, out=np.full(count, np.nan), where=enough)
    return came


def _order(issue: tuple[Forecast, ...]) -> Any:
    """By when its newest forecast was issued; then by anything that tells issues apart."""
    parts = sorted((item.issued_at, item.signal, item.zone, item.values) for item in issue)
    return parts[::-1]


def _scaled(values: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(factor * value for value in values)


def _flat(nested: Mapping[Signal, Mapping[str, T]]) -> dict[tuple[Signal, str], T]:
    return {
        (signal, name): item for signal, items in nested.items() for name, item in items.items()
    }


def _nested(flat: Mapping[tuple[Signal, str], T]) -> dict[Signal, dict[str, T]]:
    nested: dict[Signal, dict[str, T]] = {}
    for (signal, name), item in sorted(flat.items(), key=lambda pair: pair[0]):
        nested.setdefault(signal, {})[name] = item
    return nested
