"""A fake of WattTime's API v3, faithful to what is documented of it.

Unverified against the live service: the texts of errors, and whether ``co2_aoer`` has a forecast
by now (the vendor's guide from v2 to v3 says "historical only": so does this fake).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from domain.forecast import Signal
from tests.servers import carbon_grid as grid
from tests.servers.carbon_electricity_maps import Refused, Reply, floor, steps

USER, PASSWORD = "wt-user-of-a-test", "wt-password-of-a-test"
LB_PER_MWH_OF_G_PER_KWH = 1 / 0.45359237
SIGNALS = {"co2_moer": Signal.MARGINAL, "co2_aoer": Signal.AVERAGE}
MODEL = "2023-03-01"
FIVE_MINUTES, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
PERIODS = {"co2_moer": FIVE_MINUTES, "co2_aoer": HOUR}
PUBLISHED_AFTER = timedelta(minutes=10)


@dataclass
class WattTimeFake:
    """One account."""

    clock: Callable[[], datetime]
    token_life: timedelta = timedelta(minutes=30)
    models: list[str] = field(default_factory=lambda: [MODEL])
    """Oldest first; the last is the default."""
    regions: frozenset[str] | None = None
    """What the account may see; all where ``None``."""
    warnings: list[dict[str, str]] = field(default_factory=list)
    imputed_for: timedelta = timedelta(hours=2)
    """Steps younger than this are imputed, a tenth too high, and restated later."""
    html_on_expiry: bool = False
    """An expired token gets 403 and a page instead of 401."""
    tokens: dict[str, datetime] = field(default_factory=dict)
    logins: int = 0

    def place(self, query: Mapping[str, str]) -> str | None:
        """The region that a question names."""
        return query.get("region")

    def expire_tokens(self) -> None:
        """As if 30 minutes had passed."""
        self.tokens.clear()

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """One request."""
        try:
            if path == "login":
                return self._login(headers)
            self._check_token(headers)
            if path == "v3/region-from-loc":
                return self._region_from_loc(query)
            if path == "v3/my-access":
                return Reply(self._access())
            return self._data(path.removeprefix("v3/"), query)
        except Refused as refused:
            return refused.reply

    def _check_token(self, headers: Mapping[str, str]) -> None:
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, self.clock()) <= self.clock():
            if self.html_on_expiry:
                raise Refused(403, {})
            raise error(401, "UNAUTHORIZED", "token expired")

    def _login(self, headers: Mapping[str, str]) -> Reply:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if headers.get("Authorization") != f"Basic {expected}":
            raise Refused(403, {})
        self.logins += 1
        token = f"eyJ0eXAiOiJKV1QifQ.{self.logins}.of-a-test"
        self.tokens[token] = self.clock() + self.token_life
        return Reply({"token": token})

    def _data(self, endpoint: str, query: Mapping[str, str]) -> Reply:
        if endpoint not in {"forecast", "forecast/historical", "historical"}:
            raise error(404, "NOT_FOUND", f"no endpoint {endpoint}")
        region, signal_type = query.get("region", ""), query.get("signal_type", "")
        zone = region if region.startswith(grid.SYNTHETIC) else grid.watttime_regions().get(region)
        if zone is None or signal_type not in SIGNALS:
            raise error(400, "INVALID_QUERY_PARAMS", f"region {region}, signal {signal_type}")
        if self.regions is not None and region not in self.regions:
            raise error(403, "FORBIDDEN", f"Invalid scope: {region} is not in your plan")
        model = query.get("model", self.models[-1])
        if model not in self.models:
            raise error(400, "INVALID_QUERY_PARAMS", f"no model {model}")
        meta = {
            "data_point_period_seconds": int(PERIODS[signal_type].total_seconds()),
            "region": region,
            "warnings": self.warnings,
            "signal_type": signal_type,
            "model": {"date": model, "type": "binned_regression"},
            "units": "lbs_co2_per_mwh",
        }
        synthetic = not grid.is_traced(zone, SIGNALS[signal_type])
        if endpoint == "historical":
            return self._historical(zone, meta, query, synthetic=synthetic)
        if signal_type == "co2_aoer":
            raise error(400, "INVALID_QUERY_PARAMS", "co2_aoer: historical only")
        return self._forecasts(endpoint, zone, meta, query, synthetic=synthetic)

    def _forecasts(
        self,
        endpoint: str,
        zone: str,
        meta: dict[str, Any],
        query: Mapping[str, str],
        *,
        synthetic: bool,
    ) -> Reply:
        horizon = int(query.get("horizon_hours", 24))
        if not 0 <= horizon <= 72:
            raise error(422, "INVALID_QUERY_PARAMS", f"horizon_hours {horizon}")
        meta["generated_at_period_seconds"] = 300
        if endpoint == "forecast":
            generated = floor(self.clock(), FIVE_MINUTES)
            meta["generated_at"] = generated.isoformat()
            return Reply({"data": forecast(zone, generated, horizon), "meta": meta}, 200, synthetic)
        span = _span(query, DAY)
        return Reply(
            {
                "data": [
                    {"generated_at": at.isoformat(), "forecast": forecast(zone, at, horizon)}
                    for at in steps(*span, FIVE_MINUTES)
                ],
                "meta": meta,
            },
            200,
            synthetic,
        )

    def _historical(
        self, zone: str, meta: dict[str, Any], query: Mapping[str, str], *, synthetic: bool
    ) -> Reply:
        span = _span(query, timedelta(days=32))
        signal_type, now = meta["signal_type"], self.clock()
        period = PERIODS[signal_type]
        first = floor(span[0] + period - timedelta(microseconds=1), period)
        last = min(span[1], now - PUBLISHED_AFTER - period + timedelta(microseconds=1))
        data = []
        for at in steps(first, last, period):
            imputed = at > now - self.imputed_for
            value = lb_per_mwh(zone, SIGNALS[signal_type], at) * (1.1 if imputed else 1.0)
            point: dict[str, Any] = {"point_time": at.isoformat(), "value": round(value, 2)}
            if query.get("include_imputed_marker") == "true":
                point["imputed_data_used"] = imputed
            data.append({**point, "last_updated": now.isoformat()})
        return Reply({"data": data, "meta": meta}, 200, synthetic)

    def _region_from_loc(self, query: Mapping[str, str]) -> Reply:
        spot = float(query["latitude"]), float(query["longitude"])
        near = [
            item
            for item in grid.catalogue().regions.values()
            if item.watttime_region
            and abs((item.latitude or 0) - spot[0]) + abs((item.longitude or 0) - spot[1]) < 2
        ]
        if not near:
            raise error(404, "NOT_FOUND", "No coverage available")
        region = near[0].watttime_region
        return Reply(
            {
                "region": region,
                "region_full_name": f"{near[0].location} ({region})",
                "signal_type": query["signal_type"],
            }
        )

    def _access(self) -> dict[str, Any]:
        models = [
            {"model": m, "data_start": m, "train_start": m, "train_end": m} for m in self.models
        ]
        endpoints = {"co2_moer": ["v3/forecast", "v3/historical"], "co2_aoer": ["v3/historical"]}
        return {
            "signal_types": [
                {
                    "signal_type": signal_type,
                    "regions": [
                        {
                            "region": region,
                            "region_full_name": region,
                            "parent": region,
                            "data_point_period_seconds": PERIODS[signal_type].seconds,
                            "endpoints": [{"endpoint": e, "models": models} for e in names],
                        }
                        for region in sorted(self.regions or grid.watttime_regions())
                    ],
                }
                for signal_type, names in endpoints.items()
            ]
        }


def forecast(zone: str, generated: datetime, horizon: int) -> list[dict[str, Any]]:
    """What was forecast at an instant: the same whenever it is asked for again."""
    end = generated + max(horizon * HOUR, FIVE_MINUTES)
    return [
        {"point_time": at.isoformat(), "value": round(lb_per_mwh(zone, Signal.MARGINAL, at), 2)}
        for at in steps(generated, end, FIVE_MINUTES)
    ]


def lb_per_mwh(zone: str, signal: Signal, at: datetime) -> float:
    return grid.g_per_kwh(zone, signal, at) * LB_PER_MWH_OF_G_PER_KWH


def _span(query: Mapping[str, str], longest: timedelta) -> tuple[datetime, datetime]:
    """Start and end, which are inclusive and must have a time zone."""
    start, end = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
    if start.tzinfo is None or end.tzinfo is None:
        raise Refused(422, {"detail": [{"loc": ["query", "start"], "msg": "time zone required"}]})
    if end - start > longest:
        raise error(400, "INVALID_QUERY_PARAMS", f"more than {longest}")
    return start, end + timedelta(microseconds=1)


def error(status: int, code: str, message: str) -> Refused:
    docs = "https://docs.watttime.org"
    return Refused(status, {"error": code, "message": message, "docs": docs})
