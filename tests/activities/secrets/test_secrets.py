"""Secrets against a real server with Vault's API (OpenBao), and from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from activities.errors import SecretMissing, SecretsUnavailable
from activities.secrets.environment import EnvironmentSecrets
from activities.secrets.vault import (
    READ_AGAIN_AFTER_S,
    USABLE_WITHOUT_VAULT_S,
    AppRoleLogin,
    JwtLogin,
    VaultSecrets,
)
from domain.ports import SecretName
from tests.servers.vault import vault_server

PASSWORD = "correct-horse-battery-staple"  # noqa: S105 - planted, to be looked for
LEASE_S = 60
POLICY = 'path "secret/data/lowtide/*" { capabilities = ["read"] }'
KEY, USER, WATTTIME_PASSWORD = (
    SecretName.ELECTRICITY_MAPS_KEY,
    SecretName.WATTTIME_USER,
    SecretName.WATTTIME_PASSWORD,
)


@dataclass
class Clock:
    """A clock that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Counted:
    """A login that counts how often it is used."""

    login: Any
    count: int = 0
    tokens: list[str] = field(default_factory=list)

    def __call__(self, client: Any) -> Any:
        self.count += 1
        answer = self.login(client)
        self.tokens.append(answer["auth"]["client_token"])
        return answer


@pytest.fixture(scope="module")
def root() -> Iterator[Any]:
    with vault_server() as client:
        client.sys.create_or_update_policy("lowtide-reads", POLICY)
        client.sys.enable_auth_method("approle")
        client.auth.approle.create_or_update_approle(
            "worker", token_policies=["lowtide-reads"], token_ttl=LEASE_S, token_max_ttl=3 * LEASE_S
        )
        put(client, "watttime", user="lowtide", password=PASSWORD)
        put(client, "electricity-maps", api_key="em-1")
        yield client


def put(root: Any, path: str, **fields: str) -> None:
    root.secrets.kv.v2.create_or_update_secret(f"lowtide/{path}", fields)


@pytest.fixture
def login(root: Any, tmp_path: Path) -> Counted:
    role_id = root.auth.approle.read_role_id("worker")["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id("worker")["data"]["secret_id"]
    (tmp_path / "secret-id").write_text(secret_id + "\n")
    return Counted(AppRoleLogin(role_id, tmp_path / "secret-id"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secrets(root: Any, login: Counted, clock: Clock) -> VaultSecrets:
    return VaultSecrets(root.url, login, clock=clock)


def test_secrets_are_read_by_app_role(secrets: VaultSecrets) -> None:
    """A worker with a role and its secret id gets what its policy lets it read."""
    assert secrets.read(USER) == "lowtide"
    assert secrets.read(WATTTIME_PASSWORD) == PASSWORD


def test_secrets_are_read_by_a_token_that_the_platform_signed(root: Any, tmp_path: Path) -> None:
    """A pod's service account token, a JWT, is a way in; another audience's is not."""
    key = ECKey.generate_key("P-256")
    root.sys.enable_auth_method("jwt")
    root.write_data(
        "auth/jwt/config",
        data={
            "jwt_validation_pubkeys": [key.as_pem(private=False).decode()],
            "jwt_supported_algs": ["ES256"],
        },
    )
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": ["vault"],
        "token_policies": ["lowtide-reads"],
    }
    root.write_data("auth/jwt/role/worker", data=role)
    file = tmp_path / "token"

    def sign(audience: str) -> None:
        claims = {"sub": "lowtide-worker", "aud": audience, "iat": 1, "nbf": 1, "exp": 4102444800}
        file.write_text(jwt.encode({"alg": "ES256"}, claims, key, algorithms=["ES256"]))

    login = JwtLogin("worker", file, mount="jwt", kubernetes=False)
    sign("someone-else")
    with pytest.raises(SecretsUnavailable):
        VaultSecrets(root.url, login).read(USER)
    sign("vault")
    assert VaultSecrets(root.url, login).read(USER) == "lowtide"


def test_a_rotated_secret_is_in_use_within_minutes(
    root: Any, secrets: VaultSecrets, clock: Clock
) -> None:
    """No restart: the old value is held for some minutes and then read again."""
    assert secrets.read(KEY) == "em-1"
    put(root, "electricity-maps", api_key="em-2")
    assert secrets.read(KEY) == "em-1"
    clock.now += READ_AGAIN_AFTER_S
    assert secrets.read(KEY) == "em-2"
    put(root, "electricity-maps", api_key="em-1")


def test_a_token_is_renewed_before_its_lease_ends(
    root: Any, login: Counted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One login lasts as long as Vault renews it, and a new one follows in good time."""
    monkeypatch.setattr("activities.secrets.vault.READ_AGAIN_AFTER_S", 0.0)
    secrets = VaultSecrets(root.url, login, clock=clock)
    secrets.read(USER)
    [token] = login.tokens
    clock.now += LEASE_S * 0.8
    secrets.read(USER)
    assert login.count == 1
    assert root.auth.token.lookup(token)["data"]["ttl"] >= LEASE_S - 1
    clock.now += LEASE_S
    secrets.read(USER)
    assert login.count == 2


def test_a_token_that_was_revoked_is_replaced_at_once(
    root: Any, secrets: VaultSecrets, login: Counted
) -> None:
    """An operator may revoke all tokens: the next read logs in and goes on."""
    secrets.read(USER)
    root.auth.token.revoke(login.tokens[0])
    assert secrets.read(KEY) == "em-1"
    assert login.count == 2


def test_vault_out_of_reach_is_bridged_for_an_hour(login: Counted, clock: Clock) -> None:
    """The newest value is used meanwhile; after that, and for what was never read, it says so."""
    with vault_server() as other:
        other.sys.create_or_update_policy("lowtide-reads", POLICY)
        other.sys.enable_auth_method("approle")
        other.auth.approle.create_or_update_approle("worker", token_policies=["lowtide-reads"])
        put(other, "watttime", user="lowtide", password=PASSWORD)
        put(other, "electricity-maps", api_key="em-1")
        role_id = other.auth.approle.read_role_id("worker")["data"]["role_id"]
        secret_id = other.auth.approle.generate_secret_id("worker")["data"]["secret_id"]
        file = login.login.secret_id_file
        file.write_text(secret_id)
        secrets = VaultSecrets(other.url, AppRoleLogin(role_id, file), clock=clock)
        assert secrets.read(USER) == "lowtide"
    clock.now += USABLE_WITHOUT_VAULT_S - 1
    assert secrets.read(USER) == "lowtide"
    with pytest.raises(SecretsUnavailable):
        secrets.read(KEY)
    clock.now += 1
    with pytest.raises(SecretsUnavailable):
        secrets.read(USER)


def test_a_missing_secret_tells_where_to_put_it(root: Any, login: Counted) -> None:
    """The error names mount, path and field, and no value."""
    with pytest.raises(SecretMissing, match="field user at secret/lowtide/new/watttime"):
        VaultSecrets(root.url, login, prefix="lowtide/new").read(USER)


def test_no_secret_stands_in_an_error(root: Any, login: Counted, tmp_path: Path) -> None:
    """What is refused is not quoted."""
    (tmp_path / "wrong").write_text(PASSWORD)
    wrong = AppRoleLogin(login.login.role_id, tmp_path / "wrong")
    with pytest.raises(SecretsUnavailable) as caught:
        VaultSecrets(root.url, wrong).read(USER)
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert PASSWORD not in shown
    assert login.login.role_id not in shown


def test_the_embedded_product_reads_the_environment() -> None:
    """Each secret has one variable; an empty one is a missing one, named with its remedy."""
    secrets = EnvironmentSecrets({"WATTTIME_USER": "me", "WATTTIME_PASSWORD": ""})
    assert secrets.read(USER) == "me"
    with pytest.raises(SecretMissing, match="set WATTTIME_PASSWORD"):
        secrets.read(WATTTIME_PASSWORD)
    with pytest.raises(SecretMissing, match="set ELECTRICITY_MAPS_API_KEY"):
        secrets.read(KEY)
