"""Where signals, room and ledger are kept, as the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activities.stores.sqlite import SqliteStore
from workers.settings import Settings

if TYPE_CHECKING:
    from activities.stores.dynamodb import DynamoStore


def store_of(settings: Settings) -> SqliteStore | DynamoStore:
    """One store behind the ports of signals, ledger and room."""
    if settings.store.kind == "sqlite":
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        return SqliteStore(settings.database)
    # AWS's library takes long to load: who keeps all in SQLite does not wait for it.
    from workers.dynamodb import dynamo_store  # noqa: PLC0415

    return dynamo_store(settings.store)
