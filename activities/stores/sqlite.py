"""The embedded store: one SQLite file behind the ports ``SignalStore``, ``Ledger``, ``Room`` and
``Documents``.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from activities.stores.sqlite_database import Database
from activities.stores.sqlite_documents import SqliteDocuments
from activities.stores.sqlite_ledger import SqliteLedger
from activities.stores.sqlite_room import SqliteRoom
from activities.stores.sqlite_signals import SqliteSignals


class SqliteStore(SqliteSignals, SqliteLedger, SqliteRoom, SqliteDocuments):
    """Signals, ledger, blobs, room and documents in one file, shared by threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            StoreVersion: a later build of Lowtide laid it out in another way.
        """
        super().__init__(Database(path))

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
