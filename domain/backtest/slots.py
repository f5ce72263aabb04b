"""The least carbon of a job that may be cut into chunks, with perfect knowledge and no limits.

Its work goes into the cleanest steps before its wall, wherever they lie (greedy). No plan can do
better; where chunks cost nothing and none is too short, that is one. Elsewhere the dynamic program
of ``domain/chunks.py`` finds the best, on the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.backtest.feasible import Feasible
from domain.backtest.foresight import EXACT_S, Floats, Ints
from domain.chunks import Slots, Work, cheapest
from domain.manifest import Interruptible


@dataclass(frozen=True, slots=True)
class Stretch:
    """Work of one job in one place; seconds after the cells' origin."""

    place: int
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a job's work goes, in order of time."""

    stretches: tuple[Stretch, ...]
    grams: float


def cut(feasible: Feasible, job: int, terms: Interruptible) -> Cut:
    """The cleanest chunks for one job: in any place each, or all in one if it is not portable."""
    greedy = cleanest_steps(feasible, job, terms)
    if _may_be_cut(feasible, terms, greedy.stretches):
        return greedy
    return _by_dynamic_program(feasible, job, terms)


# ── greedy ───────────────────────────────────────────────────────────────────────────────────


def cleanest_steps(feasible: Feasible, job: int, terms: Interruptible) -> Cut:
    """The work in the cleanest steps, as if chunks cost nothing: no plan has less carbon."""
    edges_s = _edges_s(feasible, job, feasible.first_s[job] + feasible.start_up_s)
    places, grams = _regions(feasible, job), _grams(feasible, job, edges_s)
    if terms.portable_checkpoint:
        return _filled(feasible, job, edges_s, places[grams[places].argmin(axis=0)], grams)
    steps = len(edges_s) - 1
    found = (_filled(feasible, job, edges_s, np.full(steps, at), grams) for at in places)
    return min(found, key=lambda item: item.grams)


def _filled(feasible: Feasible, job: int, edges_s: Floats, place: Ints, grams: Floats) -> Cut:
    """Each step in its ``place``, the cleanest first; the last may be filled in part."""
    lengths_s, own_g = np.diff(edges_s), grams[place, np.arange(len(place))]
    order = np.argsort(own_g / lengths_s, kind="stable")
    before_s = np.concatenate(([0.0], lengths_s[order].cumsum()[:-1]))
    spent_s = np.zeros(len(order))
    spent_s[order] = np.clip(feasible.runtime_s[job] - before_s, 0.0, lengths_s[order])
    stretches: list[Stretch] = []
    for step in np.flatnonzero(spent_s > EXACT_S):
        begin_s, end_s = float(edges_s[step]), float(edges_s[step] + spent_s[step])
        if stretches and (stretches[-1].place, stretches[-1].end_s) == (place[step], begin_s):
            begin_s = stretches.pop().begin_s
        stretches.append(Stretch(int(place[step]), begin_s, end_s))
    return Cut(tuple(stretches), float((own_g * spent_s / lengths_s).sum()))


def _may_be_cut(feasible: Feasible, terms: Interruptible, stretches: Sequence[Stretch]) -> bool:
    """Whether chunks cost nothing, and all but the last are long enough."""
    least_s = terms.min_chunk.total_seconds() - EXACT_S
    is_free = not feasible.start_up_s and not terms.resume_overhead
    # A chunk that follows another at once, but elsewhere, begins at an edge all the same.
    return is_free and all(item.end_s - item.begin_s >= least_s for item in stretches[:-1])


# ── dynamic programming ──────────────────────────────────────────────────────────────────────


def _by_dynamic_program(feasible: Feasible, job: int, terms: Interruptible) -> Cut:
    edges_s = _edges_s(feasible, job, feasible.first_s[job])
    places = _regions(feasible, job)
    rates = _grams(feasible, job, edges_s)[places] / np.diff(edges_s)
    until_s = np.full(rates.shape, feasible.done_by_s[job])
    work = Work(
        work_s=float(feasible.runtime_s[job]),
        min_chunk_s=terms.min_chunk.total_seconds(),
        start_up_s=feasible.start_up_s,
        resume_s=terms.resume_overhead.total_seconds(),
    )
    slots = Slots(
        edges_s=edges_s,
        rates=rates,
        begins=np.zeros(rates.shape),
        open_until_s=until_s,
        done_by_s=until_s,
        groups=np.arange(1 if terms.portable_checkpoint else len(places)),
    )
    found = cheapest(work, slots)
    if found is None:
        raise AssertionError("what may start at once fits in one piece")
    stretches = (
        Stretch(
            int(places[chunk.row]),
            chunk.start_s + feasible.start_up_s,
            chunk.start_s + chunk.duration_s,
        )
        for chunk in found.chunks
    )
    return Cut(tuple(stretches), found.cost)


# ── both ─────────────────────────────────────────────────────────────────────────────────────


def _regions(feasible: Feasible, job: int) -> Ints:
    """One place of each region where the job may run: the cheapest. Carbon is the same in all."""
    cheapest_of: dict[str, int] = {}
    for place in np.flatnonzero(np.isfinite(feasible.latest_s[job])).tolist():
        usd, region = feasible.usd_per_hour[job], feasible.places[place][0]
        held = cheapest_of.setdefault(region, place)
        cheapest_of[region] = place if usd[place] < usd[held] else held
    return np.array(list(cheapest_of.values()), dtype=np.intp)


def _edges_s(feasible: Feasible, job: int, begin_s: float) -> Floats:
    """What parts the steps in which work may be done."""
    truth, end_s = feasible.steering, float(feasible.done_by_s[job])
    first, last = truth.edges_until(np.array([begin_s, end_s - 2 * EXACT_S]))
    return np.concatenate(([begin_s], truth.edge_s(np.arange(first, last)), [end_s]))


def _grams(feasible: Feasible, job: int, edges_s: Floats) -> Floats:
    """(places, steps): of working all through a step."""
    truth = feasible.steering
    per_kw = truth.g_per_kw(slice(None), edges_s[:-1], edges_s[1:])
    grams: Floats = feasible.kw[job, :, None] * per_kw
    return grams


def room_of(feasible: Feasible, cuts: Sequence[Cut], ticks: int) -> Floats:
    """(places, ticks): vCPUs that the work of jobs holds, one ``Cut`` each."""
    held = np.zeros((len(feasible.places), ticks + 1))
    for vcpus, item in zip(feasible.vcpus, cuts, strict=True):
        for stretch in item.stretches:
            begin_s = stretch.begin_s - feasible.start_up_s
            held[stretch.place, feasible.tick_from(begin_s)] += vcpus
            held[stretch.place, feasible.tick_from(stretch.end_s)] -= vcpus
    used: Floats = held.cumsum(axis=1)[:, :-1]
    return used
