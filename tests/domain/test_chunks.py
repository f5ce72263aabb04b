"""The cheapest chunks against every plan there is, on grids small enough to write them all down."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import chunks
from domain.chunks import Chunk, Chunks, Held, Slots, Work, cheapest

SLOT_S = 60
NEVER = 10**9


@dataclass(frozen=True)
class Case:
    """A small problem in whole seconds, with rates that add up exactly."""

    edges: tuple[int, ...]
    rates: tuple[tuple[float, ...], ...]
    begins: tuple[float, ...]
    """Of each row."""
    full: tuple[frozenset[int], ...]
    """Slots of each row that have no room."""
    walls: tuple[int, ...]
    """Of each row."""
    groups: tuple[int, ...]
    work: int
    min_chunk: int
    start_up: int
    resume: int
    tail: int
    """For how long there must be room after the work's end."""

    @property
    def rows(self) -> range:
        return range(len(self.rates))

    def group(self, row: int) -> int:
        return sum(first <= row for first in self.groups)

    def next_full(self, row: int, slot: int) -> int:
        return min((self.edges[item] for item in self.full[row] if item >= slot), default=NEVER)

    def as_asked(self) -> tuple[Work, Slots]:
        slots = range(len(self.edges) - 1)
        full = np.array([[self.next_full(row, slot) for slot in slots] for row in self.rows])
        walls = np.array(self.walls)[:, None]
        return (
            Work(self.work, self.min_chunk, self.start_up, self.resume),
            Slots(
                edges_s=np.array(self.edges, dtype=float),
                rates=np.array(self.rates),
                begins=np.repeat(np.array(self.begins)[:, None], len(slots), axis=1),
                open_until_s=np.minimum(walls, full).astype(float),
                done_by_s=np.minimum(walls, full - self.tail).astype(float),
                groups=np.array(self.groups),
            ),
        )

    # ── every plan there is ──────────────────────────────────────────────────────────────────

    def plans(
        self, edge: int = 0, done: int = 0, group: int | None = None, left: int | None = None
    ) -> Iterator[tuple[float, tuple[Chunk, ...]]]:
        """(cost, chunks) of every way to do what is left from an edge on, but to begin again at
        once in the row that was just left.
        """
        if edge == len(self.edges) - 1:
            return
        yield from self.plans(edge + 1, done, group)
        for row in self.rows:
            if row != left and group in (None, self.group(row)):
                yield from self.plans_with(edge, row, done)

    def plans_with(
        self, edge: int, row: int, done: int
    ) -> Iterator[tuple[float, tuple[Chunk, ...]]]:
        """Those in which a chunk begins now in a row."""
        begin, useful_from = self.edges[edge], self.edges[edge] + self.start_up
        useful_from += self.resume if done else 0
        last = useful_from + self.work - done
        if last <= self.walls[row] and self.has_room(row, begin, last + self.tail):
            yield self.cost(row, begin, last), (Chunk(row, begin, last - begin),)
        for stop in range(edge + 1, len(self.edges)):
            end = self.edges[stop]
            gained = end - useful_from
            if end - begin < self.min_chunk or gained <= 0 or done + gained >= self.work:
                continue
            if end <= self.walls[row] and self.has_room(row, begin, end):
                for cost, rest in self.plans(stop, done + gained, self.group(row), row):
                    chunk = Chunk(row, begin, end - begin)
                    yield cost + self.cost(row, begin, end), (chunk, *rest)

    def has_room(self, row: int, begin: int, end: int) -> bool:
        return not any(
            begin < self.edges[slot + 1] and self.edges[slot] < end for slot in self.full[row]
        )

    def cost(self, row: int, begin: int, end: int) -> float:
        spans = zip(self.edges, self.edges[1:], self.rates[row], strict=False)
        paid_from = begin + self.start_up
        return self.begins[row] + sum(
            max(0, min(end, right) - max(paid_from, left)) * rate for left, right, rate in spans
        )


def order(plan: tuple[Chunk, ...]) -> tuple[tuple[float, int, float], ...]:
    return tuple((chunk.start_s, chunk.row, -chunk.duration_s) for chunk in plan)


RATES = st.integers(0, 5).map(lambda number: number / 128)


@st.composite
def cases(draw: st.DrawFn, most_rows: int = 3, cells: int = 12) -> Case:
    rows = draw(st.integers(1, most_rows))
    count = draw(st.integers(1, max(1, min(8, cells // rows))))
    first = draw(st.sampled_from([SLOT_S, SLOT_S, 17, 59]))
    edges = (0, *(first + SLOT_S * number for number in range(count)))
    each = st.tuples(*[RATES] * count)
    full = st.frozensets(st.integers(0, count - 1), max_size=2)
    return Case(
        edges=edges,
        rates=draw(st.tuples(*[each] * rows)),
        begins=draw(st.tuples(*[st.sampled_from([0.0, 0.0, 0.25])] * rows)),
        full=draw(st.tuples(*[full | st.just(frozenset())] * rows)),
        walls=draw(
            st.tuples(*[st.sampled_from([edges[-1], edges[-1] - 31, min(150, edges[-1])])] * rows)
        ),
        groups=draw(st.sampled_from([(0,), tuple(range(rows)), (0,) if rows < 3 else (0, 1)])),
        work=draw(st.integers(1, SLOT_S * 5)),
        min_chunk=draw(st.sampled_from([1, 60, 61, 120, 130])),
        start_up=draw(st.sampled_from([0, 0, 5, 70])),
        resume=draw(st.sampled_from([0, 0, 7, 65])),
        tail=draw(st.sampled_from([0, 0, 30])),
    )


@settings(max_examples=400)
@given(case=cases())
def test_no_plan_is_cheaper_and_ties_are_settled(case: Case) -> None:
    """Of all plans the cheapest; among equals the earlier, then lower row, then longer chunk."""
    plans, found = list(case.plans()), cheapest(*case.as_asked())
    if not plans:
        assert found is None
        return
    least = min(cost for cost, _ in plans)
    assert found is not None
    assert least == pytest.approx(found.cost, abs=1e-9)
    equals = [plan for cost, plan in plans if cost <= least + 1e-9]
    assert min(equals, key=order) == found.chunks


@given(case=cases(), row=st.integers(0, 2), edge=st.integers(0, 7), gain=st.floats(0, 2))
def test_a_first_chunk_is_held_unless_another_gains_enough(
    case: Case, row: int, edge: int, gain: float
) -> None:
    """The plan that begins as before stays until one without it is cheaper by the margin."""
    row, edge = row % len(case.rates), edge % (len(case.edges) - 1)
    held = Held(row, case.edges[edge], gain)
    found, free = cheapest(*case.as_asked(), held), cheapest(*case.as_asked())
    costs = [cost for cost, _ in case.plans_with(edge, row, 0)]
    if not costs or free is None or round(min(costs) - free.cost, 9) >= gain:
        assert free == found
        return
    assert found is not None
    assert min(costs) == pytest.approx(found.cost, abs=1e-9)
    assert (row, case.edges[edge]) == (found.chunks[0].row, found.chunks[0].start_s)


@given(rates=st.lists(RATES, min_size=1, max_size=60), share=st.floats(0.001, 1))
def test_greedy_over_slots_is_as_good_without_overhead(rates: list[float], share: float) -> None:
    """One place, no overhead, chunks of any length: the cheapest slots, the last used in part."""
    work = max(1, round(share * len(rates) * SLOT_S))
    count, part = divmod(work, SLOT_S)
    if not part:
        count, part = count - 1, SLOT_S
    before: list[float] = []
    least = np.inf
    for rate in rates:
        if len(before) >= count:
            least = min(least, part * rate - SLOT_S * sum(before))
        heapq.heappush(before, -rate)
        if len(before) > count:
            heapq.heappop(before)
    found = cheapest(*plain((rates,), work))
    assert found is not None
    assert least == pytest.approx(found.cost, abs=1e-9)


def plain(
    rates: object,
    work: float,
    *,
    min_chunk: float = SLOT_S,
    start_up: float = 0,
    resume: float = 0,
    first: float = SLOT_S,
) -> tuple[Work, Slots]:
    """Rows that are open all the time, in one group."""
    values = np.array(rates, dtype=float)
    edges = np.append(0.0, first + SLOT_S * np.arange(values.shape[1]))
    always = np.full(values.shape, edges[-1])
    begins, groups = np.zeros(values.shape), np.zeros(1, dtype=np.intp)
    work_ = Work(work, min_chunk, start_up, resume)
    return work_, Slots(edges, values, begins, always, always, groups)


@st.composite
def larger(draw: st.DrawFn) -> tuple[Work, Slots]:
    rows, count = draw(st.integers(1, 4)), draw(st.integers(10, 60))
    seed, work = draw(st.integers(0, 2**32)), draw(st.integers(1, SLOT_S * count // 2))
    return plain(
        np.random.default_rng(seed).uniform(0, 1 / work, (rows, count)),
        work,
        min_chunk=draw(st.sampled_from([60, 90, 300])),
        start_up=draw(st.sampled_from([0, 5, 7.25, 70])),
        resume=draw(st.sampled_from([0, 2, 7.5, 65])),
        first=draw(st.sampled_from([60, 17, 59.999999])),
    )


def hold_true(work: Work, slots: Slots, found: Chunks) -> None:
    """In time one after the other, on edges, long enough, with exactly the work that there is."""
    done, before = 0.0, 0.0
    for number, chunk in enumerate(found.chunks):
        end = chunk.start_s + chunk.duration_s
        assert before <= chunk.start_s + 1e-6
        assert np.isclose(slots.edges_s, chunk.start_s, rtol=0, atol=1e-6).any()
        if chunk != found.chunks[-1]:
            assert work.min_chunk_s <= chunk.duration_s + 1e-6
            assert np.isclose(slots.edges_s, end, rtol=0, atol=1e-6).any()
        assert end <= slots.done_by_s.max() + 1e-6
        done += chunk.duration_s - work.start_up_s - (work.resume_s if number else 0)
        before = end
    assert work.work_s == pytest.approx(done, abs=1e-5)


def least_in_one_piece(work: Work, slots: Slots) -> float:
    costs = [np.inf]
    for row, rates in enumerate(slots.rates):
        for begin in slots.edges_s[:-1]:
            ready, end = begin + work.start_up_s, begin + work.start_up_s + work.work_s
            inside = np.minimum(slots.edges_s[1:], end) - np.maximum(slots.edges_s[:-1], ready)
            if end <= slots.done_by_s[row, 0] + 1e-6:
                costs.append(float((np.maximum(inside, 0) * rates).sum()))
    return min(costs)


@given(asked=larger())
def test_a_plan_holds_true_and_costs_no_more_than_one_piece(asked: tuple[Work, Slots]) -> None:
    """Larger grids: what is planned can be done, and no single run is cheaper."""
    found = cheapest(*asked)
    one_piece = least_in_one_piece(*asked)
    if found is None:
        assert np.inf == one_piece
        return
    hold_true(*asked, found)
    assert found.cost <= one_piece + 1e-9


@given(asked=larger(), most=st.sampled_from([1, 200, 3000]))
def test_a_coarser_grid_holds_true_and_never_loses_to_one_piece(
    asked: tuple[Work, Slots], most: int
) -> None:
    """Where there are too many states: fewer edges, costs still exact, runs in one piece known."""
    exact = cheapest(*asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "MOST_STATES", most)
        found = cheapest(*asked)
    if found is None:
        assert np.inf == least_in_one_piece(*asked)
        return
    hold_true(*asked, found)
    assert exact is not None
    assert exact.cost - 1e-9 <= found.cost <= least_in_one_piece(*asked) + 1e-9


def test_a_flat_forecast_is_run_through_at_once() -> None:
    """All plans are equal: one chunk, now, in the first row."""
    found = cheapest(*plain(np.full((2, 24), 1 / 128), 5 * SLOT_S))
    assert found is not None
    assert (Chunk(0, 0.0, 5 * SLOT_S),) == found.chunks
