from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from activities.errors import HistoryFault
from activities.history.best_effort import BestEffortHistory
from activities.stores.sqlite import SqliteStore
from domain.forecast import Observation, Signal
from tests.contracts.signal_history import NOW, observed, read


class Raising:
    """A history that fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def put_observations(self, observations: Sequence[Observation]) -> None:
        del observations
        raise self.error

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        del zone, signal, start, end
        raise self.error


class Hanging:
    """A history that answers when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = 0

    def put_observations(self, observations: Sequence[Observation]) -> None:
        del observations
        self.began += 1
        assert self.go.wait(timeout=60)

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        del zone, signal, start, end
        return ()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    history = Hanging()
    yield history
    history.go.set()


async def test_what_is_put_is_kept(tmp_path: Path) -> None:
    """There is nothing to tell then."""
    with SqliteStore(tmp_path / "lowtide.db") as store:
        history = BestEffortHistory(store)
        assert await history.put_observations([observed()]) is None
        assert read(store) == (observed(),)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (HistoryFault("h", "answers 503"), "history h: answers 503"),
        (RuntimeError("token planted"), "failed with RuntimeError"),
    ],
)
async def test_a_failure_is_told_and_never_raised(error: Exception, told: str) -> None:
    """Our own faults by their text, all others by their type: a text may hold secrets."""
    history = BestEffortHistory(Raising(error))
    assert await history.put_observations([observed(NOW)]) == told


async def test_a_history_that_hangs_holds_nothing_up(hanging: Hanging) -> None:
    """The wait ends; the next refreshes pass it by until it is done, then it is used again."""
    history = BestEffortHistory(hanging, within_s=0.05)
    assert await history.put_observations([observed()]) == "not done after 0.05 s"
    skipped = "skipped: still busy with what an earlier refresh brought"
    assert await history.put_observations([observed()]) == skipped
    assert hanging.began == 1
    hanging.go.set()
    patient = BestEffortHistory(hanging)
    assert await patient.put_observations([observed()]) is None
