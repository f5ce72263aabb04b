"""One way to reach Temporal, for clients and workers alike."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime

from workflows.plugin import lowtide_plugin

DEFAULT_ADDRESS = "127.0.0.1:7233"


def target(address: str | None = None) -> str:
    """The address that ``connect`` goes to."""
    if address is not None:
        return address
    return ClientConfig.load_client_connect_config().get("target_host", DEFAULT_ADDRESS)


async def connect(
    address: str | None = None, namespace: str | None = None, runtime: Runtime | None = None
) -> Client:
    """Connect with Lowtide's plugin.

    Address, namespace, TLS and API key come from Temporal's own profile file and ``TEMPORAL_*``
    environment; arguments outrank them.

    Raises:
        RuntimeError: nothing answers there, or it refuses us (from temporalio).
    """
    config = ClientConfig.load_client_connect_config()
    config["target_host"] = target(address)
    if namespace is not None:
        config["namespace"] = namespace
    config.setdefault("namespace", "default")
    if runtime is not None:
        return await Client.connect(**config, runtime=runtime, plugins=[lowtide_plugin()])
    return await Client.connect(**config, plugins=[lowtide_plugin()])
