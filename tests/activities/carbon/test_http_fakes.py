"""The fakes as a process of their own, steered over HTTP: what a person watching failover uses."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from activities.carbon.electricity_maps import ElectricityMaps
from activities.carbon.watttime import WattTime
from activities.carbon.watttime_api import WattTimeApi
from domain.forecast import Signal
from tests.activities.carbon.loopback import (
    FREE,
    NO_PAST,
    NOW,
    REGIONS,
    ZONES,
    Secrets,
    forecasts,
    reasons,
)
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME

START_WITHIN_S = 30


@pytest.fixture
async def urls() -> AsyncIterator[Mapping[str, str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.servers.carbon", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_WITHIN_S):
            line = await process.stdout.readline()
        yield json.loads(line)
    finally:
        process.terminate()
        await process.wait()


async def test_it_is_steered_over_http(urls: Mapping[str, str], client: httpx.AsyncClient) -> None:
    """Clock, plan, models, limits, tokens and faults are set, and what was asked is counted."""
    average = ElectricityMaps(client, Secrets(), base_url=urls[ELECTRICITY_MAPS], limit=FREE)
    account = WattTimeApi(client, Secrets(), base_url=urls[WATTTIME], limit=FREE)
    marginal = WattTime(account, Signal.MARGINAL, REGIONS, pace=NO_PAST)

    async with httpx.AsyncClient() as control:

        async def told(**changes: Any) -> dict[str, Any]:
            answer = await control.patch(urls["control"], json=changes)
            shown: dict[str, Any] = answer.raise_for_status().json()
            return shown

        shown = await told(
            now=NOW.isoformat(),
            plan={"zones": ["DE", "FR"]},
            models=["2023-03-01", "2026-10-01"],
            warnings=[{"type": "A", "message": "b"}],
        )
        assert shown["now"] == NOW.isoformat()
        fault = {"kind": "gap", "place": "FR", "endpoint": "forecast", "times": 1}
        await control.post(f"{urls['control']}/faults", json=fault)

        answer = await average.fetch(ZONES, NOW)
        assert {"DE"} == set(forecasts(answer))
        assert "a gap" in reasons(answer)["FR"]
        assert "outside of your plan" in reasons(answer)["SE-SE3"]
        found = forecasts(await marginal.fetch(ZONES, NOW))
        assert set(ZONES) == set(found)
        assert "model 2026-10-01" in found["DE"].methodology
        assert marginal.warnings["DE"] == ("A: b",)

        await told(expire_tokens=True, html_on_expiry=True, plan={"zones": None})
        assert set(ZONES) == set(forecasts(await marginal.fetch(ZONES, NOW)))
        assert set(ZONES) == set(forecasts(await average.fetch(ZONES, NOW)))

        await told(limits={WATTTIME: [1, 60]})
        await marginal.fetch(ZONES, NOW)
        seen = (await control.get(urls["control"])).json()
        assert seen["logins"] == 2
        assert seen["requests"][f"{ELECTRICITY_MAPS} forecast"] == 6
        assert seen["over_limit"] > 0
        assert seen["faults"] == []
