"""The vendors' own clients work against the fakes: if they did not, the fakes would be wrong.

Each runs in a process of its own: WattTime's takes over the root logger and reads its address at
import, Electricity Maps' installs a top-level package named ``openapi``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from domain.forecast import Signal
from tests.activities.carbon.loopback import NOW
from tests.servers import carbon_grid as grid
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME, CarbonServer
from tests.servers.carbon_electricity_maps import KEY
from tests.servers.carbon_faults import Kind
from tests.servers.carbon_watttime import PASSWORD, USER

ELECTRICITY_MAPS_PROGRAM = """
import json, os
import electricitymaps.client as sdk
import openapi
from openapi.models.temporal_granularity import TemporalGranularity as Granularity
sdk.HOST = os.environ["FAKE"] + "/v3"
asked = sdk.create_client(os.environ["KEY"]).carbon_intensity
here = dict(disable_caller_lookup="true", temporal_granularity=Granularity.HOURLY)
found = {
    "latest": asked.latest(zone_key="DE", **here).to_dict(),
    "history": asked.history(zone_key="DE", **here).to_dict(),
    "forecast": asked.forecast(zone_key="DE", horizon_hours=48, **here).to_dict(),
    "by_region": asked.latest(
        data_center_provider="aws", data_center_region="eu-north-1", **here
    ).to_dict(),
    "by_place": asked.latest(lat=48.8, lon=2.3, **here).to_dict(),
    "caller": asked.latest(zone_key="NOWHERE").to_dict(),
}
for name, refused in (
    ("unknown", lambda: asked.latest(zone_key="NOWHERE", **here)),
    ("key", lambda: sdk.create_client("wrong").carbon_intensity.latest(zone_key="DE", **here)),
):
    try:
        refused()
    except openapi.ApiException as error:
        found[name] = [error.status, type(error.data).__name__]
print(json.dumps(found, default=str))
"""

WATTTIME_PROGRAM = """
import json
from watttime import WattTimeForecast, WattTimeHistorical, WattTimeMyAccess
forecast, history = WattTimeForecast(), WattTimeHistorical()
start, end = "2026-11-24 06:00Z", "2026-11-24 07:00Z"
found = {
    "forecast": forecast.get_forecast_json("DE", "co2_moer", horizon_hours=24),
    "pinned": forecast.get_forecast_json("DE", "co2_moer", model="2023-03-01")["meta"]["model"],
    "frame": len(forecast.get_forecast_pandas("DE")),
    "history": history.get_historical_jsons(start, end, "DE", "co2_moer"),
    "average": len(history.get_historical_pandas(start, end, "DE", "co2_aoer")),
    "imputed": history.get_historical_pandas(
        "2026-11-24 08:30Z", "2026-11-24 09:00Z", "DE", include_imputed_marker=True
    )["imputed_data_used"].tolist(),
    "past forecast": len(
        forecast.get_historical_forecast_pandas(start, "2026-11-24 06:10Z", "DE")
    ),
    "region": forecast.region_from_loc(37.77, -122.42),
    "access": len(WattTimeMyAccess().get_access_pandas()),
    "warned": [str(item.warning_message) for item in forecast.raised_warnings],
}
for name, refused in (
    ("no forecast of averages", lambda: forecast.get_forecast_json("DE", "co2_aoer")),
    ("unknown", lambda: forecast.get_forecast_json("NOWHERE")),
):
    try:
        refused()
    except RuntimeError as error:
        found[name] = str(error)[:60]
print(json.dumps(found, default=str))
"""


async def run(program: str, **environment: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


async def test_electricity_maps(server: CarbonServer) -> None:
    """Its schemas take every answer; places, regions and the caller's own zone are resolved."""
    found = await run(ELECTRICITY_MAPS_PROGRAM, FAKE=server.electricity_maps_url, KEY=KEY)
    now = NOW.replace(minute=0)
    assert found["latest"]["carbonIntensity"] == pytest.approx(
        grid.g_per_kwh("DE", Signal.AVERAGE, now) * 1.1, abs=1
    )
    assert len(found["history"]["history"]) == 24
    assert len(found["forecast"]["forecast"]) == 48
    assert found["by_region"]["zone"] == "SE-SE3"
    assert found["by_place"]["zone"] == "FR"
    assert found["caller"]["zone"] == "FR"
    assert found["unknown"] == [404, "NoDataError"]
    assert found["key"] == [401, "UnauthorizedError"]
    assert server.asked(ELECTRICITY_MAPS) == 8


async def test_watttime(server: CarbonServer) -> None:
    """Logs in, reads every endpoint into its frames, and tells warnings."""
    server.watttime.warnings = [{"type": "EXAMPLE", "message": "only an example"}]
    server.faults.add(Kind.STATUS, status=503, endpoint="login", times=1)
    found = await run(
        WATTTIME_PROGRAM,
        WATTTIME_API_URL=server.watttime_url,
        WATTTIME_USER=USER,
        WATTTIME_PASSWORD=PASSWORD,
    )
    data, meta = found["forecast"]["data"], found["forecast"]["meta"]
    assert len(data) == 288
    assert data[0]["point_time"] == meta["generated_at"] == NOW.isoformat()
    assert data[0]["value"] * 0.45359237 == pytest.approx(
        grid.g_per_kwh("DE", Signal.MARGINAL, NOW), abs=0.01
    )
    assert found["pinned"]["date"] == "2023-03-01"
    assert found["frame"] == 288
    [history] = found["history"]
    assert len(history["data"]) == 13
    assert found["average"] == 2
    assert found["imputed"] == [True] * 7
    assert found["past forecast"] == 3 * 288
    assert found["region"]["region"] == "CAISO_NORTH"
    assert found["access"] > 50
    assert found["warned"]
    assert "400" in found["no forecast of averages"]
    assert "400" in found["unknown"]
    assert server.asked(WATTTIME, "login") == 4
