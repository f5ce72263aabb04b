"""Documents in SQLite: a row each."""

from __future__ import annotations

from activities.stores.sqlite_database import OnDatabase
from domain.ports import DocumentName


class SqliteDocuments(OnDatabase):
    """The ``Documents`` port."""

    def put_document(self, name: DocumentName, content: bytes) -> None:
        """Write a document whole, in place of what stands there."""
        with self._database.write() as transaction:
            transaction.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (name, content))

    def document(self, name: DocumentName) -> bytes | None:
        """What was written last; ``None`` where nothing ever was."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT content FROM documents WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else bytes(row[0])
