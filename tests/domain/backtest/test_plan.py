"""Plans: which runs are one, and which hours they hold."""

from __future__ import annotations

from domain.backtest.plan import Plan
from domain.capacity import CapacityType
from domain.chunk_placement import PlannedChunk
from domain.room import hour_of
from tests.domain.backtest.small import START
from tests.domain.hand_made import GERMANY, HOUR, SWEDEN

SPOT = CapacityType.SPOT
FIRST = hour_of(START)


def chunk(region: str, hour: float, hours: float) -> PlannedChunk:
    return PlannedChunk(region, SPOT, START + hour * HOUR, hours * 3600)


def test_chunks_that_follow_at_once_in_one_place_are_one_run() -> None:
    chunks = [chunk(GERMANY, 0, 1), chunk(GERMANY, 1, 2), chunk(SWEDEN, 3, 1), chunk(SWEDEN, 5, 1)]
    plan = Plan.of_chunks(chunks)
    told = [((item.start - START) / HOUR, (item.end - START) / HOUR) for item in plan.stretches]
    assert told == [(0, 3), (3, 4), (5, 6)]
    assert plan.cut_at == START + 3 * HOUR


def test_the_last_run_is_not_cut() -> None:
    plan = Plan.of_chunks([chunk(GERMANY, 0, 1), chunk(GERMANY, 1, 1)])
    assert plan.cut_at is None
    assert list(plan.room()) == [((GERMANY, SPOT), range(FIRST, FIRST + 2))]


def test_an_hour_that_two_chunks_touch_is_held_once() -> None:
    """From 0:00 to 1:20 and from 1:40 to 3:00 in one place; a third elsewhere, later."""
    chunks = [chunk(GERMANY, 0, 4 / 3), chunk(GERMANY, 5 / 3, 4 / 3), chunk(SWEDEN, 8, 2)]
    assert list(Plan.of_chunks(chunks).room()) == [
        ((GERMANY, SPOT), range(FIRST, FIRST + 3)),
        ((SWEDEN, SPOT), range(FIRST + 8, FIRST + 10)),
    ]
