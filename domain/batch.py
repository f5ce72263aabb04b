"""Many decisions at once, for backtests and mass submission.

Each job gets the cell that ``decide`` would give it in one piece, on the room as it is given: none
sees what another takes, so that all may choose the last machine. Whoever starts them still claims
room.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from domain.capacity import CapacityType
from domain.cells import GRAM_DIGITS, USD_DIGITS, Cells, Choice
from domain.curves import Floats
from domain.decision import DecisionInputs
from domain.job import Fallback, SignalBasis
from domain.outlook import Outlook
from domain.placement import choose, starts_after_now_s
from domain.rows import Rows, ground_of
from domain.steering import steering_outlook

CELLS_AT_ONCE = 1 << 17
"""In one set of arrays: few enough that they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What ``decide`` would place: its cell, and what a run there is expected to take."""

    region: str
    capacity_type: CapacityType
    start: datetime
    basis: SignalBasis
    carbon_g: float | None
    """By the basis; ``None`` where no fresh forecast covers the run."""
    cost_usd: float
    score: float | None
    """0..1 over the job's feasible set; ``None`` for a fallback."""
    fallbacks: tuple[Fallback, ...]


def decide_many(jobs: Sequence[DecisionInputs], *, threads: int = 1) -> list[Chosen]:
    """Choose for each job by itself.

    Jobs that share world, room view and moment (the same objects), residency class and machine
    shape are weighed together, so it pays to give many such at once.

    Raises:
        NoLegalRegion: residency and ability leave one of the jobs no region.
    """
    chunks = list(_chunks(jobs))
    chosen: dict[int, Chosen] = {}
    with ThreadPoolExecutor(threads) as pool:
        for part in pool.map(_decide_chunk, chunks):
            chosen.update(part)
    return [chosen[number] for number in range(len(jobs))]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Jobs of one set of arrays, by their numbers; the last has the latest deadline."""

    jobs: dict[int, DecisionInputs]
    rows: Rows
    outlook: Outlook | None
    starts_s: Floats


def _chunks(jobs: Sequence[DecisionInputs]) -> Iterator[_Chunk]:
    groups = defaultdict(list)
    for number, job in enumerate(jobs):
        rows = ground_of(job.world).rows(job.manifest, job.excluded_regions)
        held = job.incumbent and job.incumbent.start
        groups[rows, id(job.room), job.now, job.only_now, held].append(number)
    for (rows, *_), numbers in groups.items():
        outlook = steering_outlook(rows, jobs[numbers[0]])
        # Neighbours in the order of their deadlines have about as many starts.
        numbers.sort(key=lambda number: jobs[number].deadline - jobs[number].worst_case)
        while numbers:
            starts_s = starts_after_now_s(jobs[numbers[-1]], outlook)
            count = max(1, CELLS_AT_ONCE // (len(rows.places) * len(starts_s)))
            together = {number: jobs[number] for number in numbers[-count:]}
            yield _Chunk(together, rows, outlook, starts_s)
            del numbers[-count:]


def _decide_chunk(chunk: _Chunk) -> dict[int, Chosen]:
    cells = Cells(tuple(chunk.jobs.values()), chunk.rows, chunk.outlook, chunk.starts_s)
    return {
        number: _told(cells, job, choice)
        for job, (number, choice) in enumerate(zip(chunk.jobs, choose(cells), strict=True))
    }


def _told(cells: Cells, job: int, choice: Choice) -> Chosen:
    at, row = (choice.row, job, choice.start), cells.rows.places[choice.row]
    basis = SignalBasis.of(cells.outlook.signal) if cells.outlook else SignalBasis.COST_ONLY
    if cells.outlook and choice.score is not None:
        carbon_g: float | None = round(float(cells.carbon_g[at]), GRAM_DIGITS)
    else:
        carbon_g = cells.estimate(*at).carbon_g(basis)
    return Chosen(
        region=row.region,
        capacity_type=row.capacity_type,
        start=cells.instant(choice.start),
        basis=basis,
        carbon_g=carbon_g,
        cost_usd=round(float(cells.cost_usd[choice.row, job]), USD_DIGITS),
        score=choice.score,
        fallbacks=choice.fallbacks,
    )
