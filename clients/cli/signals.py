"""Commands on carbon signals and regions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from clients.cli.output import JsonOption, command, number, print_json, table, text, whole
from domain.forecast import Forecast, Signal
from domain.policy import Policy
from workers.wiring import load_parts

_BARS = "▁▂▃▄▅▆▇█"
SPARK_STEPS = 24


def sparkline(values: tuple[float, ...]) -> str:
    """One bar a value, lowest to highest over the series."""
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / spread * (len(_BARS) - 1))] for value in values)


@command
async def signals(
    *,
    signal: Annotated[
        Signal | None, typer.Option(help="Only this signal; both when left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show each region's carbon intensity, now and next.

    For each signal: now, the next 24 steps, state, age. A forecast older than the policy's
    forecast_max_age is stale: no decision uses it.
    """
    parts = load_parts()
    now = datetime.now(UTC)
    by_zone = {(item.zone, item.signal): item for item in parts.signals.forecasts()}
    rows = []
    for region in sorted(parts.policy.regions):
        zone = parts.catalogue.get(region).grid_zone or ""
        rows += [
            _row(region, zone, kind, by_zone.get((zone, kind)), parts.policy, now)
            for kind in ([signal] if signal else Signal)
        ]
    if as_json:
        print_json(rows)
        return
    columns = (
        *(text("region"), text("zone"), whole("signal"), number("g/kWh"), whole("next 24 steps")),
        *(whole("state"), number("age")),
    )
    providers = sorted({str(row["provider"]) for row in rows if row["provider"]})
    table(
        "Carbon intensity",
        columns,
        ([row[column] for column in _SHOWN] for row in rows),
        note="provided by " + (", ".join(providers) or "nobody yet: is a worker running?"),
    )


_SHOWN = ("region", "zone", "signal", "g_per_kwh", "next_24", "state", "age")
_MORE = ("age_s", "issued_at", "provider", "step_s", "values")


def _row(
    region: str, zone: str, signal: Signal, found: Forecast | None, policy: Policy, now: datetime
) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys((*_SHOWN, *_MORE))
    row |= {"region": region, "zone": zone, "signal": signal.value}
    if found is None:
        return row | {"state": "none"}
    age = max(timedelta(0), now - found.issued_at)
    index = int((now - found.start).total_seconds() // found.step_s)
    ahead = found.values[max(0, index) : max(0, index) + SPARK_STEPS]
    state = "fresh" if age <= policy.forecast_max_age and ahead else "stale"
    return row | {
        "state": state,
        "age": _age(age),
        "age_s": age.total_seconds(),
        "issued_at": found.issued_at,
        "provider": f"{found.provider} {found.methodology}",
        "g_per_kwh": round(ahead[0], 1) if ahead else None,
        "next_24": sparkline(ahead) if ahead else None,
        "values": list(ahead),
        "step_s": found.step_s,
    }


def _age(age: timedelta) -> str:
    if age < timedelta(minutes=2):
        return f"{age.total_seconds():.0f} s"
    return f"{age / timedelta(minutes=1):.0f} min" if age < timedelta(hours=3) else "hours"


@command
async def regions(
    *,
    enabled: Annotated[
        bool, typer.Option("--enabled", help="Only regions that the policy enables.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the region catalogue and what the policy allows.

    Place, grid zone, PUE, mean intensity over a year by both signals, and the residency classes
    that allow the region.
    """
    parts = load_parts()
    policy, catalogue = parts.policy, parts.catalogue
    classes = {name: policy.legal_regions(name, catalogue) for name in sorted(policy.residency)}
    rows = [
        {
            "region": region.id,
            "location": region.location,
            "country": region.country,
            "zone": region.grid_zone,
            "pue": region.pue,
            "average_g": region.average_annual_g_per_kwh,
            "marginal_g": region.marginal_annual_g_per_kwh,
            "enabled": region.id in policy.regions,
            "residency": [name for name, legal in classes.items() if region.id in legal],
        }
        for region in catalogue.regions.values()
        if not enabled or region.id in policy.regions
    ]
    if as_json:
        print_json(rows)
        return
    table(
        f"Regions (catalogue {catalogue.version}, policy {policy.version}; g/kWh over a year)",
        (
            *(whole("region\nplace"), text("zone"), number("PUE")),
            *(number("average"), number("marginal"), text("residency")),
        ),
        (
            (
                f"{row['region']}\n{row['location']}, {row['country']}",
                row["zone"],
                row["pue"],
                row["average_g"],
                row["marginal_g"],
                ", ".join(row["residency"]) if row["enabled"] else "not enabled",  # type: ignore[arg-type]
            )
            for row in rows
        ),
    )
