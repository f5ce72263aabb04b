"""An account at WattTime, API v3: login, token, and the schema of what it answers.

- ``/login`` (no version in its path) takes Basic and gives a token for 30 minutes. An expired
  token, or bad credentials, may be answered with 401 or with 403 and an HTML page; 403 with JSON is
  about the plan. ``/login`` has a limit of its own, 100 in 5 minutes: one login at a time.
- Values are lb/MWh of **CO2**, not CO2e, from combustion alone.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping

import httpx
from pydantic import AwareDatetime

from activities.carbon.api import Answer, BreakerSettings, ProviderApi, RateLimit, Wire
from activities.carbon.normalise import Point
from activities.errors import ActivityFault, AnswerRefused, ProviderDown
from domain.ports import SecretName, SecretSource

NAME = "watttime"
BASE_URL = "https://api.watttime.org"
API = "v3"

RATE = RateLimit.within(3000, 300)
"""The published limit: 3,000 requests in any 5 minutes, for each user."""

TOKEN_S = 25 * 60
"""A token is renewed at this age; it is good for 30 minutes."""

G_PER_KWH_OF_LB_PER_MWH = 0.45359237
"""One pound is 453.59237 g, one MWh 1,000 kWh."""

OK, UNAUTHORISED, FORBIDDEN = 200, 401, 403


class Login(Wire):
    """``GET /login``."""

    token: str


class Model(Wire):
    """Which model made the values."""

    date: str


class Warned(Wire):
    """Something that the provider wants known about an answer."""

    type: str
    message: str


class Meta(Wire):
    """What the values are."""

    region: str
    signal_type: str
    units: str
    data_point_period_seconds: int
    model: Model | None = None
    generated_at: AwareDatetime | None = None
    warnings: tuple[Warned, ...] | None = None


class Value(Wire):
    """One step."""

    point_time: AwareDatetime
    value: float
    imputed_data_used: bool | None = None


class Values(Wire):
    """``GET /v3/forecast`` and ``/v3/historical``."""

    data: tuple[Value, ...]
    meta: Meta

    def points(self) -> tuple[Point, ...]:
        """The steps in g/kWh, to the milligram."""
        return tuple(
            Point(
                item.point_time,
                round(item.value * G_PER_KWH_OF_LB_PER_MWH, 3),
                bool(item.imputed_data_used),
            )
            for item in self.data
        )


class WattTimeApi:
    """One account: token, rate limit and breaker, shared by the providers of both signals."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        secrets: SecretSource,
        *,
        base_url: str = BASE_URL,
        limit: RateLimit = RATE,
        breaker: BreakerSettings = BreakerSettings(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold the client; user and password are read at each login.

        Args:
            client: from ``open_client``; it is not closed here.
            secrets: holds user and password.
            base_url: without the version.
            limit: of all requests of this account together.
            breaker: when the provider is left in peace.
            clock: seconds; tells a token's age.

        Raises:
            ProviderMisconfigured: an address in the clear.
        """
        self._api = ProviderApi(client, NAME, base_url, limit, breaker)
        self._secrets = secrets
        self._clock = clock
        self._login = asyncio.Lock()
        self._token: str | None = None
        self._renew_at = 0.0

    async def get(self, path: str, params: Mapping[str, str | int]) -> Values:
        """One answer, with a login where one is needed.

        Raises:
            ProviderDown: out of reach, or no login.
            AnswerRefused: not served, or not of the schema.
        """
        async with self._api.turn():
            token = await self._valid_token()
            answer = await self._get(path, params, token)
            if _needs_login(answer):
                answer = await self._get(path, params, await self._valid_token(refused=token))
                if _needs_login(answer):
                    raise ProviderDown("a new token is refused too")
            if answer.status != OK:
                raise AnswerRefused(f"{path}: {answer.status}{self._api.said(answer)}")
        return answer.read(Values)

    async def _get(self, path: str, params: Mapping[str, str | int], token: str) -> Answer:
        return await self._api.get(
            f"/{API}/{path}", params, headers={"Authorization": f"Bearer {token}"}
        )

    async def _valid_token(self, refused: str | None = None) -> str:
        """The token in force. Many may ask at once: one of them logs in."""
        async with self._login:
            if self._token in {None, refused} or self._clock() >= self._renew_at:
                self._token = None
                self._token = await self._new_token()
                self._renew_at = self._clock() + TOKEN_S
            return self._token

    async def _new_token(self) -> str:
        try:
            user = await asyncio.to_thread(self._secrets.read, SecretName.WATTTIME_USER)
            password = await asyncio.to_thread(self._secrets.read, SecretName.WATTTIME_PASSWORD)
        except ActivityFault as fault:
            raise ProviderDown(str(fault)) from None
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        for label, secret in {"user": user, "password": password, "basic": basic}.items():
            self._api.mask(label, secret)
        answer = await self._api.get("/login", {}, headers={"Authorization": f"Basic {basic}"})
        if answer.status != OK:
            raise ProviderDown(f"login refused: {answer.status}{self._api.said(answer)}")
        try:
            return self._api.header_value("token", answer.read(Login).token)
        except AnswerRefused as refused:
            raise ProviderDown(f"login: {refused}") from None


def _needs_login(answer: Answer) -> bool:
    return answer.status == UNAUTHORISED or (answer.status == FORBIDDEN and not answer.is_json)
