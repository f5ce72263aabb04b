from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.errors import ChainBroken
from domain.ledger import FIRST_ROOT_FOLLOWS, ChainHead, merkle_root
from domain.roots import next_root, require_next

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
HEADS = (ChainHead("a", 3, "aa"), ChainHead("b", 1, "bb"))


def test_the_first_root_follows_nothing() -> None:
    """Number 1, after 64 zeros, over the heads in order of their jobs."""
    root = next_root(HEADS[::-1], None, NOW)
    assert (root.number, root.previous) == (1, FIRST_ROOT_FOLLOWS)
    assert root.heads == HEADS
    assert merkle_root([head.leaf() for head in HEADS]) == root.merkle


def test_a_root_follows_the_newest() -> None:
    """The next number, and the hash of the root before."""
    first = next_root(HEADS, None, NOW)
    second = next_root(HEADS[:1], first, NOW)
    assert (2, first.hash) == (second.number, second.previous)
    require_next(second, first)


def test_where_no_chain_moved_there_is_no_root() -> None:
    """An idle fleet does not grow the ledger."""
    assert next_root((), None, NOW) is None


def test_a_root_of_another_chain_of_roots_does_not_follow() -> None:
    """The right number is not enough."""
    first, other = next_root(HEADS, None, NOW), next_root(HEADS[:1], None, NOW)
    with pytest.raises(ChainBroken):
        require_next(next_root(HEADS, other, NOW), first)
