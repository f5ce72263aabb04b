"""A step finds its place in the chain past what a step given up may have left there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities.commits import commit_next
from activities.stores.sqlite import SqliteStore
from domain.errors import ChainBroken
from domain.job import DecisionReason, Outcome
from domain.ledger import Draft, EventKind
from domain.ports import Commit

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
JOB = "job-default-nightly"


def decision(reason: DecisionReason) -> Draft:
    return Draft(EventKind.DECISION, NOW, {"reason": reason.value})


def dispatch(attempt: int = 1) -> Draft:
    return Draft(EventKind.DISPATCH, NOW, {"attempt": attempt})


def attempt(number: int = 1) -> Draft:
    return Draft(EventKind.ATTEMPT, NOW, {"attempt": number})


PLAN = decision(DecisionReason.PLAN)
LOOK = decision(DecisionReason.LOOK)
FALLBACK = decision(DecisionReason.FALLBACK)
OVERRIDE = Draft(EventKind.OVERRIDE, NOW, {"kind": "run_now"})
COMPLETION = Draft(EventKind.COMPLETION, NOW, {})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "lowtide.db") as opened:
        opened.admit(JOB, b"{}", "e1", rerun=False)
        opened.commit(Commit(JOB, 1, (PLAN,)))
        yield opened


def kinds(store: SqliteStore) -> list[EventKind]:
    return [event.kind for event in store.events(JOB)]


@pytest.mark.parametrize(
    ("left", "step"),
    [
        ((dispatch(),), (attempt(), COMPLETION)),
        ((dispatch(),), (attempt(), FALLBACK)),
        ((LOOK,), (dispatch(),)),
        ((LOOK,), (OVERRIDE, decision(DecisionReason.OVERRIDE))),
        ((LOOK, dispatch()), (attempt(), COMPLETION)),
    ],
)
def test_a_step_goes_past_what_was_given_up_before_it(
    store: SqliteStore, left: tuple[Draft, ...], step: tuple[Draft, ...]
) -> None:
    """Its workflow never heard of those events; repeated, the step is still written once."""
    for place, draft in enumerate(left, start=2):
        store.commit(Commit(JOB, place, (draft,)))
    events = commit_next(store, Commit(JOB, 2, step))
    assert [PLAN.kind, *(draft.kind for draft in (*left, *step))] == kinds(store)
    assert events == commit_next(store, Commit(JOB, 2, step))
    assert len(kinds(store)) == 1 + len(left) + len(step)


@pytest.mark.parametrize("step", [(attempt(), FALLBACK), (dispatch(),), (LOOK,)])
def test_a_step_whose_place_is_free_takes_it(store: SqliteStore, step: tuple[Draft, ...]) -> None:
    """What was given up had not been written."""
    assert commit_next(store, Commit(JOB, 2, step))[0].seq == 2


@pytest.mark.parametrize(
    ("written", "late"),
    [
        ((attempt(), FALLBACK), (dispatch(),)),
        ((attempt(), COMPLETION), (dispatch(),)),
        ((OVERRIDE, decision(DecisionReason.OVERRIDE)), (LOOK,)),
        ((dispatch(),), (LOOK,)),
        ((dispatch(2),), (attempt(1), FALLBACK)),
        ((FALLBACK,), (dispatch(),)),
    ],
)
def test_a_step_given_up_that_comes_late_is_refused(
    store: SqliteStore, written: tuple[Draft, ...], late: tuple[Draft, ...]
) -> None:
    """What was written in its stead stands, and nothing follows it out of turn."""
    store.commit(Commit(JOB, 2, written))
    before = store.events(JOB)
    with pytest.raises(ChainBroken):
        commit_next(store, Commit(JOB, 2, late))
    assert before == store.events(JOB)


def test_a_place_beyond_the_chain_is_refused(store: SqliteStore) -> None:
    """A gap is nothing that was left behind."""
    with pytest.raises(ChainBroken):
        commit_next(store, Commit(JOB, 3, (attempt(), COMPLETION), outcome=Outcome.SUCCEEDED))
