"""The cells that a case's jobs could have had, with what a run there really emits.

Walls are those of a placement but room: residency, ability, ceiling, deadline. Runs are
undisturbed. Written without ``domain/cells.py``, which is checked against it.

Times are seconds after ``origin``, a full hour (UTC); jobs, places and starts are arrays' axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from domain.ability import is_able, offered_types
from domain.backtest.case import Case
from domain.backtest.foresight import EXACT_S, Floats, Foresight, Ints, Mask
from domain.backtest.job import BacktestJob
from domain.capacity import CapacityType
from domain.energy import it_power_w
from domain.errors import NoLegalRegion
from domain.room import Place

CELLS_AT_ONCE = 1 << 18
"""In one array: few enough that they stay in the processor's cache."""

TICK_S = 300.0
"""Room is counted at these moments, or where all starts lie on the grid, at its edges: what begins
and ends between two of them holds none."""

_SAME = 1e-12
"""Share below which two sums are the same but for rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The cell that is cheapest for each job in each place."""

    values: Floats
    """(jobs, places): its grams and the price of its room; infinity where there is none."""
    starts_s: Floats
    """(jobs, places)."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of several jobs, one a row."""

    jobs: Ints
    places: Ints
    starts_s: Floats

    def some(self, rows: Ints | Mask) -> Cells:
        """Those of some rows."""
        return Cells(self.jobs[rows], self.places[rows], self.starts_s[rows])

    @classmethod
    def joined(cls, parts: Sequence[Cells]) -> Cells:
        """All of several."""
        return cls(
            np.concatenate([part.jobs for part in parts]),
            np.concatenate([part.places for part in parts]),
            np.concatenate([part.starts_s for part in parts]),
        )

    @property
    def rows(self) -> list[tuple[int, int, float]]:
        """Job, place and start of each."""
        columns = self.jobs.tolist(), self.places.tolist(), self.starts_s.tolist()
        return list(zip(*columns, strict=True))

    def once(self) -> Cells:
        """Each of them once."""
        micros = (self.starts_s * 1e6).round()
        _, kept = np.unique(np.stack((self.jobs, self.places, micros)), axis=1, return_index=True)
        return self.some(kept)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A cell for each job."""

    places: Ints
    starts_s: Floats

    @property
    def cells(self) -> Cells:
        """The same as cells."""
        return Cells(np.arange(len(self.places)), self.places, self.starts_s)


@dataclass(frozen=True, slots=True, eq=False)
class Feasible:
    """Jobs and their cells: every place, from the first start on at every edge of the truth's
    grid, up to the place's wall.
    """

    origin: datetime
    steering: Foresight
    places: tuple[Place, ...]
    start_up_s: float
    tick_s: float
    vcpus: Floats
    """(jobs,), as the other columns are."""
    submitted_s: Floats
    runtime_s: Floats
    done_by_s: Floats
    """When an undisturbed run must have ended, on a machine that is not taken back."""
    first_s: Floats
    """The first start that still can be had: the submission, or an edge after it."""
    latest_s: Floats
    """(jobs, places): the wall; minus infinity where the job may not run at all."""
    kw: Floats
    """(jobs, places): drawn from the grid, PUE included."""
    usd_per_hour: Floats
    """(jobs, places)."""

    def __len__(self) -> int:
        """How many jobs."""
        return len(self.vcpus)

    @classmethod
    def of(cls, case: Case, jobs: Sequence[BacktestJob]) -> Feasible:
        """The cells of some of a case's jobs.

        A job that no cell would finish in time runs at once, as placement has it, in any place
        that is legal and able.

        Raises:
            NoLegalRegion: residency and ability leave a job no place.
        """
        policy, truth = case.policy, case.truth[case.policy.steering_signal]
        origin = truth.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        columns = np.array([_columns(job, origin) for job in jobs]).reshape(-1, 5).T
        vcpus, submitted_s, runtime_s, p95_s, deadline_s = columns
        places, shapes = _places(case), _Shapes(case)
        found = np.array([shapes.of(job) for job in jobs]).reshape(-1, 3, len(places))
        allowed, kw, usd_per_hour = found.swapaxes(0, 1)
        start_up_s = policy.start_up.total_seconds()
        latest_s = deadline_s - policy.safety_margin.total_seconds() - start_up_s - p95_s
        is_spot = np.array([kind is CapacityType.SPOT for _, kind in places])
        walls_s = latest_s[:, None] - is_spot * (start_up_s + p95_s)[:, None]
        ceiling = policy.max_usd_per_vcpu_hour or np.inf
        walls_s = np.where(usd_per_hour / vcpus[:, None] <= ceiling, walls_s, -np.inf)
        walls_s = np.where(allowed > 0, walls_s, -np.inf)
        late = walls_s.max(axis=1, initial=-np.inf) < submitted_s - EXACT_S
        at_once_s = np.where(allowed > 0, submitted_s[:, None], -np.inf)
        walls_s = np.where(late[:, None], at_once_s, walls_s)
        done_by_s = np.maximum(latest_s, submitted_s) + start_up_s + runtime_s
        return cls(
            origin=origin,
            steering=Foresight.of(truth, _zones(case, places), origin, done_by_s.max(initial=0.0)),
            places=places,
            start_up_s=start_up_s,
            tick_s=_tick_s(case, origin),
            vcpus=vcpus,
            submitted_s=submitted_s,
            runtime_s=runtime_s,
            done_by_s=done_by_s,
            first_s=submitted_s,
            latest_s=walls_s,
            kw=kw,
            usd_per_hour=usd_per_hour,
        )

    def some(self, jobs: Ints | Mask, from_s: float = 0.0) -> Feasible:
        """The same for some of the jobs, who start no earlier than ``from_s``."""
        return replace(
            self,
            **{name: getattr(self, name)[jobs] for name in _COLUMNS},
            first_s=np.maximum(self.first_s[jobs], from_s),
        )

    # ── what cells take ──────────────────────────────────────────────────────────────────────

    def of_job(self, job: int) -> tuple[Floats, Floats]:
        """One job's (starts,) and grams (places, starts); infinity behind a wall."""
        truth, first_s = self.steering, self.first_s[job]
        first, last = truth.edges_until(np.array([first_s, self.latest_s[job].max()]))
        starts_s = np.concatenate(([first_s], truth.edge_s(np.arange(first, last))))
        begins_s = starts_s + self.start_up_s
        per_kw = truth.g_per_kw(slice(None), begins_s, begins_s + self.runtime_s[job])
        walled = starts_s <= self.latest_s[job, :, None] + EXACT_S
        return starts_s, np.where(walled, self.kw[job, :, None] * per_kw, np.inf)

    def ticks(self, starts_s: Floats, runtime_s: Floats | float) -> tuple[Ints, Ints]:
        """The first tick at which runs hold their vCPUs, and the first at which they no longer do.

        With perfect knowledge a run holds them from its start until it ends. What production
        reserves, in whole hours and for the p95 run time, is never less: each of its plans fits.
        """
        ends_s = starts_s + (self.start_up_s + runtime_s)
        return self.tick_from(starts_s), self.tick_from(ends_s)

    def tick_from(self, instants_s: Floats | float) -> Ints:
        """The first tick at or after each instant."""
        return np.ceil((instants_s - EXACT_S) / self.tick_s).astype(np.intp)

    @property
    def last_tick(self) -> int:
        """Behind every tick at which a cell may hold room."""
        starts_s = np.maximum(self.latest_s.max(axis=1), self.first_s)
        return int(self.ticks(starts_s, self.runtime_s)[1].max(initial=0))

    @property
    def size(self) -> int:
        """How many cells there are, about: walls differ between places."""
        return int((self._edges_after_first() + 1) @ np.isfinite(self.latest_s).sum(axis=1))

    # ── all jobs' cells ──────────────────────────────────────────────────────────────────────

    def best(self, prices: Floats | None = None) -> Best:
        """The cheapest cell of each job and place, the earliest of those that are equal.

        Args:
            prices: (places, ticks), grams for each vCPU at each tick at which a run holds it.
        """
        shape = len(self), len(self.places)
        values, starts_s = np.full(shape, np.inf), np.zeros(shape)
        for jobs, place, chunk_s, cells in self._blocks(prices):
            least = cells.min(axis=1)
            # Equal but for rounding: the earliest.
            at = (cells <= (least + np.abs(least) * _SAME)[:, None]).argmax(axis=1)
            values[jobs, place], starts_s[jobs, place] = least, chunk_s[np.arange(len(jobs)), at]
        return Best(values, starts_s)

    def at_first(self) -> Best:
        """Each job's first cell in each place."""
        shape = len(self), len(self.places)
        job, place = np.indices(shape).reshape(2, -1)
        starts_s = np.repeat(self.first_s, shape[1])
        grams = self.cells_g(Cells(job, place, starts_s))
        grams[starts_s > self.latest_s.ravel() + EXACT_S] = np.inf
        return Best(grams.reshape(shape), starts_s.reshape(shape))

    def within(self, prices: Floats, most: Floats) -> Cells:
        """Every cell whose value, as in ``best``, is at most its job's of ``most``."""
        found = []
        for jobs, place, chunk_s, cells in self._blocks(prices):
            job, start = (cells <= most[jobs, None]).nonzero()
            found.append(Cells(jobs[job], np.full(len(job), place), chunk_s[job, start]))
        return Cells.joined(found)

    def cheapest(self, best: Best) -> Plan:
        """One cell for each job: the least; then the earlier start, then the cheaper place."""
        least = best.values.min(axis=1, keepdims=True)
        tied = best.values <= least + np.abs(least) * _SAME
        starts_s = np.where(tied, best.starts_s, np.inf)
        tied &= starts_s == starts_s.min(axis=1, keepdims=True)
        places = np.where(tied, self.usd_per_hour, np.inf).argmin(axis=1)
        return Plan(places, np.take_along_axis(best.starts_s, places[:, None], axis=1)[:, 0])

    def cells_g(self, cells: Cells) -> Floats:
        """(cells,): grams by the steering signal."""
        grams, begins_s = np.zeros(len(cells.jobs)), cells.starts_s + self.start_up_s
        for place in np.unique(cells.places):
            here = cells.places == place
            jobs, begin_s = cells.jobs[here], begins_s[here]
            per_kw = self.steering.g_per_kw(int(place), begin_s, begin_s + self.runtime_s[jobs])
            grams[here] = self.kw[jobs, place] * per_kw
        return grams

    def used(self, plan: Plan, ticks: int) -> Floats:
        """(places, ticks): vCPUs that a plan holds."""
        held = np.zeros((len(self.places), ticks + 1))
        firsts, ends = self.ticks(plan.starts_s, self.runtime_s)
        np.add.at(held, (plan.places, firsts), self.vcpus)
        np.subtract.at(held, (plan.places, ends), self.vcpus)
        used: Floats = held.cumsum(axis=1)[:, :-1]
        return used

    def _blocks(self, prices: Floats | None) -> Iterator[tuple[Ints, int, Floats, Floats]]:
        """Every cell in blocks of one place: jobs, place, starts and values (jobs, starts)."""
        if prices is not None:
            prices = np.concatenate((np.zeros((len(prices), 1)), prices.cumsum(axis=1)), axis=1)
        for jobs, count in self._chunks():
            starts_s = self._starts_s(jobs, count)
            firsts, ends = self.ticks(starts_s, self.runtime_s[jobs, None])
            vcpus, per_kw, region = self.vcpus[jobs, None], starts_s, ""
            for place, (name, _) in enumerate(self.places):
                if name != region:
                    region, per_kw = name, self._g_per_kw(jobs, place, starts_s)
                walled = starts_s <= self.latest_s[jobs, place, None] + EXACT_S
                values = np.where(walled, self.kw[jobs, place, None] * per_kw, np.inf)
                if prices is not None:
                    paid = prices[place].take(ends, mode="clip")
                    values += vcpus * (paid - prices[place].take(firsts, mode="clip"))
                yield jobs, place, starts_s, values

    def _g_per_kw(self, jobs: Ints, place: int, starts_s: Floats) -> Floats:
        """(jobs, starts): behind its last wall, that of a job's last start: truth may end there."""
        last_s = np.maximum(self.latest_s[jobs].max(axis=1), self.first_s[jobs])[:, None]
        begins_s = np.minimum(starts_s, last_s) + self.start_up_s
        ends_s = begins_s + self.runtime_s[jobs, None]
        return self.steering.g_per_kw(place, begins_s, ends_s)

    def _starts_s(self, jobs: Ints, count: int) -> Floats:
        """(jobs, 1 + count): the first start and as many edges after it."""
        truth = self.steering
        edges = truth.edges_until(self.first_s[jobs])[:, None] + np.arange(count)
        return np.concatenate((self.first_s[jobs, None], truth.edge_s(edges)), axis=1)

    def _edges_after_first(self) -> Ints:
        """(jobs,): edges after the first start, up to the last wall."""
        edges_until = self.steering.edges_until
        latest_s = np.maximum(self.latest_s.max(axis=1), self.first_s)
        counts: Ints = edges_until(latest_s) - edges_until(self.first_s)
        return counts

    def _chunks(self) -> Iterator[tuple[Ints, int]]:
        """Jobs that have about as many starts, and how many edges the one with most has."""
        counts = self._edges_after_first()
        order = np.argsort(counts, kind="stable")
        end = len(order)
        while end:
            most = int(counts[order[end - 1]])
            begin = max(0, end - max(1, CELLS_AT_ONCE // (1 + most)))
            yield order[begin:end], most
            end = begin


_COLUMNS = (*("vcpus", "submitted_s", "runtime_s", "done_by_s", "latest_s", "kw", "usd_per_hour"),)


def _tick_s(case: Case, origin: datetime) -> float:
    """The grid's step, where no job of the case can start but at its edges."""
    truth = case.truth[case.policy.steering_signal]
    step = timedelta(seconds=truth.step_s)
    begins = (truth.start, *(job.submitted for job in case.jobs))
    return TICK_S if any((begin - origin) % step for begin in begins) else truth.step_s


def _columns(job: BacktestJob, origin: datetime) -> tuple[float, float, float, float, float]:
    submitted, deadline = (job.submitted - origin) / _SECOND, (job.deadline - origin) / _SECOND
    return job.vcpus, submitted, job.runtime_s, job.p95_s, deadline


_SECOND = timedelta(seconds=1)


def _places(case: Case) -> tuple[Place, ...]:
    """Every place that the policy enables and a price is known of, in the order of ties."""
    return tuple(
        (region, kind)
        for region, offered in sorted(case.policy.regions.items())
        for kind in sorted(CapacityType)
        if offered.limit(kind) is not None and case.prices.has(region, kind)
    )


def _zones(case: Case, places: Sequence[Place]) -> list[str]:
    signal = case.policy.steering_signal
    zones = [case.catalogue.get(region).zone(signal) for region, _ in places]
    return [zone for zone in zones if zone is not None]


class _Shapes:
    """What places are to jobs; those of one residency class and machine shape share it."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._places = _places(case)
        self._found: dict[tuple[str, float, float], Floats] = {}

    def of(self, job: BacktestJob) -> Floats:
        """(3, places): whether a job may run there, what it draws (kW, PUE included), its price.

        Raises ``NoLegalRegion``.
        """
        key = (job.residency, job.vcpus, job.memory_gib)
        if key not in self._found:
            self._found[key] = self._shape(job)
        return self._found[key]

    def _shape(self, job: BacktestJob) -> Floats:
        case, manifest = self._case, job.manifest()
        policy, shape = case.policy, (job.vcpus, job.memory_gib)
        legal = policy.legal_regions(job.residency, case.catalogue)
        able = {
            (region, kind)
            for region in legal
            if is_able(manifest, policy, region)
            for kind in offered_types(manifest, policy, region)
        }
        allowed = [place in able for place in self._places]
        if not any(allowed):
            raise NoLegalRegion(job.residency, "a legal region that is able to run the job")
        drawn = [
            it_power_w(case.methodology, *shape, families=policy.cpu_families(region))
            / 1000
            * case.catalogue.get(region).pue
            for region, _ in self._places
        ]
        prices = [case.prices.usd_per_hour(region, kind, *shape) for region, kind in self._places]
        return np.array([allowed, drawn, prices])
