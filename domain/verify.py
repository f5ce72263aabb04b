"""Verification: does every line of the ledger hold, and would every decision be taken again?

What is found: any changed byte of an event or a blob, an event taken out of or put into a chain,
a decision that its recorded inputs do not lead to, even where all hashes after it were made anew,
and any event or job that a root covers and that is changed or gone. What a ledger cannot show by
itself: that its newest events and roots were taken off its end together. Against that, keep roots
where the ledger's keeper cannot write.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rfc8785

from domain.audit import Auditable, hashes_in
from domain.decision import ENGINE_VERSION, DecisionInputs
from domain.decision_record import Blobs, inputs_of, placement_data
from domain.errors import DomainError, MissingBlob
from domain.job import Placement
from domain.job_record import FIRST_SEQ
from domain.ledger import ChainHead, EventKind, LedgerEvent, Root, merkle_root
from domain.roots import place_after

Decide = Callable[[DecisionInputs], Placement]

Recompute = Callable[[LedgerEvent, Sequence[LedgerEvent], Blobs], Mapping[str, Any]]
"""(event, its whole chain, blobs) -> the data that the event should have.

May raise ``CannotVerify``, and any ``DomainError`` where the event does not hold."""

ROOTS = "roots"
"""Name of the chain of roots in a ``Fault``."""


class CannotVerify(DomainError):
    """This build has not what it takes to recompute an event: neither proof nor fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One place that does not hold."""

    chain: str
    """A job, or ``roots``."""
    seq: int
    """Place in the chain; 0 is the job's own record and manifest."""
    what: str

    def __str__(self) -> str:
        return f"{self.chain}/{self.seq}: {self.what}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was looked at, and what does not hold."""

    jobs: int
    events: int
    roots: int
    blobs: int
    """Blobs whose content was hashed."""
    recomputed: Mapping[EventKind, int]
    """Events whose data was worked out again and agreed."""
    cannot_verify: Mapping[str, int]
    """Events that this build cannot recompute, by reason. Their chains and blobs are verified."""
    faults: tuple[Fault, ...]
    """By job and place, then roots; one for each event at most."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.faults

    @property
    def first_fault(self) -> Fault | None:
        """The first place that does not hold."""
        return self.faults[0] if self.faults else None


def verify_ledger(
    ledger: Auditable, decide: Decide, recompute: Mapping[EventKind, Recompute] | None = None
) -> VerifyReport:
    """Verify every chain, blob and root, and recompute every decision.

    Args:
        ledger: the ledger, which may be in use, or an exported bundle.
        decide: what a decision is recomputed with; of engine ``ENGINE_VERSION``.
        recompute: for further kinds of events, what works out their data again.
    """
    roots = ledger.roots()
    claims = _claims(roots, ledger.heads_since_last_root())
    manifests = {record.job: record.manifest_sha256 for record in ledger.records()}
    jobs = sorted(manifests.keys() | claims.keys())
    work = _Verification(ledger, {EventKind.DECISION: _redecide(decide), **(recompute or {})})
    for job in jobs:
        work.verify_job(job, manifests.get(job), claims.get(job, ()))
    work.faults += _root_faults(roots)
    return VerifyReport(
        jobs=len(jobs),
        events=work.events,
        roots=len(roots),
        blobs=len(work.sound_blobs),
        recomputed=work.recomputed,
        cannot_verify=work.cannot_verify,
        faults=tuple(work.faults),
    )


class _Unsound(DomainError):
    """What is wrong with one place."""


@dataclass(slots=True)
class _Verification:
    """The counts and finds of one pass over a ledger."""

    ledger: Auditable
    recompute: Mapping[EventKind, Recompute]
    events: int = 0
    sound_blobs: set[str] = field(default_factory=set)
    recomputed: Counter[EventKind] = field(default_factory=Counter)
    cannot_verify: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def verify_job(
        self, job: str, manifest: str | None, claims: Sequence[tuple[str, ChainHead]]
    ) -> None:
        """Verify one job: its record, each event, and what roots say of it."""
        chain = _Chain.of(job, manifest, self.ledger.stored_events(job))
        faults = dict(chain.faults)
        if problem := self._record_problem(manifest, claims):
            faults[FIRST_SEQ - 1] = problem
        for event in chain.events:
            if problem := self._content_problem(event, chain):
                faults.setdefault(event.seq, problem)
        for who, head in claims:
            if chain.hashes.get(head.seq) != head.hash:
                place = min(head.seq, max(chain.hashes, default=FIRST_SEQ - 1) + 1)
                faults.setdefault(place, f"{who} covers event {head.seq}, changed or gone")
        self.events += chain.length
        self.faults += [Fault(job, seq, what) for seq, what in sorted(faults.items())]

    def _record_problem(
        self, manifest: str | None, claims: Sequence[tuple[str, ChainHead]]
    ) -> str | None:
        if manifest is None:
            return f"the job's record is gone; {claims[0][0]} covers it"
        try:
            found = self._blobs([manifest])
        except _Unsound as problem:
            return str(problem)
        return None if manifest in found else str(MissingBlob(manifest))

    def _content_problem(self, event: LedgerEvent, chain: _Chain) -> str | None:
        """What is wrong with what an event says, its place in the chain apart."""
        try:
            self._blobs(item for item in hashes_in(event.data) if item not in self.sound_blobs)
            recompute = self.recompute.get(event.kind)
            if recompute is not None:
                _require_same(event.data, recompute(event, chain.events, self._blobs))
                self.recomputed[event.kind] += 1
        except CannotVerify as reason:
            self.cannot_verify[str(reason)] += 1
        except _Unsound as problem:
            return str(problem)
        except _BREAKS_ON_BAD_DATA as error:
            return f"it cannot be recomputed: {type(error).__name__}: {error}"
        return None

    def _blobs(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        """Blobs whose content is what their names say, of those that there are."""
        wanted = dict.fromkeys(hashes)
        found = self.ledger.blobs(wanted)
        for sha256 in wanted:
            if sha256 in self.sound_blobs or sha256 not in found:
                continue
            if hashlib.sha256(found[sha256]).hexdigest() != sha256:
                raise _Unsound(f"the content of blob {sha256} does not match its hash")
            self.sound_blobs.add(sha256)
        return found


_BREAKS_ON_BAD_DATA = (
    DomainError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What recomputing raises where an event that was made up lacks what a real one has."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """One job's chain as far as it can be read."""

    events: tuple[LedgerEvent, ...]
    """Those whose bytes match their hash."""
    hashes: Mapping[int, str]
    """The recorded hash at each place."""
    length: int
    faults: Mapping[int, str]

    @classmethod
    def of(cls, job: str, genesis: str | None, stored: Sequence[tuple[str, bytes]]) -> _Chain:
        """Read a chain and check that each event follows the one before it."""
        events: list[LedgerEvent] = []
        hashes: dict[int, str] = {}
        faults: dict[int, str] = {}
        last, previous = FIRST_SEQ - 1, genesis
        for recorded, content in stored:
            expected = last + 1
            last = expected
            try:
                event = _read(job, recorded, content)
                events.append(event)
                last = max(expected, event.seq)
                _require_follows(event, expected, previous)
            except _Unsound as problem:
                faults.setdefault(expected, str(problem))
            hashes[last] = previous = recorded
        return cls(tuple(events), hashes, len(stored), faults)


def _read(job: str, recorded: str, content: bytes) -> LedgerEvent:
    if hashlib.sha256(content).hexdigest() != recorded:
        raise _Unsound("its content does not match its hash")
    try:
        event = LedgerEvent.from_json(json.loads(content))
        canonical = event.canonical()
    except (AttributeError, LookupError, TypeError, ValueError):
        raise _Unsound("its content is not an event") from None
    if canonical != content:
        raise _Unsound("its content is not in canonical form")
    if event.job != job:
        raise _Unsound(f"it is an event of {event.job}")
    return event


def _require_follows(event: LedgerEvent, expected: int, previous: str | None) -> None:
    if event.seq != expected:
        raise _Unsound(f"it is not in its place, where event {event.seq} stands")
    if previous is not None and event.previous != previous:
        raise _Unsound("it does not follow what stands before it")


def _redecide(decide: Decide) -> Recompute:
    """What works out a decision again."""

    def recompute(
        event: LedgerEvent, chain: Sequence[LedgerEvent], blobs: Blobs
    ) -> Mapping[str, Any]:
        first = chain[0]
        if first.seq == FIRST_SEQ and event.data["inputs"]["manifest"] != first.previous:
            raise _Unsound("it decided for another manifest than the job's")
        engine = event.data["engine"]
        if engine != ENGINE_VERSION:
            raise CannotVerify(f"decided by engine {engine}; this build has {ENGINE_VERSION}")
        placement = decide(inputs_of(event.data, blobs))
        return {**event.data, "placement": placement_data(placement)}

    return recompute


def _require_same(recorded: Mapping[str, Any], recomputed: Mapping[str, Any]) -> None:
    """Compare as canonical JSON: what is stored knows no difference between 1 and 1.0."""
    differ = [
        name
        for name in sorted(recorded.keys() | recomputed.keys())
        if name not in recorded
        or name not in recomputed
        or rfc8785.dumps(recorded[name]) != rfc8785.dumps(recomputed[name])
    ]
    if differ:
        raise _Unsound(f"recomputed from its recorded inputs, it has another {', '.join(differ)}")


def _claims(
    roots: Iterable[Root], heads: Iterable[ChainHead]
) -> Mapping[str, Sequence[tuple[str, ChainHead]]]:
    """What must stand in each job's chain, and who says so."""
    by_job: dict[str, list[tuple[str, ChainHead]]] = {}
    for root in roots:
        for head in root.heads:
            by_job.setdefault(head.job, []).append((f"root {root.number}", head))
    for head in heads:
        by_job.setdefault(head.job, []).append(("the job's record", head))
    return by_job


def _root_faults(roots: Sequence[Root]) -> Iterator[Fault]:
    newest: Root | None = None
    for root in roots:
        number, previous = place_after(newest)
        if root.number != number:
            yield Fault(ROOTS, number, f"it is not in its place, where root {root.number} stands")
        elif root.previous != previous:
            yield Fault(ROOTS, number, "it does not follow what stands before it")
        elif root.merkle != merkle_root([head.leaf() for head in root.heads]):
            yield Fault(ROOTS, number, "its Merkle root is not that of the heads it names")
        newest = root
