"""Electricity Maps' adapter against the fake: every trap of its API, and the worked examples."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from activities.carbon.api import BreakerSettings
from activities.carbon.electricity_maps import EmissionFactors, Granularity
from activities.carbon.questions import Pace
from activities.errors import ProviderMisconfigured
from activities.stores.sqlite import SqliteStore
from domain.forecast import Signal
from domain.ports import ProviderAnswer
from tests.activities.carbon.loopback import (
    EVERY_TIME,
    NO_PAST,
    NOW,
    ZONES,
    Secrets,
    electricity_maps,
    forecasts,
    reasons,
)
from tests.servers.carbon import ELECTRICITY_MAPS, CarbonServer
from tests.servers.carbon_electricity_maps import CALLER_ZONE, KEY
from tests.servers.carbon_faults import Kind

HOUR = timedelta(hours=1)
TODAY = NOW.replace(hour=0, minute=0)


async def fetch(
    server: CarbonServer, client: httpx.AsyncClient, *zones: str, **settings: Any
) -> ProviderAnswer:
    provider = electricity_maps(server, client, **settings)
    return await provider.fetch(zones or ZONES, server.clock())


class TestForecast:
    async def test_it_is_what_the_provider_published(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """g/kWh as answered, from the hour in progress on; provider, version and method told."""
        found = forecasts(await fetch(server, client))
        assert set(ZONES) == set(found)
        for zone, forecast in found.items():
            published = [
                server.electricity_maps.published(zone, NOW.replace(minute=0) + n * HOUR)
                for n in range(1, 25)
            ]
            assert published == list(forecast.values[1:])
            assert (forecast.start, forecast.step_s) == (NOW.replace(minute=0), 3600.0)
            assert forecast.issued_at == NOW.replace(minute=17)
            assert (forecast.signal, forecast.provider) == (Signal.AVERAGE, "electricity_maps")
            assert forecast.methodology.startswith("v4 flow-traced lifecycle hourly")

    async def test_the_documented_example(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """The documentation's own answer, 21 and 22 gCO2eq/kWh, comes out as 21 and 22 g/kWh."""
        server.clock.frozen = datetime(2026, 11, 23, 9, 5, tzinfo=UTC)
        body = {
            "zone": "SE-SE3",
            "forecast": [
                {"carbonIntensity": 21, "datetime": "2026-11-23T09:00:00.000Z"},
                {"carbonIntensity": 22, "datetime": "2026-11-23T10:00:00.000Z"},
            ],
            "updatedAt": "2026-11-23T08:47:02.408Z",
            "temporalGranularity": "hourly",
        }
        server.faults.add(Kind.STATUS, status=200, body=json.dumps(body), endpoint="forecast")
        answer = await fetch(server, client, "SE-SE3", horizon_hours=6, min_horizon_hours=2)
        [forecast] = answer.forecasts
        assert forecast.values == (21.0, 22.0)
        assert forecast.start == datetime(2026, 11, 23, 9, tzinfo=UTC)
        assert forecast.issued_at == datetime(2026, 11, 23, 8, 47, 2, 408_000, tzinfo=UTC)

    async def test_what_is_sent(self, server: CarbonServer, client: httpx.AsyncClient) -> None:
        """Nothing is left to a default: caller lookup off, granularity, factors and horizon."""
        await fetch(server, client, "DE", horizon_hours=72, emission_factors=EmissionFactors.DIRECT)
        common = {
            "zone": "DE",
            "disableCallerLookup": "true",
            "emissionFactorType": "direct",
            "temporalGranularity": "hourly",
        }
        sent = dict(server.queries)
        assert sent["forecast"] == {**common, "horizonHours": "72"}
        assert sent["latest"] == common

    async def test_five_minute_steps(self, server: CarbonServer, client: httpx.AsyncClient) -> None:
        """A finer granularity gives as many more values over the same time."""
        answer = await fetch(server, client, "DE", granularity=Granularity.FIVE_MINUTES)
        [forecast] = answer.forecasts
        assert forecast.step_s == 300.0
        assert forecast.start == NOW
        assert len(forecast.values) == 24 * 12

    async def test_the_issue_time_may_be_missing(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Then it is the time of asking, and the methodology says so."""
        server.faults.add(Kind.UNISSUED, endpoint="forecast")
        [forecast] = (await fetch(server, client, "DE")).forecasts
        assert forecast.issued_at == NOW
        assert "issue time: when asked" in forecast.methodology

    async def test_horizons_that_are_not_offered(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A setting that the API would refuse each time is refused once, at the start."""
        for hours, least in ((36, 24), (6, 24)):
            with pytest.raises(ProviderMisconfigured, match="horizon_hours"):
                electricity_maps(server, client, horizon_hours=hours, min_horizon_hours=least)


class TestTheStepInProgress:
    """A forecast begins with the hour after its issue."""

    async def test_from_latest_at_first(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """An estimate is kept, and marked."""
        [forecast] = (await fetch(server, client, "DE")).forecasts
        now = NOW.replace(minute=0)
        estimate = round(server.electricity_maps.published("DE", now) * 1.1)
        assert forecast.values[0] == estimate
        assert "first step from latest (estimated, TIME_SLICER_AVERAGE)" in forecast.methodology

    async def test_from_the_forecast_before_when_there_is_one(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """No request more: the forecast of an hour ago covered this hour."""
        provider = electricity_maps(server, client)
        await provider.fetch(["DE"], NOW)
        server.clock.advance(HOUR)
        [forecast] = (await provider.fetch(["DE"], NOW + HOUR)).forecasts
        now = NOW.replace(minute=0) + HOUR
        assert forecast.start == now
        assert forecast.values[0] == server.electricity_maps.published("DE", now)
        assert "first step from the forecast before" in forecast.methodology
        assert server.asked(ELECTRICITY_MAPS, "latest") == 1

    async def test_no_request_when_the_forecast_covers_it(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Just after the hour the newest forecast begins with it."""
        server.clock.frozen = NOW.replace(minute=1)
        [forecast] = (await fetch(server, client, "DE")).forecasts
        assert forecast.start == NOW.replace(minute=0)
        assert server.asked(ELECTRICITY_MAPS, "latest") == 0

    async def test_without_it_the_zone_is_refused(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A series that does not say what holds now is no signal; the other zones are kept."""
        server.faults.add(Kind.NULL, endpoint="latest", place="DE")
        answer = await fetch(server, client)
        assert "the step in progress has no value" in reasons(answer)["DE"]
        assert {"FR", "SE-SE3"} == set(forecasts(answer))


class TestLocations:
    async def test_the_trap_is_there(self, server: CarbonServer, client: httpx.AsyncClient) -> None:
        """An unknown zone silently becomes the caller's where the lookup is left on."""
        url = f"{server.electricity_maps_url}/v4/carbon-intensity/latest"
        async with httpx.AsyncClient(headers={"auth-token": KEY}) as plain:
            answer = await plain.get(url, params={"zone": "NOWHERE"})
        assert (answer.status_code, answer.json()["zone"]) == (200, CALLER_ZONE)
        answer = await fetch(server, client, "NOWHERE")
        assert "404" in reasons(answer)["NOWHERE"]

    @pytest.mark.parametrize("endpoint", ["forecast", "latest", "history"])
    async def test_an_answer_about_another_zone_is_refused(
        self, server: CarbonServer, client: httpx.AsyncClient, endpoint: str
    ) -> None:
        """Whatever the endpoint, the zone is read back."""
        server.faults.add(Kind.OTHER_PLACE, endpoint=endpoint, place="DE")
        answer = await fetch(server, client, pace=EVERY_TIME)
        assert "ELSEWHERE was answered, DE was asked for" in reasons(answer)["DE"]
        assert {"FR", "SE-SE3"} <= {item.zone for item in answer.observations}


SPOILT = [
    (Kind.DRIFT, "forecast.0.carbonIntensity: Field required"),
    (Kind.MISSING, "carbonIntensity: Field required"),
    (Kind.NULL, "carbonIntensity: Input should be a valid number"),
    (Kind.TEXT, "carbonIntensity: Input should be a valid number"),
    (Kind.NEGATIVE, "-1 g/kWh"),
    (Kind.ABSURD, "50000 g/kWh"),
    (Kind.GAP, "a gap or uneven step"),
    (Kind.DUPLICATE, "comes twice"),
    (Kind.UNORDERED, "out of order"),
    (Kind.SHORT, "less than 1 day"),
    (Kind.STALE, "stale: issued 2026-11-23T09:17Z"),
    (Kind.OTHER_PLACE, "ELSEWHERE was answered"),
    (Kind.GRANULARITY, "15_minutes was told, the points are hourly"),
    (Kind.TRUNCATED, "Invalid JSON: EOF"),
]


class TestRefusals:
    @pytest.mark.parametrize(("kind", "why"), SPOILT, ids=[kind.value for kind, _ in SPOILT])
    async def test_a_spoilt_answer_costs_its_own_zone(
        self, server: CarbonServer, client: httpx.AsyncClient, kind: Kind, why: str
    ) -> None:
        """The reason names what is wrong, and the other zones are kept."""
        server.faults.add(kind, endpoint="forecast", place="FR")
        answer = await fetch(server, client)
        assert why in reasons(answer)["FR"]
        assert reasons(answer)["FR"].startswith("electricity_maps: ")
        assert {"DE", "SE-SE3"} == set(forecasts(answer))

    async def test_a_page_with_status_200(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A proxy's login page is no forecast."""
        server.faults.add_html(200, place="FR")
        answer = await fetch(server, client)
        assert "an HTML page with status 200" in reasons(answer)["FR"]
        assert {"DE", "SE-SE3"} == set(forecasts(answer))

    @pytest.mark.parametrize(
        "body",
        ['{"error": "No recent data for zone FR"}', '{"status": "error", "message": "No recent'],
        ids=["v3", "v4"],
    )
    async def test_both_shapes_of_an_error(
        self, server: CarbonServer, client: httpx.AsyncClient, body: str
    ) -> None:
        """What the provider says stands in the reason, whichever shape it has."""
        server.faults.add(Kind.STATUS, status=404, body=body, place="FR", endpoint="forecast")
        answer = await fetch(server, client)
        assert "forecast: 404: " in reasons(answer)["FR"]
        assert "No recent" in reasons(answer)["FR"]

    async def test_a_refused_key_is_not_tried_for_every_zone(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """The breaker opens: all zones are refused, and the provider is left in peace."""
        zones = [f"SYN-{n}" for n in range(60)]
        answer = await fetch(
            server, client, *zones, secrets=Secrets(key="old"), breaker=BreakerSettings()
        )
        assert set(reasons(answer)) == set(zones)
        assert "the key is refused: " in reasons(answer)["SYN-0"]
        assert server.asked(ELECTRICITY_MAPS) <= 20

    async def test_emission_factors_are_read_back(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """An answer by other factors than those chosen is another figure."""
        latest = {
            "zone": "DE",
            "carbonIntensity": 466,
            "datetime": "2026-11-24T09:00:00.000Z",
            "updatedAt": "2026-11-24T08:47:02.408Z",
            "emissionFactorType": "lifecycle",
            "isEstimated": True,
            "estimationMethod": "TIME_SLICER_AVERAGE",
        }
        server.faults.add(Kind.STATUS, status=200, body=json.dumps(latest), endpoint="latest")
        answer = await fetch(server, client, "DE", emission_factors=EmissionFactors.DIRECT)
        assert "lifecycle was answered, direct was asked for" in reasons(answer)["DE"]
        [forecast] = (await fetch(server, client, "DE")).forecasts
        assert forecast.values[0] == 466


class TestPlans:
    async def test_a_zone_outside_the_plan(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """It is refused with the provider's words; the zones in the plan are served."""
        server.electricity_maps.plan.zones = frozenset({"DE"})
        answer = await fetch(server, client)
        assert {"DE"} == set(forecasts(answer))
        assert "403" in reasons(answer)["FR"]
        assert "outside of your plan" in reasons(answer)["FR"]

    async def test_a_horizon_cut_silently(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Fewer hours than asked for are taken down to the least that serves."""
        server.electricity_maps.plan.max_horizon_hours = 24
        [forecast] = (await fetch(server, client, "DE", horizon_hours=72)).forecasts
        assert len(forecast.values) == 25
        server.electricity_maps.plan.max_horizon_hours = 6
        answer = await fetch(server, client, "DE")
        assert "less than 1 day" in reasons(answer)["DE"]

    async def test_a_granularity_coarsened_silently(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """What was answered is taken for what it is, and the methodology tells."""
        server.electricity_maps.plan.granularity = "hourly"
        answer = await fetch(server, client, "DE", granularity=Granularity.FIVE_MINUTES)
        [forecast] = answer.forecasts
        assert forecast.step_s == 3600.0
        assert "lifecycle hourly" in forecast.methodology
        assert "asked 5_minutes" in forecast.methodology

    async def test_history_without_forecasts(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """The free plan has no forecast, and its history still feeds persistence."""
        server.electricity_maps.plan.forecasts = False
        answer = await fetch(server, client, "DE", pace=EVERY_TIME)
        assert "Forecasts are outside of your plan" in reasons(answer)["DE"]
        assert len(answer.observations) == 23


class TestObservations:
    async def test_each_zone_once_an_hour(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Twelve refreshes, together every zone's trailing day once."""
        server.electricity_maps.plan.forecasts = False
        zones = [f"SYN-{n}" for n in range(8)]
        provider = electricity_maps(server, client)
        observed: Counter[str] = Counter()
        for n in range(12):
            server.clock.frozen = TODAY + n * timedelta(minutes=5)
            answer = await provider.fetch(zones, server.clock())
            observed.update({item.zone for item in answer.observations})
        assert observed == Counter(zones)

    def test_every_refresh_carries_a_share(self) -> None:
        """Three hundred zones over twelve refreshes: each its slot, no slot a crowd."""
        slots = {
            zone: [m for m in range(60) if Pace().is_due(zone, TODAY + timedelta(minutes=m))]
            for zone in (f"SYN-{n}" for n in range(300))
        }
        assert all(len(slot) == 5 and slot[0] % 5 == 0 for slot in slots.values())
        crowds = Counter(slot[0] for slot in slots.values())
        assert len(crowds) == 12
        assert max(crowds.values()) < 50

    async def test_estimates_are_kept_marked_and_replaced(
        self, server: CarbonServer, client: httpx.AsyncClient, tmp_path: Any
    ) -> None:
        """A recent hour is an estimate at first; once it is restated the store holds that."""
        store = SqliteStore(tmp_path / "lowtide.db")
        provider = electricity_maps(server, client, pace=EVERY_TIME)
        hour = NOW.replace(minute=0) - HOUR
        settled = server.electricity_maps.published("DE", hour)

        async def stored() -> tuple[float, str]:
            answer = await provider.fetch(["DE"], server.clock())
            store.put_observations(answer.observations)
            [found] = store.observations("DE", Signal.AVERAGE, hour, hour + HOUR)
            return found.g_per_kwh, found.provider

        assert await stored() == (round(settled * 1.1), "electricity_maps (estimated)")
        server.clock.advance(8 * HOUR)
        assert await stored() == (settled, "electricity_maps")

    @pytest.mark.parametrize("kind", [Kind.NULL, Kind.MISSING, Kind.GAP])
    async def test_hours_without_a_value_are_absent(
        self, server: CarbonServer, client: httpx.AsyncClient, kind: Kind
    ) -> None:
        """What is null or not there in the past is not published yet; the other hours are."""
        server.faults.add(kind, endpoint="history")
        answer = await fetch(server, client, "DE", pace=EVERY_TIME)
        assert len(answer.observations) == 22
        assert answer.refusals == ()

    @pytest.mark.parametrize(
        ("kind", "why"),
        [
            (Kind.NEGATIVE, "-1 g/kWh"),
            (Kind.DUPLICATE, "comes twice"),
            (Kind.UNORDERED, "out of order"),
            (Kind.DRIFT, "history: none of 24 has a carbonIntensity"),
        ],
    )
    async def test_a_spoilt_history_leaves_the_forecast(
        self, server: CarbonServer, client: httpx.AsyncClient, kind: Kind, why: str
    ) -> None:
        """Forecast and history are refused each for itself."""
        server.faults.add(kind, endpoint="history", place="DE")
        answer = await fetch(server, client, pace=EVERY_TIME)
        assert why in reasons(answer)["DE"]
        assert set(ZONES) == set(forecasts(answer))
        assert {"FR", "SE-SE3"} == {item.zone for item in answer.observations}

    async def test_they_can_be_left_out(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A stand-in's observations would be another measure."""
        answer = await fetch(server, client, pace=NO_PAST)
        assert answer.observations == ()
        assert server.asked(ELECTRICITY_MAPS, "history") == 0
