from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from activities.stores.sqlite import SqliteStore
from tests.contracts.signal_history import OpenHistory, SignalHistoryContract


@pytest.fixture
def open_history(tmp_path: Path) -> OpenHistory:
    """The embedded store's own observations: no second table."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(SqliteStore(tmp_path / "lowtide.db"))


class TestContract(SignalHistoryContract):
    pass
