"""What every ``Documents`` does. An adapter's tests subclass this with a fixture ``store``."""

from __future__ import annotations

import pytest

from domain.ports import DocumentName, Documents


class DocumentsContract:
    @pytest.mark.parametrize("content", [b"", b"[]", bytes(range(256)) * 100])
    def test_a_document_is_read_back_to_the_last_byte(
        self, store: Documents, content: bytes
    ) -> None:
        """Whatever is in it; an empty one is a document too."""
        store.put_document(DocumentName.RECLAIMS, content)
        assert content == store.document(DocumentName.RECLAIMS)

    def test_the_last_writer_wins(self, store: Documents) -> None:
        """A document is replaced whole, and may be written twice."""
        for content in (b"a long first document", b"second", b"second"):
            store.put_document(DocumentName.RECLAIMS, content)
        assert store.document(DocumentName.RECLAIMS) == b"second"

    def test_documents_are_apart(self, store: Documents) -> None:
        """Each has its own content, and one that nobody wrote has none."""
        store.put_document(DocumentName.RECLAIMS, b"reclaims")
        assert store.document(DocumentName.FRESH_PRICES) is None
        store.put_document(DocumentName.FRESH_PRICES, b"prices")
        assert store.document(DocumentName.RECLAIMS) == b"reclaims"
