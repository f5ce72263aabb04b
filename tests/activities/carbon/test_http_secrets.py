"""No secret in what we say: planted ones are looked for wherever a person or a store may read."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest

from activities.carbon.api import open_client
from activities.carbon.electricity_maps import ElectricityMaps
from activities.carbon.failover import Failover
from activities.carbon.watttime import WattTime
from activities.errors import ProviderMisconfigured
from domain.forecast import Signal
from domain.ports import ProviderAnswer, SecretName
from tests.activities.carbon.loopback import (
    IMPATIENT,
    NOW,
    REGIONS,
    TLS,
    ZONES,
    Secrets,
    account,
    electricity_maps,
    reasons,
)
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME, CarbonServer
from tests.servers.carbon_faults import Kind

PLANTED = {"key": "planted-key-9f3c", "user": "planted-user-77aa", "password": "planted-pass-51bd"}
TOKEN = "planted-token-c0de"  # noqa: S105 - planted


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every log line of every library, down to debug."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


def secrets_in(text: str) -> list[str]:
    return [secret for secret in (*PLANTED.values(), TOKEN) if secret in text]


FAULTS = {
    "echoed by a refusal": (Kind.STATUS, {"status": 401}),
    "echoed by a plan": (Kind.STATUS, {"status": 403}),
    "echoed by a failure": (Kind.STATUS, {"status": 500}),
    "never answered": (Kind.HANG, {}),
    "a spoilt answer": (Kind.DRIFT, {}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_refusals_logs_and_representations_hold_none(
    server: CarbonServer, said: pytest.LogCaptureFixture, fault: str
) -> None:
    """Also where the provider itself repeats a secret in what it answers."""
    kind, more = FAULTS[fault]
    server.faults.add(Kind.STATUS, status=200, endpoint="login", body=f'{{"token": "{TOKEN}"}}')
    for provider, sent in (
        (ELECTRICITY_MAPS, PLANTED["key"]),
        (WATTTIME, f"{PLANTED['password']} and {TOKEN}"),
    ):
        body = f'{{"error": "you sent {sent}"}}'
        server.faults.add(kind, provider=provider, body=body, **more)
    secrets = Secrets(**PLANTED)
    async with open_client(IMPATIENT, tls=TLS) as client:
        em = electricity_maps(server, client, secrets=secrets)
        wt_account = account(server, client, secrets=secrets)
        wt = WattTime(wt_account, Signal.MARGINAL, REGIONS)
        answer = await Failover({Signal.MARGINAL: [wt], Signal.AVERAGE: [em]}).fetch(ZONES, NOW)
        shown = [repr(item) for item in (em, wt, wt_account, vars(em), client, answer)]
    assert len(answer.refusals) >= 2 * len(ZONES)
    assert secrets_in(str(answer.refusals) + said.text + " ".join(shown)) == []
    assert said.text
    if "echoed" in fault:
        assert "you sent ***" in str(answer.refusals)


@pytest.mark.parametrize("key", ["planted-key-9f3c\n", "planted-key-9f3c é", ""])
async def test_a_key_that_no_header_may_hold(
    server: CarbonServer, client: httpx.AsyncClient, said: pytest.LogCaptureFixture, key: str
) -> None:
    """A newline at its end is the usual slip, and the HTTP library would quote the key."""
    provider = electricity_maps(server, client, secrets=Secrets(key=key))
    answer = await provider.fetch(["DE"], NOW)
    assert "the key holds what no header may" in reasons(answer)["DE"]
    assert secrets_in(str(answer) + said.text) == []


async def test_a_secret_store_that_is_out_of_reach(
    server: CarbonServer, client: httpx.AsyncClient
) -> None:
    """The zones are refused with the store's own words, and nothing is asked."""

    class Away(Secrets):
        def read(self, name: SecretName) -> str:
            del name
            raise ProviderMisconfigured("vault", "state", "sealed", "unsealed")

    answers: list[ProviderAnswer] = [
        await ElectricityMaps(client, Away(), base_url=server.electricity_maps_url).fetch(
            ["DE"], NOW
        ),
        await WattTime(account(server, client, secrets=Away()), Signal.MARGINAL, REGIONS).fetch(
            ["DE"], NOW
        ),
    ]
    for answer in answers:
        assert "vault: state is sealed" in reasons(answer)["DE"]
    assert server.requests.total() == 0
