"""Documents in DynamoDB: an item each, in the signals' table.

Where that is a global one, each region's workers read the document near them, and the last writer
wins over all regions, as the port has it anyway.
"""

from __future__ import annotations

from activities.errors import StepTooLarge
from activities.stores.dynamodb_table import ITEM_BYTES, Key, Table, keyed
from domain.ports import DocumentName

MOST_BYTES = ITEM_BYTES - 1024
"""What a document may have; the rest is for its key."""


class DynamoDocuments:
    """The ``Documents`` port."""

    def __init__(self, table: Table) -> None:
        """Hold the signals' table."""
        self._documents = table

    def put_document(self, name: DocumentName, content: bytes) -> None:
        """Write a document whole, in place of what stands there. One request.

        Raises:
            StepTooLarge: it is more than an item takes.
        """
        if len(content) > MOST_BYTES:
            raise StepTooLarge(f"document {name}", len(content), MOST_BYTES)
        self._documents.put_all([keyed(_key(name), content=content)])

    def document(self, name: DocumentName) -> bytes | None:
        """What was written last; ``None`` where nothing ever was. One request."""
        item = self._documents.get(_key(name))
        return None if item is None else bytes(item["content"])


def _key(name: DocumentName) -> Key:
    return "documents", name.value
