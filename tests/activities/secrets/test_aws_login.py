"""Vault's AWS auth, which the test server does not have: a stand-in that checks as AWS would."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from activities.errors import SecretsUnavailable
from domain.ports import SecretName
from workers.secret_sources import secret_source
from workers.sections import VaultSettings

ROLE, KEY_ID, SECRET_KEY, SESSION = "refresh", "AKIAOFATEST", "secret-key-of-a-test", "session"
TOKEN = "vault-token-of-a-test"  # noqa: S105 - of a server that lives for one test

pytestmark = pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")
"""hvac's, from Python 3.12 on."""


class Vault(BaseHTTPRequestHandler):
    """Lets in whom AWS would know by the signature, and shows one secret."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = json.loads(body)
        well = self.path == "/v1/auth/aws/login" and told["role"] == ROLE and is_signed(told)
        self._answer({"auth": {"client_token": TOKEN, "lease_duration": 60}} if well else None)

    def do_GET(self) -> None:
        well = self.path == "/v1/secret/data/lowtide/watttime"
        well = well and self.headers["X-Vault-Token"] == TOKEN
        self._answer({"data": {"data": {"user": "lowtide"}, "metadata": {}}} if well else None)

    def _answer(self, document: dict[str, Any] | None) -> None:
        self.send_response(403 if document is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(document or {"errors": ["denied"]}).encode())

    def log_message(self, *_: object) -> None:
        pass


def is_signed(told: dict[str, str]) -> bool:
    """Whether a GetCallerIdentity of ours, meant for this server, bears the signature that AWS's
    own library computes for it.
    """
    parts = (told[f"iam_request_{name}"] for name in ("url", "headers", "body"))
    url, headers, body = (base64.b64decode(part).decode() for part in parts)
    sent = {name: value for name, [value] in json.loads(headers).items()}
    if sent["X-Vault-AWS-IAM-Server-ID"] != "127.0.0.1":
        return False
    authorization = sent.pop("Authorization")
    request = AWSRequest(told["iam_http_request_method"], url, sent, body)
    request.context["timestamp"] = sent["X-Amz-Date"]
    signer = SigV4Auth(Credentials(KEY_ID, SECRET_KEY, SESSION), "sts", "us-east-1")
    expected = signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )
    asks = url == "https://sts.amazonaws.com/" and body.startswith("Action=GetCallerIdentity")
    return asks and authorization.endswith(f"Signature={expected}")


@pytest.fixture
def vault_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vault)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def function_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials as Lambda gives them to a function: in its environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)


def read(vault_url: str) -> str:
    settings = VaultSettings(kind="vault", url=vault_url, login="aws", role=ROLE)
    return secret_source(settings).read(SecretName.WATTTIME_USER)


def test_the_role_that_a_process_runs_under_is_its_way_in(vault_url: str) -> None:
    """Its signature, over Vault's own name too, is the proof; no credential is kept anywhere."""
    assert read(vault_url) == "lowtide"


def test_another_key_is_refused(vault_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error tells no more than the kind."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(SecretsUnavailable, match="Forbidden") as raised:
        read(vault_url)
    assert "another" not in str(raised.value)


def test_a_process_without_a_role_is_told(vault_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that Vault does not let in."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(SecretsUnavailable, match="NoCredentialsError"):
        read(vault_url)
