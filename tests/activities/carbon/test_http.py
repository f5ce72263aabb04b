"""The manners of our requests: retries, waits, breaker, rate, connections, sizes."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import httpx
import pytest

from activities.carbon.api import BreakerSettings, ProviderApi, RateLimit, Timings, open_client
from activities.carbon.questions import Pace
from activities.errors import ProviderDown, ProviderMisconfigured
from domain.forecast import Signal
from tests.activities.carbon.loopback import (
    IMPATIENT,
    NO_PAST,
    NOW,
    TLS,
    ZONES,
    electricity_maps,
    forecasts,
    reasons,
    watttime,
)
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME, CarbonServer, Limit
from tests.servers.carbon_faults import Kind

MANY = [f"SYN-{n}" for n in range(40)]


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    async def test_what_passes_is_tried_again(
        self, server: CarbonServer, client: httpx.AsyncClient, status: int
    ) -> None:
        """One failure of the kind that passes costs a request, not the zone."""
        server.faults.add(Kind.STATUS, status=status, endpoint="forecast", times=1)
        answer = await electricity_maps(server, client, pace=NO_PAST).fetch(["DE"], NOW)
        assert {"DE"} == set(forecasts(answer))
        assert server.asked(ELECTRICITY_MAPS, "forecast") == 2

    @pytest.mark.parametrize("status", [400, 404, 422])
    async def test_what_stays_is_not(
        self, server: CarbonServer, client: httpx.AsyncClient, status: int
    ) -> None:
        """The same question would have the same answer."""
        server.faults.add(Kind.STATUS, status=status, endpoint="forecast")
        await electricity_maps(server, client, pace=NO_PAST).fetch(["DE"], NOW)
        assert server.asked(ELECTRICITY_MAPS, "forecast") == 1

    @pytest.mark.parametrize("after", ["3600", "Wed, 25 Nov 2099 00:00:00 GMT"])
    async def test_retry_after_is_honoured_and_capped(
        self, server: CarbonServer, after: str
    ) -> None:
        """We wait, as long as we are told to or may; an hour would cost the whole refresh."""
        server.faults.add(Kind.STATUS, status=429, retry_after=after, endpoint="latest", times=1)
        waits = Timings(retries=1, backoff_s=0.0, longest_wait_s=0.2)
        loop = asyncio.get_running_loop()
        async with open_client(waits, tls=TLS) as client:
            begun = loop.time()
            answer = await electricity_maps(server, client, pace=NO_PAST).fetch(["DE"], NOW)
        assert {"DE"} == set(forecasts(answer))
        assert loop.time() - begun >= 0.2

    async def test_too_many_failures_are_told(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """With the status, and what the provider said."""
        server.faults.add(Kind.STATUS, status=503, place="FR", body='{"error": "maintenance"}')
        answer = await electricity_maps(server, client, pace=NO_PAST).fetch(ZONES, NOW)
        assert 'answers 503: {"error": "maintenance"}' in reasons(answer)["FR"]
        assert {"DE", "SE-SE3"} == set(forecasts(answer))


class TestTimeouts:
    @pytest.mark.parametrize("kind", [Kind.HANG, Kind.DRIP])
    async def test_a_zone_that_is_never_answered(self, server: CarbonServer, kind: Kind) -> None:
        """No headers, or a body without an end: one deadline holds for the whole of a try."""
        server.faults.add(kind, place="FR")
        impatient = Timings(try_s=3.0, retries=0)
        async with open_client(impatient, tls=TLS) as client:
            answer = await electricity_maps(server, client, pace=NO_PAST).fetch(ZONES, NOW)
        assert "no answer (ReadTimeout)" in reasons(answer)["FR"]
        assert {"DE", "SE-SE3"} == set(forecasts(answer))

    async def test_a_refresh_keeps_to_its_budget(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """What is answered by then is kept; the rest is refused."""
        server.faults.add(Kind.HANG, place="FR")
        provider = electricity_maps(server, client, pace=Pace(past_every=None, budget_s=3.0))
        answer = await provider.fetch(ZONES, NOW)
        assert reasons(answer) == {"FR": "electricity_maps: no answer within 3 s"}
        assert {"DE", "SE-SE3"} == set(forecasts(answer))

    async def test_nobody_there(self, client: httpx.AsyncClient) -> None:
        """A refused connection is told by its kind."""
        async with CarbonServer(NOW) as gone:
            provider = watttime(gone, client)
        answer = await provider.fetch(["DE"], NOW)
        assert reasons(answer) == {"DE": "watttime: no answer (ConnectError)"}


class TestBreaker:
    async def test_a_provider_that_is_down_is_left_in_peace_and_comes_back(
        self, server: CarbonServer
    ) -> None:
        """A bounded number of requests, then none, and the reason says until when; afterwards a
        trial, and all is as before.
        """
        server.faults.add(Kind.HANG, provider=ELECTRICITY_MAPS)
        breaker = BreakerSettings(failures=3, open_for_s=1.0)
        async with open_client(IMPATIENT, tls=TLS) as client:
            provider = electricity_maps(server, client, breaker=breaker, pace=NO_PAST)
            answer = await provider.fetch(MANY, NOW)
            assert set(reasons(answer)) == set(MANY)
            assert re.search(
                r"not asked until \d\d:\d\d:\d\d UTC: its last requests failed",
                reasons(answer)["SYN-39"],
            )
            assert server.asked(ELECTRICITY_MAPS) <= 16
            server.faults.clear()
            async with asyncio.timeout(20):
                while not (answer := await provider.fetch(["DE"], NOW)).forecasts:
                    await asyncio.sleep(0.05)
            assert {"DE"} == set(forecasts(answer))

    async def test_a_zone_s_own_trouble_does_not_open_it(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """Zones outside the plan, unknown ones, spoilt answers: the provider works."""
        server.electricity_maps.plan.zones = frozenset({"DE"})
        provider = electricity_maps(
            server, client, breaker=BreakerSettings(failures=2), pace=NO_PAST
        )
        answer = await provider.fetch([*MANY[:10], "NOWHERE", "DE"], NOW)
        assert {"DE"} == set(forecasts(answer))
        assert len(answer.refusals) == 11

    async def test_each_provider_has_its_own(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """One is down, the other serves."""
        server.faults.add(Kind.STATUS, status=500, provider=ELECTRICITY_MAPS)
        down = electricity_maps(server, client, breaker=BreakerSettings(failures=1))
        assert not (await down.fetch(ZONES, NOW)).forecasts
        assert len((await watttime(server, client).fetch(ZONES, NOW)).forecasts) == 3


class TestLimits:
    async def test_the_published_rate_is_kept(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """No request over it, however many zones ask at once."""
        server.limits[ELECTRICITY_MAPS] = Limit(20, 0.5)
        limit = RateLimit.within(20, 0.5)
        provider = electricity_maps(server, client, limit=limit, pace=NO_PAST)
        answer = await provider.fetch(MANY[:20], NOW)
        assert len(answer.forecasts) == 20
        assert server.over_limit == 0

    async def test_without_a_limiter_it_would_not_be(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """The fake counts as the service does: what the limiter prevents is seen."""
        server.limits[ELECTRICITY_MAPS] = Limit(20, 60.0)
        answer = await electricity_maps(server, client, pace=NO_PAST).fetch(MANY[:20], NOW)
        assert server.over_limit > 0
        assert "answers 429" in " ".join(reasons(answer).values())

    @pytest.mark.parametrize(("requests", "window_s"), [(3000, 300.0), (100, 1.0), (20, 0.5)])
    def test_a_window_holds_the_burst_too(self, requests: int, window_s: float) -> None:
        """A bucket that starts full adds its burst to what flows in."""
        limit = RateLimit.within(requests, window_s)
        assert limit.burst + limit.per_s * window_s < requests
        assert limit.per_s * window_s > 0.9 * requests

    async def test_connections_are_bounded(self, server: CarbonServer) -> None:
        """Many zones, both providers, one small pool."""
        server.latency_s = 0.01
        async with open_client(Timings(), connections=6, tls=TLS) as client:
            answers = await asyncio.gather(
                electricity_maps(server, client, pace=NO_PAST).fetch(MANY, NOW),
                watttime(server, client, Signal.AVERAGE, {z: z for z in MANY}).fetch(MANY, NOW),
            )
        assert [len(answer.forecasts) for answer in answers] == [40, 40]
        assert 1 < server.max_connections <= 6

    async def test_a_body_that_is_too_large(self, server: CarbonServer) -> None:
        """It is not read to its end."""
        async with open_client(Timings(), max_body_bytes=10_000, tls=TLS) as client:
            provider = electricity_maps(server, client, pace=NO_PAST)
            server.faults.add(Kind.STATUS, status=200, body=" " * 20_000, place="FR")
            answer = await provider.fetch(ZONES, NOW)
        assert "a body over 10000 bytes" in reasons(answer)["FR"]
        assert {"DE", "SE-SE3"} == set(forecasts(answer))

    async def test_a_compressed_body_is_not_unpacked(self) -> None:
        """We ask for plain ones: a small body may hold a huge one."""

        async def bomb(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx"
            )
            await writer.drain()
            writer.close()

        listener = await asyncio.start_server(bomb, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, open_client(Timings(), tls=TLS) as client:
            api = ProviderApi(client, "x", f"http://127.0.0.1:{port}", RateLimit(1.0))
            with pytest.raises(Exception, match="a compressed body"):
                await api.get("/", {})

    async def test_redirects_are_not_followed(
        self, server: CarbonServer, client: httpx.AsyncClient
    ) -> None:
        """A key is for the host that it was given for."""
        server.faults.add(Kind.STATUS, status=302, body="", endpoint="forecast")
        answer = await electricity_maps(server, client, pace=NO_PAST).fetch(["DE"], NOW)
        assert "forecast: 302" in reasons(answer)["DE"]


class TestAddresses:
    @pytest.mark.parametrize("url", ["http://api.example.org", "ftp://127.0.0.1.example.org"])
    def test_none_in_the_clear(self, client: httpx.AsyncClient, url: str) -> None:
        """Keys travel over TLS, but on this machine."""
        with pytest.raises(ProviderMisconfigured, match="https, or this machine"):
            ProviderApi(client, "x", url, RateLimit(1.0))

    async def test_a_turn_ends_with_its_exchange(self, client: httpx.AsyncClient) -> None:
        """A failure inside gives the place back."""
        api = ProviderApi(client, "x", "https://127.0.0.1:1", RateLimit(1.0), in_flight=1)
        for _ in range(3):
            with pytest.raises(ProviderDown):
                async with api.turn():
                    raise ProviderDown("as it happens")


async def test_the_login_limit_is_its_own(server: CarbonServer, client: httpx.AsyncClient) -> None:
    """The fake refuses logins over it, as the service does."""
    server.limits[f"{WATTTIME} login"] = Limit(1, 300.0)
    provider = watttime(server, client, pace=NO_PAST)
    assert (await provider.fetch(["DE"], NOW)).forecasts
    server.watttime.expire_tokens()
    answer = await provider.fetch(["DE"], NOW + timedelta(minutes=1))
    assert "answers 429" in reasons(answer)["DE"]
