"""The chain of Merkle roots over all jobs' chains: the next one, and what may follow which."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.errors import ChainBroken
from domain.ledger import FIRST_ROOT_FOLLOWS, ChainHead, Root, merkle_root

FIRST_NUMBER = 1


def place_after(newest: Root | None) -> tuple[int, str]:
    """(number, previous hash) of the root that may follow ``newest``."""
    if newest is None:
        return FIRST_NUMBER, FIRST_ROOT_FOLLOWS
    return newest.number + 1, newest.hash


def next_root(heads: Sequence[ChainHead], newest: Root | None, now: datetime) -> Root | None:
    """The root over ``heads``, ordered by job; ``None`` where no chain moved."""
    if not heads:
        return None
    number, previous = place_after(newest)
    ordered = tuple(sorted(heads, key=lambda head: head.job))
    return Root(
        number=number,
        recorded_at=now,
        previous=previous,
        merkle=merkle_root([head.leaf() for head in ordered]),
        heads=ordered,
    )


def require_next(root: Root, newest: Root | None) -> None:
    """Raise ``ChainBroken`` unless ``root`` follows ``newest``."""
    number, previous = place_after(newest)
    if (root.number, root.previous) != (number, previous):
        raise ChainBroken("roots", number, root.number)
