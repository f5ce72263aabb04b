"""All who are sent secrets, on one port, as indiscreet as they can be.

The fakes of both carbon providers, and what the product uses of Vault, InfluxDB and S3. Told to,
one of them answers with an error that repeats what it was sent, in a header and in the body; and
what every request held is kept, so that a test can show what really travelled.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

from tests.servers.carbon import CarbonServer

VAULT, INFLUX, S3 = "v1", "influx", "s3"
"""The first part of each one's paths; Vault's is its API's version."""

REFUSED = "refused-for-all-to-read"
"""Begins each error: an innocent text, that may be repeated anywhere."""

SECRET_HEADERS = ("Authorization", "auth-token", "X-Vault-Token", "X-Amz-Security-Token")


@dataclass
class Vault:
    """What is in it, for whoever comes."""

    token: str = ""
    """Given at each login."""
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path below the prefix -> fields."""

    def answer(self, path: str) -> web.Response:
        """A login, or one secret."""
        if path.startswith("auth/"):
            auth = {"client_token": self.token, "lease_duration": 3600}
            return web.json_response({"auth": auth})
        fields = self.secrets[path.rpartition("/")[2]]
        return web.json_response({"data": {"data": fields, "metadata": {}}})


class EchoingServer(CarbonServer):
    """Answers well, or with an error that repeats what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.vault = Vault()
        self.echoes: dict[str, int] = {}
        """First part of a path, or that and its last (``watttime login``) -> status."""
        self.sent: list[str] = []
        """What each request held in headers and body that nobody else should read."""
        for path in ("/{provider}", "/{provider}/{path:.*}"):
            self._runner.app.router.add_route("*", path, self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        provider, path = request.match_info["provider"], request.match_info.get("path", "")
        sent = await _sent(request)
        self.sent.append(sent)
        endpoint = f"{provider} {path.rpartition('/')[2]}"
        status = self.echoes.get(endpoint, self.echoes.get(provider))
        if status is not None:
            return _echo(provider, status, f"{REFUSED}: you sent {sent}")
        if provider == VAULT:
            return self.vault.answer(path)
        if provider == INFLUX:
            return web.json_response({"results": [{"statement_id": 0}]})
        if provider == S3:
            return web.Response()
        return await super()._serve(request)


async def _sent(request: web.Request) -> str:
    """Secret headers, what Basic wraps, and the body."""
    parts = []
    for name in SECRET_HEADERS:
        if value := request.headers.get(name):
            parts.append(f"{name}: {value}")
            if value.startswith("Basic "):
                parts.append(base64.b64decode(value.removeprefix("Basic ")).decode())
    return " ".join([*parts, (await request.read()).decode(errors="replace")])


def _echo(provider: str, status: int, text: str) -> web.Response:
    """In the form of each one's errors, and in a header. Of InfluxDB, 200 is a failed query."""
    headers = {"X-Error": " ".join(text.split())[:2000], "Retry-After": "0"}
    if provider == S3:
        document = f"<Error><Code>AccessDenied</Code><Message>{escape(text)}</Message></Error>"
        return web.Response(
            text=document, status=status, headers=headers, content_type="application/xml"
        )
    told = {"error": text, "errors": [text], "results": [{"statement_id": 0, "error": text}]}
    return web.Response(
        text=json.dumps(told), status=status, headers=headers, content_type="application/json"
    )
