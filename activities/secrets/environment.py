"""Secrets from the environment: the embedded product's way."""

from __future__ import annotations

from collections.abc import Mapping

from activities.errors import SecretMissing
from domain.ports import SecretName

VARIABLES: Mapping[SecretName, str] = {
    SecretName.ELECTRICITY_MAPS_KEY: "ELECTRICITY_MAPS_API_KEY",
    SecretName.WATTTIME_USER: "WATTTIME_USER",
    SecretName.WATTTIME_PASSWORD: "WATTTIME_PASSWORD",
    SecretName.INFLUXDB_TOKEN: "INFLUXDB_TOKEN",
}
"""WattTime's are the names that its own SDK reads."""


class EnvironmentSecrets:
    """A ``SecretSource`` of environment variables."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Hold the environment, which is read at each question."""
        self._environment = environment

    def read(self, name: SecretName) -> str:
        """The variable's value.

        Raises:
            SecretMissing: it is not set, or empty.
        """
        value = self._environment.get(VARIABLES[name], "")
        if not value:
            raise SecretMissing(name, f"set {VARIABLES[name]} in the worker's environment")
        return value
