"""Commands on carbon signals and regions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from clients.cli.history import Place, bars, places_of, show_history
from clients.cli.output import JsonOption, command, number, print_json, table, text, whole
from domain.forecast import Forecast, Signal
from domain.policy import Policy
from workers.wiring import load_parts

AHEAD = timedelta(hours=24)
"""How far the view looks, or as far as the forecast goes."""

BARS = 8


@command
async def signals(
    *,
    signal: Annotated[
        Signal | None, typer.Option(help="Only this signal; both when left out.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Only this region, as aws:eu-north-1; need not be enabled.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="What was observed over this long, as 24h or 14d, by day."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show each region's carbon intensity, now and next.

    For each signal: now, the next 24 hours in three-hour bars (or as far as the forecast goes), who
    provided it, state, age. A forecast older than the policy allows its provider is stale: no
    decision uses it. With --history: what was observed, from the history that the settings name
    (LOWTIDE_HISTORY__KIND), else from the signal store.
    """
    parts = load_parts()
    now = datetime.now(UTC)
    places = places_of(parts.policy, parts.catalogue, region, signal)
    if history is not None:
        show_history(parts.history, places, now, history, as_json=as_json)
        return
    newest = {(item.zone, item.signal): item for item in parts.signals.forecasts()}
    rows = [
        _row(place, newest.get((place.zone, place.signal)), parts.policy, now) for place in places
    ]
    if as_json:
        print_json(rows)
        return
    columns = (
        *(text("region"), text("zone"), whole("signal"), number("g/kWh"), whole("next 24 h")),
        *(text("provider"), whole("state"), number("age")),
    )
    steering = parts.policy.steering_signal.value
    told = f"{steering} steers" if any(row["provider"] for row in rows) else "nobody answered yet"
    table(
        "Carbon intensity",
        columns,
        ([row[column] for column in _SHOWN] for row in rows),
        note=f"{told}; the policy allows a forecast {_age(parts.policy.forecast_max_age)}"
        + "".join(
            f", {provider}'s {_age(limit)}"
            for provider, limit in sorted(parts.policy.forecast_max_age_of.items())
        ),
    )


_SHOWN = ("region", "zone", "signal", "g_per_kwh", "next_24_h", "provider", "state", "age")
_MORE = ("methodology", "issued_at", "age_s", "max_age_s", "step_s", "values")


def _row(place: Place, found: Forecast | None, policy: Policy, now: datetime) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys((*_SHOWN, *_MORE))
    row |= {"region": place.region, "zone": place.zone, "signal": place.signal.value}
    if found is None:
        return row | {"state": "none"}
    age, max_age = max(timedelta(0), now - found.issued_at), policy.max_age(found.provider)
    index = max(0, int((now - found.start).total_seconds() // found.step_s))
    ahead = found.values[index : index + int(AHEAD.total_seconds() // found.step_s)]
    return row | {
        "state": "fresh" if age <= max_age and found.at(now) is not None else "stale",
        "age": _age(age),
        "age_s": age.total_seconds(),
        "max_age_s": max_age.total_seconds(),
        "issued_at": found.issued_at,
        "provider": found.provider,
        "methodology": found.methodology,
        "g_per_kwh": round(ahead[0]) if ahead else None,
        "next_24_h": bars(ahead, BARS) if ahead else None,
        "values": list(ahead),
        "step_s": found.step_s,
    }


def _age(age: timedelta) -> str:
    if age < timedelta(minutes=2):
        return f"{age.total_seconds():.0f} s"
    if age < timedelta(hours=3):
        return f"{age / timedelta(minutes=1):.0f} min"
    return f"{age / timedelta(hours=1):.0f} h"


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
