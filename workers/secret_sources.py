"""Where keys and passwords are read, as the settings say."""

from __future__ import annotations

import os

from activities.secrets.environment import EnvironmentSecrets
from domain.ports import SecretSource
from workers.sections import EnvironmentSecretsSettings, SecretsSettings, VaultSettings


def secret_source(settings: SecretsSettings) -> SecretSource:
    """Where keys and passwords are read."""
    match settings:
        case EnvironmentSecretsSettings():
            return EnvironmentSecrets(os.environ)
        case VaultSettings():
            # Its libraries take long to load: who reads the environment does not wait for them.
            from workers.vault import vault_secrets  # noqa: PLC0415

            return vault_secrets(settings)
