"""Secrets from Vault's KV engine (version 2), read with a short-lived token.

The token is held in memory alone. It is renewed while Vault allows it and fetched anew when that
ends, before it lapses; a secret is read again every few minutes, so that a rotated key takes
effect without a restart. While Vault is out of reach the newest value is used for a bounded time:
carbon signals are advisory, and an hour of a key that still works beats an hour without signals.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import boto3  # type: ignore[import-untyped]
import hvac
import hvac.exceptions
import requests
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    NoCredentialsError,
)

from activities.errors import SecretMissing, SecretsUnavailable
from domain.ports import SecretName

READ_AGAIN_AFTER_S = 300.0
"""A rotated secret is in use after this at the latest."""

USABLE_WITHOUT_VAULT_S = 3600.0
"""How old a value may be that is used because Vault does not answer."""

RENEW_AT = 1 / 3
"""Share of the token's lease that must be left; with less it is renewed."""

TIMEOUT_S = 5

_FAILED = hvac.exceptions.VaultError, requests.RequestException, BotoCoreError, OSError
"""Vault's refusal, no answer, or nothing to log in with."""

PLACES: Mapping[SecretName, tuple[str, str]] = {
    SecretName.ELECTRICITY_MAPS_KEY: ("electricity-maps", "api_key"),
    SecretName.WATTTIME_USER: ("watttime", "user"),
    SecretName.WATTTIME_PASSWORD: ("watttime", "password"),
    SecretName.INFLUXDB_TOKEN: ("influxdb", "token"),
}
"""(path below the prefix, field)."""


class VaultLogin(Protocol):
    """One way to get a token."""

    def __call__(self, client: Any) -> Mapping[str, Any]:
        """Vault's answer, whose ``auth`` holds token and lease."""


@dataclass(frozen=True, slots=True)
class JwtLogin:
    """By a JWT that the platform writes to a file and rotates: a pod's service account token.

    ``mount`` is Vault's path of the auth method, of type kubernetes or jwt.
    """

    role: str
    token_file: Path
    mount: str
    kubernetes: bool = True

    def __call__(self, client: Any) -> Mapping[str, Any]:
        """Log in with what the file holds now."""
        token = self.token_file.read_text().strip()
        if self.kubernetes:
            answer = client.auth.kubernetes.login(self.role, token, mount_point=self.mount)
        else:
            answer = client.auth.jwt.jwt_login(self.role, token, path=self.mount)
        return dict(answer)


@dataclass(frozen=True, slots=True)
class AppRoleLogin:
    """By AppRole, for machines without an identity of their own."""

    role_id: str
    secret_id_file: Path
    mount: str = "approle"

    def __call__(self, client: Any) -> Mapping[str, Any]:
        """Log in with what the file holds now."""
        secret_id = self.secret_id_file.read_text().strip()
        answer = client.auth.approle.login(self.role_id, secret_id, mount_point=self.mount)
        return dict(answer)


@dataclass(frozen=True, slots=True)
class AwsLogin:
    """By the AWS role that this process runs under, which signs the login: nothing is kept.

    ``server`` is Vault's own name, which is signed too: where Vault asks for it
    (``iam_server_id_header_value``), a login that was meant for another server is refused.
    """

    role: str
    mount: str
    server: str

    def __call__(self, client: Any) -> Mapping[str, Any]:
        """Log in with the credentials that boto3 finds now. Raises ``BotoCoreError`` if none."""
        found = boto3.Session().get_credentials()
        if found is None:
            raise NoCredentialsError
        signer = found.get_frozen_credentials()
        answer = client.auth.aws.iam_login(
            signer.access_key,
            signer.secret_key,
            signer.token,
            header_value=self.server,
            role=self.role,
            mount_point=self.mount,
        )
        return dict(answer)


@dataclass(frozen=True, slots=True)
class _Held:
    """A path's fields, and when they were read."""

    fields: Mapping[str, str]
    read_at: float


class VaultSecrets:
    """A ``SecretSource`` on Vault. Safe for threads."""

    def __init__(
        self,
        url: str,
        login: VaultLogin,
        *,
        mount: str = "secret",
        prefix: str = "lowtide",
        namespace: str | None = None,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold the address and the way in; nothing is asked yet."""
        self._client: Any = hvac.Client(
            url=url,
            namespace=namespace,
            timeout=TIMEOUT_S,
            verify=str(ca_file) if ca_file else True,
        )
        self._login = login
        self._mount = mount
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._lease_s = 0.0
        self._ends_at = 0.0

    def read(self, name: SecretName) -> str:
        """The secret, at most ``READ_AGAIN_AFTER_S`` old while Vault answers.

        Raises:
            SecretMissing: the path or the field is not there.
            SecretsUnavailable: Vault does not answer or refuses us, and nothing young is held.
        """
        path, name_of_field = PLACES[name]
        with self._lock:
            fields = self._fields(path)
        value = fields.get(name_of_field)
        if not value:
            where = f"{self._mount}/{self._prefix}/{path}"
            raise SecretMissing(name, f"put field {name_of_field} at {where} in Vault")
        return value

    def _fields(self, path: str) -> Mapping[str, str]:
        held, now = self._held.get(path), self._clock()
        if held is not None and now - held.read_at < READ_AGAIN_AFTER_S:
            return held.fields
        try:
            fields = self._ask(path)
        except _FAILED as error:
            if held is not None and now - held.read_at < USABLE_WITHOUT_VAULT_S:
                return held.fields
            # Only the kind of error: a client's message may quote what was sent.
            raise SecretsUnavailable(
                f"{self._mount}/{self._prefix}/{path}", type(error).__name__
            ) from None
        self._held[path] = _Held(fields, now)
        return fields

    def _ask(self, path: str) -> Mapping[str, str]:
        self._keep_token()
        try:
            return self._read(path)
        except hvac.exceptions.Forbidden:
            # The token was revoked, or lapsed while this machine slept: once more with a new one.
            self._log_in()
            return self._read(path)

    def _read(self, path: str) -> Mapping[str, str]:
        try:
            answer = self._client.secrets.kv.v2.read_secret_version(
                f"{self._prefix}/{path}", mount_point=self._mount, raise_on_deleted_version=True
            )
        except hvac.exceptions.InvalidPath:
            return {}
        return dict(answer["data"]["data"])

    def _keep_token(self) -> None:
        left = self._ends_at - self._clock()
        if left <= 0:
            self._log_in()
        elif left < self._lease_s * RENEW_AT:
            try:
                answer = self._client.auth.token.renew_self()
            except hvac.exceptions.VaultError:
                self._log_in()
                return
            granted_s = self._take(answer)
            if granted_s < self._lease_s * RENEW_AT:
                # Near the end of all renewals Vault grants what is left of them, no whole lease.
                self._log_in()

    def _log_in(self) -> None:
        self._client.token = None
        self._lease_s = self._take(self._login(self._client))

    def _take(self, answer: Mapping[str, Any]) -> float:
        """Use the token of ``answer``; returns the lease that it grants, in seconds."""
        granted_s = float(answer["auth"]["lease_duration"])
        self._client.token = answer["auth"]["client_token"]
        self._ends_at = self._clock() + granted_s
        return granted_s
