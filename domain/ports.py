"""The swappable parts, as Protocols of a few methods. Each has one contract suite in tests.

Stores are synchronous: every adapter's client is. Async callers use a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from domain.forecast import Forecast, Observation, Signal
from domain.fresh_prices import FreshPrice
from domain.job import Outcome, RunReport, RunSpec
from domain.ledger import ChainHead, Draft, LedgerEvent, Root
from domain.prices import PriceTable
from domain.room import RoomClaim, RoomView


@dataclass(frozen=True, slots=True)
class Refusal:
    """One zone's answer that a provider gave and we did not take, and why."""

    zone: str
    signal: Signal
    reason: str


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What one refresh brought from one provider."""

    forecasts: tuple[Forecast, ...]
    observations: tuple[Observation, ...]
    refusals: tuple[Refusal, ...] = ()


class SignalProvider(Protocol):
    """A source of carbon intensity."""

    @property
    def name(self) -> str:
        """As it stands in ``Forecast.provider``."""

    async def fetch(self, zones: Sequence[str], now: datetime) -> ProviderAnswer:
        """Forecasts issued by ``now`` and observations published by ``now``, for ``zones``.

        A zone that the provider does not cover is left out; a zone whose answer cannot be
        trusted stands in ``refusals``.
        """


class SignalHistory(Protocol):
    """What was observed, one point for each (zone, signal, start), whoever writes at once."""

    def put_observations(self, observations: Sequence[Observation]) -> None:
        """Keep each observation; the same (zone, signal, start) again replaces it."""

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        """Observations whose step overlaps [start, end), ordered by start."""


class SignalStore(SignalHistory, Protocol):
    """One forecast for each zone and signal, and what was observed."""

    def put_forecasts(self, forecasts: Sequence[Forecast]) -> None:
        """Keep each forecast unless one of its provider, issued later, is there already.

        Another provider's is replaced (``Forecast.replaces`` says why). Of several for one zone
        and signal, the one is taken that would be left if they came one after the other. The same
        forecasts again change nothing.
        """

    def revision(self) -> int:
        """A number that changes whenever a forecast does; cheap to ask before each decision."""

    def forecasts(self) -> tuple[Forecast, ...]:
        """The forecast of every (zone, signal), ordered by both."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The row that outlives the workflow engine's retention: name -> manifest, outcome."""

    job: str
    manifest_sha256: str
    execution: str
    """Temporal's first execution run id: tells a retry of admission from a new submission."""
    first_seq: int
    """Where this execution's events begin in the job's chain."""
    first_attempt: int
    """Fencing numbers go on rising over executions; this execution's runs start here."""
    outcome: Outcome | None
    settled: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """One atomic step of a job's record: events, blobs, room, and perhaps the end.

    Every event of a commit belongs to one job and follows ``first_seq - 1`` directly.
    """

    job: str
    first_seq: int
    drafts: tuple[Draft, ...]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    """Immutable inputs by hex SHA-256, put if absent, kept as long as the ledger."""
    claims: tuple[RoomClaim, ...] = ()
    """Room for each stretch of a plan, all or nothing; where two of them meet, they add up."""
    release_room: bool = False
    """Give back all the job's room. Taking ``claims`` does this too, first."""
    outcome: Outcome | None = None
    """Close the job with this outcome."""
    last_attempt: int | None = None
    """Highest fencing number used, with ``outcome``: the next execution starts above it."""
    settled: bool = False


class Ledger(Protocol):
    """Jobs, chains, blobs and room: one store, since they change in one transaction."""

    def admit(self, job: str, manifest: bytes, execution: str, *, rerun: bool) -> JobRecord:
        """Open a job's row, or find it. Idempotent by ``execution``. Stores the manifest blob.

        The row of a closed job is returned as it is, outcome and all, unless ``rerun`` and its
        outcome is not a success: then it is opened again for the new execution, with
        ``first_seq`` after the chain's head. A row left open by another execution is taken over
        in the same way (Temporal lets only one workflow of an id be open).

        Raises:
            ManifestConflict: the name is taken by a manifest of another hash.
        """

    def record(self, job: str) -> JobRecord | None:
        """One job's row."""

    def records(self) -> tuple[JobRecord, ...]:
        """All jobs' rows, ordered by job."""

    def commit(self, commit: Commit) -> tuple[LedgerEvent, ...]:
        """Apply a commit whole or not at all, and return its events.

        If ``(job, first_seq)`` holds an event already, nothing is written and the events that
        stand there (as many as the commit has) are returned: a retry finds the first try.

        Raises:
            RoomTaken: a claim does not fit its limit and is not ``over_room``.
            ChainBroken: ``first_seq`` is not the next free place.
        """

    def events(self, job: str) -> tuple[LedgerEvent, ...]:
        """One job's chain, in order."""

    def stored_events(self, job: str) -> tuple[tuple[str, bytes], ...]:
        """(recorded hash, stored canonical bytes) of one chain in order: what ``verify`` reads."""

    def put_blob(self, content: bytes) -> str:
        """Store content under its hex SHA-256, which is returned. Idempotent."""

    def blob(self, sha256: str) -> bytes | None:
        """The content stored under a hash."""

    def blobs(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        """The contents stored under some hashes, of those that there are."""

    def heads_since_last_root(self) -> tuple[ChainHead, ...]:
        """Heads of the chains that moved since the newest root, ordered by job."""

    def append_root(self, root: Root) -> None:
        """Append a root. Raises ``ChainBroken`` unless it follows the newest one."""

    def newest_root(self) -> Root | None:
        """The root that the next one must follow."""

    def roots(self) -> tuple[Root, ...]:
        """All roots, in order."""

    def unsettled(self) -> tuple[str, ...]:
        """Closed jobs with runs to account for and no settlement yet, ordered by name."""


class Room(Protocol):
    """Reservations, read for decisions. They are written through ``Ledger.commit`` only."""

    def view(self, hours: range, *, excluding_job: str) -> RoomView:
        """What is reserved in ``hours``, without the job's own."""

    def release_expired(self, now: datetime) -> int:
        """Give back reservations past their expiry; returns how many jobs held them."""


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Runs that changed in one region since a cursor."""

    reports: tuple[RunReport, ...]
    cursor: str


class ComputeBackend(Protocol):
    """Where runs run. It never retries: only the workflow knows deadline and carbon."""

    def name_in(self, region: str) -> str:
        """What serves a region: ``local``, ``aws-batch``, ``gke``."""

    async def submit(self, spec: RunSpec) -> None:
        """Start a run once. The same spec again, even after a lost answer, changes nothing."""

    async def describe(self, region: str, run: str) -> RunReport:
        """A run's state; ``RunState.UNKNOWN`` where there is no trace of it."""

    async def terminate(self, region: str, run: str, reason: str) -> None:
        """Ask a run to end; ``describe`` tells when it has. Unknown or ended runs: no effect.

        A run that was never started must not start after this returns.
        """

    def watch(self, region: str, cursor: str | None) -> AsyncIterator[ChangeBatch]:
        """Batches of changes from ``cursor`` on (``None``: every run that is not over).

        A change may come twice, never be lost. Batches may be empty: a sign of life.
        """


class PriceFeed(Protocol):
    """What compute and transfer cost."""

    def prices(self, now: datetime) -> PriceTable:
        """The newest table; the same object as before while nothing has changed."""


@dataclass(frozen=True, slots=True)
class PriceRefusal:
    """A region's prices that a source did not give, or that we did not take, and why."""

    region: str
    reason: str


@dataclass(frozen=True, slots=True)
class PriceAnswer:
    """What one refresh brought from one source."""

    rows: tuple[FreshPrice, ...]
    refusals: tuple[PriceRefusal, ...] = ()


class PriceSource(Protocol):
    """Who is asked for prices of compute."""

    @property
    def name(self) -> str:
        """As people know it."""

    @property
    def cloud(self) -> str:
        """Whose regions it knows: ``aws``, ``gcp``."""

    async def fetch(self, regions: Sequence[str], now: datetime) -> PriceAnswer:
        """Prices at ``now`` of regions, all of its cloud. Those it cannot tell are refused.

        Raises:
            LowtideError: it tells nothing at all for now.
        """


class DocumentName(StrEnum):
    """Every document that workers share."""

    FRESH_PRICES = "fresh-prices"
    RECLAIMS = "reclaims"
    REGRET = "regret"


class Documents(Protocol):
    """Small contents under a name that workers share. The last writer of a name wins."""

    def put_document(self, name: DocumentName, content: bytes) -> None:
        """Write a document whole, in place of what stands there."""

    def document(self, name: DocumentName) -> bytes | None:
        """What was written last; ``None`` where nothing ever was."""


class SecretName(StrEnum):
    """Every secret that Lowtide reads."""

    ELECTRICITY_MAPS_KEY = "electricity-maps-key"
    WATTTIME_USER = "watttime-user"
    WATTTIME_PASSWORD = "watttime-password"  # noqa: S105 - its name
    INFLUXDB_TOKEN = "influxdb-token"  # noqa: S105 - its name


class SecretSource(Protocol):
    """Where keys and passwords come from. Ask at each use: a secret may be rotated at any time."""

    def read(self, name: SecretName) -> str:
        """The secret's value now; blocking, cheap when asked again."""
