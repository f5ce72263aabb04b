"""``lowtide regret``: what forecasts promised, what came of it, and which rule decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clients.cli.output import JsonOption, command, number, out, print_json, table, text, whole
from domain.forecast import Signal
from domain.regions import Region
from domain.regret import BUCKETS, LEAD_EDGES_H
from domain.regret_contest import CONTEST_DAYS, Contest, classes_of, greenest_by_year
from domain.regret_learning import RegretHistory
from domain.regret_lessons import RegretLessons
from workers.wiring import load_parts, regret_lessons

_FROM_H = (0, *LEAD_EDGES_H)
_SHOWN = (1, 2, 3, 5, 6, 7, 8, 9)
"""Buckets of the table; --json has all."""


@command
async def regret(*, as_json: JsonOption = False) -> None:
    """Show how much of what forecasts promised has come true.

    By zone and hours ahead: the share of a promised change that came, learned from the forecasts
    that settled jobs decided by. A choice goes by what is left of a promise. Where forecasts have
    lately lost to the greenest region by annual mean, at once, that rule decides until they win.
    """
    parts = load_parts()
    lessons = regret_lessons(parts)
    history = lessons.history if lessons else None
    zones = list(_zones(history)) if history else []
    legal = classes_of(parts.policy, parts.catalogue)
    contests = [
        _contest(signal, name, held, greenest_by_year(legal.get(name, ()), signal))
        for signal, by_class in (history.contests if history else {}).items()
        for name, held in by_class.items()
    ]
    waiting = len(lessons.waiting) if lessons else 0
    if as_json:
        print_json({"zones": zones, "contests": contests, "waiting": waiting})
        return
    if not zones:
        told = f"Nothing was learned yet{_soon(lessons)}. Forecasts are taken at their word."
        out.print(told, soft_wrap=True)
        return
    table(
        "Share of a promised change that comes true, by hours ahead",
        (
            *(text("zone"), whole("signal"), number("days")),
            *(number(f"{_FROM_H[bucket]}-{_FROM_H[bucket + 1]}") for bucket in _SHOWN),
        ),
        (
            (
                *(row["zone"], row["signal"], f"{row['days']:.1f}"),
                *(f"{row['shares'][bucket]['share']:.2f}" for bucket in _SHOWN),
            )
            for row in zones
        ),
        note="days: of forecasts learned from, older ones counting less",
    )
    for contest in contests:
        out.print(_told(contest), soft_wrap=True)


def _zones(history: RegretHistory) -> Iterator[dict[str, Any]]:
    survival = history.regret().survival
    for signal, zones in history.zones.items():
        for zone, kept in zones.items():
            yield {
                "zone": zone,
                "signal": signal.value,
                "days": max(kept.days),
                "newest": kept.newest,
                "shares": [
                    {
                        "from_h": _FROM_H[bucket],
                        "to_h": _FROM_H[bucket + 1] if bucket + 1 < BUCKETS else None,
                        "share": survival[signal, zone][bucket],
                        "days": kept.days[bucket],
                    }
                    for bucket in range(BUCKETS)
                ],
            }


def _contest(
    signal: Signal, residency: str, held: Contest, greenest: Region | None
) -> dict[str, Any]:
    return {
        "residency": residency,
        "signal": signal.value,
        "days": held.days,
        "forecast_g_per_kwh": held.forecast_g_per_kwh,
        "static_g_per_kwh": held.static_g_per_kwh,
        "greenest_by_year": greenest.id if greenest else None,
        "rule": "static-greenest" if held.lost else "forecast",
    }


def _told(contest: dict[str, Any]) -> str:
    who = f"{contest['residency']}, {contest['signal']}"
    if not contest["days"]:
        return f"{who}: nothing to compare yet; the forecast decides."
    figures = (
        f"{contest['forecast_g_per_kwh']:.0f} g/kWh by the forecast's choice, "
        f"{contest['static_g_per_kwh']:.0f} at once in "
        f"{contest['greenest_by_year'] or 'the greenest by annual mean'}, "
        f"over {contest['days']:.1f} days"
    )
    if contest["rule"] == "static-greenest":
        return f"{who}: the forecast has lost ({figures}). The static rule is in use."
    if contest["days"] < CONTEST_DAYS:
        return f"{who}: {figures}; too few to tell, the forecast decides."
    return f"{who}: the forecast leads ({figures}) and decides."


def _soon(lessons: RegretLessons | None) -> str:
    if lessons is None or not lessons.waiting:
        return ""
    first, count = lessons.waiting[0], len(lessons.waiting)
    decisions = "1 decision waits" if count == 1 else f"{count} decisions wait"
    return f"; {decisions} for its hours to pass, the first until {first.due_at:%Y-%m-%d %H:%M}Z"
