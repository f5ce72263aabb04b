"""Vault, as the settings describe it."""

from __future__ import annotations

from activities.secrets.vault import (
    AppRoleLogin,
    AwsLogin,
    JwtLogin,
    VaultLogin,
    VaultSecrets,
)
from workers.sections import VaultSettings


def vault_secrets(settings: VaultSettings) -> VaultSecrets:
    """Keys from its KV engine."""
    return VaultSecrets(
        str(settings.url).rstrip("/"),
        _login(settings),
        mount=settings.mount,
        prefix=settings.prefix,
        namespace=settings.namespace,
        ca_file=settings.ca_file,
    )


def _login(settings: VaultSettings) -> VaultLogin:
    mount = settings.auth_mount or settings.login
    if settings.login == "approle":
        return AppRoleLogin(settings.role, settings.credential_file, mount)
    if settings.login == "aws":
        return AwsLogin(settings.role, mount, settings.url.host or "")
    is_kubernetes = settings.login == "kubernetes"
    return JwtLogin(settings.role, settings.credential_file, mount, kubernetes=is_kubernetes)
