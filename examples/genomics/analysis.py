"""The work: reads of a genome, aligned one by one, and the variants that they show.

All is made from a seed, each read by its number alone: a later attempt goes on at any read, in any
place, and comes to the same result.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from examples.genomics.alignment import SEED_LENGTH, align, index_of

BASES = "ACGT"
LEAST_DEPTH = 8
LEAST_SHARE = 0.7
"""A variant is called where this many reads cover a base and this share of them agrees."""
INDEL_SHARE = 0.2
"""Of sequencing errors; half are insertions, half deletions, the rest are substitutions."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is analysed."""

    seed: int = 17
    reads: int = 20_000
    genome_length: int = 20_000
    read_length: int = 80
    variants: int = 40
    error_rate: float = 0.01
    """Errors of the sequencer, for each base."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what cannot be analysed."""
        if not SEED_LENGTH <= self.read_length <= self.genome_length:
            raise ValueError(f"read_length {self.read_length}: {SEED_LENGTH} to genome_length")
        if self.reads < 0 or self.variants < 0:
            raise ValueError("reads and variants: 0 or more")
        if not 0 <= self.error_rate <= 1:
            raise ValueError(f"error_rate {self.error_rate}: 0 to 1")

    @property
    def work(self) -> str:
        """Hex SHA-256: the identity of what is asked for. Checkpoints and results carry it."""
        return hashlib.sha256(canonical(asdict(self))).hexdigest()


class Analysis:
    """One analysis, as far as it has come."""

    def __init__(self, parameters: Parameters, state: bytes | None = None) -> None:
        """Begin, or go on from a ``state`` that an analysis of the same parameters gave."""
        self.parameters = parameters
        self._reference = _reference(parameters)
        self._index = index_of(self._reference)
        self._planted = _planted(parameters, self._reference)
        self._sample = "".join(
            self._planted.get(position, base) for position, base in enumerate(self._reference)
        )
        known = json.loads(state) if state is not None else {}
        self.next_read: int = known.get("next_read", 0)
        self._aligned: int = known.get("aligned", 0)
        self._pileup: list[int] = known.get("pileup", [0] * (4 * parameters.genome_length))
        """How often each base was seen at each position of the reference."""

    @property
    def done(self) -> bool:
        """Whether every read is aligned."""
        return self.next_read >= self.parameters.reads

    def advance(self) -> None:
        """Align one read: some milliseconds of one CPU."""
        read = _read(self.parameters, self._sample, self.next_read)
        pairs = align(read, self._reference, self._index)
        self._aligned += bool(pairs)
        for position, offset in pairs:
            self._pileup[4 * position + BASES.index(read[offset])] += 1
        self.next_read += 1

    def state(self) -> bytes:
        """All that is needed to go on."""
        known = {"next_read": self.next_read, "aligned": self._aligned, "pileup": self._pileup}
        return canonical(known)

    def findings(self) -> dict[str, Any]:
        """The result, and how it compares with the variants that were planted."""
        called = [call for place in range(len(self._reference)) if (call := self._call(place))]
        right = sum(self._planted.get(call["position"]) == call["alternate"] for call in called)
        return {
            "parameters": asdict(self.parameters),
            "aligned": self._aligned,
            "variants": called,
            "recall": right / len(self._planted) if self._planted else 1.0,
            "precision": right / len(called) if called else 1.0,
        }

    def _call(self, position: int) -> dict[str, Any] | None:
        """The variant at a position of the reference, if there is one."""
        counts = self._pileup[4 * position : 4 * position + 4]
        depth, most = sum(counts), max(counts)
        alternate = BASES[counts.index(most)]
        if (
            depth < LEAST_DEPTH
            or most < LEAST_SHARE * depth
            or alternate == self._reference[position]
        ):
            return None
        reference = self._reference[position]
        return {
            "position": position,
            "reference": reference,
            "alternate": alternate,
            "depth": depth,
            "share": round(most / depth, 4),
        }


def canonical(data: object) -> bytes:
    """JSON of one form only, so that equal data have equal hashes."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


# ── what a sequencer would give ──────────────────────────────────────────────────────────────────
# ``Random.random`` alone is drawn from: it is the one method whose series Python keeps for ever.


def _random(parameters: Parameters, what: str) -> Random:
    return Random(f"{parameters.seed}/{what}")  # noqa: S311 - data, not secrets


def _below(random: Random, limit: int) -> int:
    return int(random.random() * limit)


def _other(random: Random, base: str) -> str:
    return BASES.replace(base, "")[_below(random, 3)]


def _reference(parameters: Parameters) -> str:
    random = _random(parameters, "reference")
    return "".join(BASES[_below(random, 4)] for _ in range(parameters.genome_length))


def _planted(parameters: Parameters, reference: str) -> dict[int, str]:
    """Variants of the sample: position and base. Two that meet are one."""
    random = _random(parameters, "variants")
    places = [_below(random, len(reference)) for _ in range(parameters.variants)]
    return {place: _other(random, reference[place]) for place in places}


def _read(parameters: Parameters, sample: str, number: int) -> str:
    """The read of a number: a piece of the sample, with the sequencer's errors."""
    random = _random(parameters, f"read/{number}")
    start = _below(random, len(sample) - parameters.read_length + 1)
    return "".join(
        _sequenced(random, base, parameters.error_rate)
        for base in sample[start : start + parameters.read_length]
    )


def _sequenced(random: Random, base: str, error_rate: float) -> str:
    """A base as the sequencer tells it: now and then another, two, or none."""
    if random.random() >= error_rate:
        return base
    kind = random.random()
    if kind >= INDEL_SHARE:
        return _other(random, base)
    return "" if kind < INDEL_SHARE / 2 else base + BASES[_below(random, 4)]
