"""Where keys and passwords are read, as the settings say."""

from __future__ import annotations

import os

from activities.secrets.environment import EnvironmentSecrets
from activities.secrets.vault import (
    AppRoleLogin,
    AwsLogin,
    JwtLogin,
    VaultLogin,
    VaultSecrets,
)
from domain.ports import SecretSource
from workers.sections import EnvironmentSecretsSettings, SecretsSettings, VaultSettings


def secret_source(settings: SecretsSettings) -> SecretSource:
    """Where keys and passwords are read."""
    match settings:
        case EnvironmentSecretsSettings():
            return EnvironmentSecrets(os.environ)
        case VaultSettings():
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
