"""WattTime's adapter against the fake: login and its traps, units, models, both signals."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from activities.carbon.api import BreakerSettings
from activities.carbon.watttime import WattTime
from activities.carbon.watttime_api import TOKEN_S
from activities.errors import ProviderMisconfigured
from activities.stores.sqlite import SqliteStore
from domain import persistence
from domain.forecast import Signal
from domain.ports import ProviderAnswer, SecretName
from tests.activities.carbon.loopback import (
    EVERY_TIME,
    NO_PAST,
    NOW,
    REGIONS,
    ZONES,
    Secrets,
    account,
    forecasts,
    reasons,
    watttime,
)
from tests.servers import carbon_grid as grid
from tests.servers.carbon import WATTTIME, CarbonServer
from tests.servers.carbon_faults import Kind

HOUR = timedelta(hours=1)
OLD = {"password": "old"}
CROWD, MANY = ({f"SYN-{n}": f"SYN-{n}" for n in range(count)} for count in (60, 16))


async def fetch(
    server: CarbonServer,
    client: httpx.AsyncClient,
    *zones: str,
    signal: Signal = Signal.MARGINAL,
    **settings: Any,
) -> ProviderAnswer:
    return await watttime(server, client, signal, **settings).fetch(zones or ZONES, server.clock())


class TestForecast:
    async def test_it_is_what_the_provider_published(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """g/kWh of lb/MWh, 5-minute steps from now on; provider, version, signal, model told."""
        found = forecasts(await fetch(server, client))
        assert set(ZONES) == set(found)
        for zone, forecast in found.items():
            wanted = [
                grid.g_per_kwh(zone, Signal.MARGINAL, NOW + n * timedelta(minutes=5))
                for n in range(24 * 12)
            ]
            assert wanted == pytest.approx(list(forecast.values), abs=0.01)
            assert (forecast.start, forecast.step_s) == (NOW, 300.0)
            assert forecast.issued_at == NOW
            assert (forecast.signal, forecast.provider) == (Signal.MARGINAL, "watttime")
            assert forecast.methodology == "v3 co2_moer CO2 model 2023-03-01 (newest)"

    async def test_the_documented_example(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """1048.41 and 1051.09 lb/MWh of the documentation's answer are 475.551 and 476.766 g/kWh:
        1048.41 x 453.59237 g / 1000 kWh.
        """
        server.clock.frozen = datetime(2022, 7, 15, tzinfo=UTC)
        body = {
            "data": [
                {"point_time": "2022-07-15T00:00:00+00:00", "value": 1048.41},
                {"point_time": "2022-07-15T00:05:00+00:00", "value": 1051.09},
            ],
            "meta": {
                "region": "CAISO_NORTH",
                "signal_type": "co2_moer",
                "units": "lbs_co2_per_mwh",
                "data_point_period_seconds": 300,
                "model": {"date": "2023-03-01", "type": "binned_regression"},
                "generated_at": "2022-07-15T00:00:00+00:00",
                "generated_at_period_seconds": 300,
                "warnings": [{"type": "EXAMPLE_WARNING", "message": "This is just an example"}],
            },
        }
        server.faults.add(Kind.STATUS, status=200, body=json.dumps(body), endpoint="forecast")
        answer = await fetch(
            server,
            client,
            "US-CAL-CISO",
            regions={"US-CAL-CISO": "CAISO_NORTH"},
            min_horizon_hours=0,
        )
        [forecast] = answer.forecasts
        assert forecast.values == (475.551, 476.766)
        assert forecast.zone == "US-CAL-CISO"
        assert forecast.issued_at == datetime(2022, 7, 15, tzinfo=UTC)

    async def test_zones_of_one_region_share_its_answer(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """India is one region and three zones: one request. A zone without a region is left out."""
        regions = {"IN-WE": "IND", "IN-SO": "IND", "IN-NO": "IND"}
        answer = await fetch(server, client, *regions, "DE", regions=regions, pace=NO_PAST)
        assert set(regions) == set(forecasts(answer))
        assert answer.refusals == ()
        assert server.asked(WATTTIME, "forecast") == 1

    async def test_the_horizon(self, server: CarbonServer, client: httpx.AsyncClient) -> None:
        """As set, up to 72 hours."""
        [forecast] = (await fetch(server, client, "DE", horizon_hours=72)).forecasts
        assert forecast.end == NOW + 72 * HOUR
        with pytest.raises(ProviderMisconfigured, match="horizon_hours is 73"):
            watttime(server, client, horizon_hours=73)


class TestLogin:
    async def test_one_login_however_many_ask(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Both signals' providers share one account: sixteen regions twice, one token."""
        server.latency_s = 0.01
        api = account(server, client)
        for signal in Signal:
            answer = await WattTime(api, signal, MANY, pace=NO_PAST).fetch(list(MANY), NOW)
            assert len(answer.forecasts) == len(MANY)
        assert server.watttime.logins == 1

    async def test_a_token_is_renewed_before_it_ends(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """At 25 of its 30 minutes, so that no request meets an expired one."""
        clock = [0.0]
        provider = WattTime(
            account(server, client, clock=lambda: clock[0]), Signal.MARGINAL, REGIONS
        )
        for seconds, logins in ((0, 1), (TOKEN_S - 1, 1), (TOKEN_S, 2), (2 * TOKEN_S - 1, 2)):
            clock[0] = float(seconds)
            server.clock.frozen = NOW + timedelta(seconds=seconds)
            answer = await provider.fetch(ZONES, server.clock())
            assert set(ZONES) == set(forecasts(answer))
            assert server.watttime.logins == logins

    @pytest.mark.parametrize("html", [False, True], ids=["401", "403 and a page"])
    async def test_an_expired_token_is_renewed_once(
        self, server: CarbonServer, client: httpx.AsyncClient, *, html: bool
    ) -> None:
        """Many requests meet it at once; one login follows, and all are answered."""
        server.watttime.html_on_expiry = html
        provider = watttime(server, client, regions=MANY, pace=NO_PAST)
        await provider.fetch(list(MANY), NOW)
        server.watttime.expire_tokens()
        answer = await provider.fetch(list(MANY), NOW)
        assert len(answer.forecasts) == len(MANY)
        assert answer.refusals == ()
        assert server.watttime.logins == 2

    async def test_a_new_token_that_is_refused_too(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """One login more, not one for each region: the login has a limit of its own."""
        server.faults.add(Kind.STATUS, status=401, endpoint="forecast")
        api = account(server, client, breaker=BreakerSettings())
        answer = await WattTime(api, Signal.MARGINAL, CROWD, pace=NO_PAST).fetch(list(CROWD), NOW)
        assert set(reasons(answer)) == set(CROWD)
        assert "a new token is refused too" in reasons(answer)["SYN-0"]
        assert server.watttime.logins <= 20

    async def test_bad_credentials(self, server: CarbonServer, client: httpx.AsyncClient) -> None:
        """The page that comes with 403 is told as a refused login; the breaker stops the rest."""
        api = account(server, client, secrets=Secrets(**OLD), breaker=BreakerSettings())
        answer = await WattTime(api, Signal.MARGINAL, CROWD).fetch(list(CROWD), NOW)
        assert set(reasons(answer)) == set(CROWD)
        assert "login refused: 403" in reasons(answer)["SYN-0"]
        assert server.asked(WATTTIME, "login") <= 20

    async def test_a_rotated_password_is_used_at_the_next_login(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Secrets are read when they are needed, not held."""
        secrets = Secrets(**OLD)
        provider = WattTime(account(server, client, secrets=secrets), Signal.MARGINAL, REGIONS)
        assert "login refused" in reasons(await provider.fetch(ZONES, NOW))["DE"]
        secrets.values = {**secrets.values, SecretName.WATTTIME_PASSWORD: "wt-password-of-a-test"}
        assert set(ZONES) == set(forecasts(await provider.fetch(ZONES, NOW)))

    async def test_403_with_json_is_about_the_plan(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """The region is refused with the provider's words, and nobody logs in again."""
        server.watttime.regions = frozenset({"DE", "SE"})
        answer = await fetch(server, client)
        assert "forecast: 403" in reasons(answer)["FR"]
        assert "Invalid scope" in reasons(answer)["FR"]
        assert {"DE", "SE-SE3"} == set(forecasts(answer))
        assert server.watttime.logins == 1

    async def test_a_login_without_a_token(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A changed login answer is told as such."""
        server.faults.add(Kind.STATUS, status=200, body="{}", endpoint="login")
        assert "login: token: Field required" in reasons(await fetch(server, client))["DE"]


SPOILT = [
    (Kind.DRIFT, "data.0.value: Field required"),
    (Kind.MISSING, "value: Field required"),
    (Kind.NULL, "value: Input should be a valid number"),
    (Kind.TEXT, "value: Input should be a valid number"),
    (Kind.NEGATIVE, "-0.454 g/kWh"),
    (Kind.ABSURD, "22679.6 g/kWh"),
    (Kind.GAP, "a gap or uneven step"),
    (Kind.DUPLICATE, "comes twice"),
    (Kind.UNORDERED, "out of order"),
    (Kind.SHORT, "less than 1 day"),
    (Kind.STALE, "stale: issued 2026-11-23T09:20Z"),
    (Kind.UNISSUED, "meta.generated_at: Field required"),
    (Kind.OTHER_PLACE, "ELSEWHERE was answered, FR was asked for"),
    (Kind.UNITS, "units: kgs_co2_per_mwh was answered, lbs_co2_per_mwh was asked for"),
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
        assert reasons(answer)["FR"].startswith("watttime: ")
        assert {"DE", "SE-SE3"} == set(forecasts(answer))

    async def test_a_page_with_status_200(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A proxy's login page is no forecast."""
        server.faults.add_html(200, place="FR")
        answer = await fetch(server, client)
        assert "an HTML page with status 200" in reasons(answer)["FR"]
        assert {"DE", "SE-SE3"} == set(forecasts(answer))


class TestModels:
    async def test_the_pinned_model_is_asked_for_and_recorded(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A newer model does not change a reporting period's figures silently."""
        server.watttime.models.append("2026-10-01")
        [pinned] = (await fetch(server, client, "DE", model=date(2023, 3, 1))).forecasts
        [newest] = (await fetch(server, client, "DE")).forecasts
        assert pinned.methodology == "v3 co2_moer CO2 model 2023-03-01 (pinned)"
        assert newest.methodology == "v3 co2_moer CO2 model 2026-10-01 (newest)"

    @pytest.mark.parametrize("endpoint", ["forecast", "historical"])
    async def test_another_model_than_the_pinned_is_refused(
        self, server: CarbonServer, client: httpx.AsyncClient, endpoint: str
    ) -> None:
        """Forecasts and observations alike."""
        server.faults.add(Kind.ROLLOVER, endpoint=endpoint, place="DE")
        answer = await fetch(server, client, model=date(2023, 3, 1), pace=EVERY_TIME)
        assert "2099-01-01 was answered, 2023-03-01 was asked for" in reasons(answer)["DE"]
        assert {"FR", "SE-SE3"} == {item.zone for item in answer.observations} - {"DE"}

    async def test_warnings_are_kept_until_they_end(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """By region, so that an operator can be told."""
        provider = watttime(server, client, pace=NO_PAST)
        server.watttime.warnings = [{"type": "DATA_DELAYED", "message": "upstream is late"}]
        await provider.fetch(["SE-SE3"], NOW)
        assert provider.warnings == {"SE": ("DATA_DELAYED: upstream is late",)}
        server.watttime.warnings = []
        await provider.fetch(["SE-SE3"], NOW)
        assert provider.warnings == {}


class TestObservations:
    async def test_steps_that_are_over_and_published(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """The trailing day in g/kWh; what is imputed is marked."""
        answer = await fetch(server, client, "DE", pace=EVERY_TIME)
        starts = [item.start for item in answer.observations]
        five = timedelta(minutes=5)
        assert starts == [NOW - 24 * HOUR + n * five for n in range(len(starts))]
        assert starts[-1] + five <= NOW - timedelta(minutes=10)
        for item in answer.observations:
            wanted = grid.g_per_kwh("DE", Signal.MARGINAL, item.start)
            imputed = item.start > NOW - 2 * HOUR
            assert item.g_per_kwh == pytest.approx(wanted * (1.1 if imputed else 1), abs=0.01)
            assert item.provider == ("watttime (estimated)" if imputed else "watttime")

    async def test_a_restated_value_replaces(
        self, server: CarbonServer, client: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        """The store holds what the provider says last."""
        store = SqliteStore(tmp_path / "lowtide.db")
        provider = watttime(server, client, pace=EVERY_TIME)
        at, wanted = NOW - HOUR, grid.g_per_kwh("DE", Signal.MARGINAL, NOW - HOUR)
        for later, factor, told in (
            (0, 1.1, "watttime (estimated)"),
            (3, 1.0, "watttime"),
        ):
            server.clock.frozen = NOW + later * HOUR
            answer = await provider.fetch(["DE"], server.clock())
            store.put_observations(answer.observations)
            [found] = store.observations("DE", Signal.MARGINAL, at, at + timedelta(minutes=5))
            assert found.g_per_kwh == pytest.approx(wanted * factor, abs=0.01)
            assert found.provider == told

    async def test_what_is_sent(self, server: CarbonServer, client: httpx.AsyncClient) -> None:
        """Instants have an offset: a naive one is refused with 422."""
        await fetch(server, client, "DE", pace=EVERY_TIME, model=date(2023, 3, 1))
        sent = dict(server.queries)
        assert sent["forecast"] == {
            "region": "DE",
            "signal_type": "co2_moer",
            "horizon_hours": "24",
            "model": "2023-03-01",
        }
        assert sent["historical"] == {
            "region": "DE",
            "signal_type": "co2_moer",
            "start": "2026-11-23T09:20:00+00:00",
            "end": "2026-11-24T09:20:00+00:00",
            "include_imputed_marker": "true",
            "model": "2023-03-01",
        }

    async def test_gaps_are_no_reason_to_refuse(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """History is published with holes; each step stands for itself."""
        server.faults.add(Kind.GAP, endpoint="historical")
        whole = await fetch(server, client, "DE", pace=EVERY_TIME)
        server.faults.clear()
        assert whole.refusals == ()
        again = await fetch(server, client, "DE", pace=EVERY_TIME)
        assert len(whole.observations) == len(again.observations) - 1


class TestAverage:
    """``co2_aoer`` is published for the past only: its forecast is made by persistence."""

    async def test_the_trap_is_there(self, server: CarbonServer) -> None:
        """The fake, like the vendor's guide, knows no forecast of it."""
        async with httpx.AsyncClient(base_url=server.watttime_url) as plain:
            login = await plain.get("/login", auth=("wt-user-of-a-test", "wt-password-of-a-test"))
            answer = await plain.get(
                "/v3/forecast",
                params={"region": "DE", "signal_type": "co2_aoer"},
                headers={"Authorization": f"Bearer {login.json()['token']}"},
            )
        assert answer.status_code == 400

    async def test_its_history_is_carried_on(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Hourly, from the hour in progress, and the methodology says how it was made."""
        answer = await fetch(server, client, signal=Signal.AVERAGE)
        assert server.asked(WATTTIME, "forecast") == 0
        found = forecasts(answer)["SE-SE3"]
        assert (found.signal, found.step_s) == (Signal.AVERAGE, 3600.0)
        assert found.start == NOW.replace(minute=0)
        assert len(found.values) == 24
        assert found.issued_at == NOW
        assert found.methodology == (
            f"v3 co2_aoer CO2 model 2023-03-01 (newest), {persistence.METHODOLOGY}"
        )
        day = [grid.g_per_kwh("SE-SE3", Signal.AVERAGE, NOW - n * HOUR) for n in range(24)]
        assert min(day) * 0.5 < min(found.values) <= max(found.values) < max(day) * 2

    async def test_its_observations_are_the_last_day_in_the_region_s_slot(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """The week before serves the pattern and is not written again each hour."""
        answer = await fetch(server, client, "DE", signal=Signal.AVERAGE, pace=EVERY_TIME)
        assert {item.signal for item in answer.observations} == {Signal.AVERAGE}
        assert min(item.start for item in answer.observations) >= NOW - 24 * HOUR
        assert 20 < len(answer.observations) <= 24

    async def test_too_little_history_is_refused(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Two hours of the past make no day ahead; the other zones are kept."""
        server.faults.add(Kind.SHORT, endpoint="historical", place="DE")
        answer = await fetch(server, client, signal=Signal.AVERAGE)
        assert "nothing was observed since" in reasons(answer)["DE"]
        assert {"FR", "SE-SE3"} == set(forecasts(answer))
