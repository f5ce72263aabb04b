"""Align a short read to a reference: k-mer seeds find the place, Smith-Waterman the bases.

Smith and Waterman, Identification of common molecular subsequences, J. Mol. Biol. 147 (1981), with
a linear gap cost. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

SEED_LENGTH = 11
SEED_STEP = 4
"""Distance of the k-mers that are looked up in a read."""
MARGIN = 6
"""Bases of the reference on either side of a read's place: room for gaps."""
MATCH, MISMATCH, GAP = 2, -3, -5

Index = Mapping[str, Sequence[int]]
Pair = tuple[int, int]
"""Position in the reference and in the read of a base that was aligned to one."""


def index_of(reference: str) -> Index:
    """Where each k-mer of the reference stands."""
    index: dict[str, list[int]] = defaultdict(list)
    for position in range(len(reference) - SEED_LENGTH + 1):
        index[reference[position : position + SEED_LENGTH]].append(position)
    return dict(index)


def align(read: str, reference: str, index: Index) -> list[Pair]:
    """The read's bases on the reference, in order; none where no seed is found."""
    start = _place(read, index)
    if start is None:
        return []
    begin = max(0, start - MARGIN)
    window = reference[begin : start + len(read) + MARGIN]
    return [(begin + position, offset) for position, offset in local_alignment(window, read)]


def _place(read: str, index: Index) -> int | None:
    """The start in the reference that most seeds speak for, the first of equals."""
    votes = Counter(
        position - offset
        for offset in range(0, len(read) - SEED_LENGTH + 1, SEED_STEP)
        for position in index.get(read[offset : offset + SEED_LENGTH], ())
    )
    return min(votes, key=lambda start: (-votes[start], start), default=None)


def local_alignment(reference: str, read: str) -> list[Pair]:
    """The pairs of a best local alignment, in order."""
    scores = [[0] * (len(reference) + 1)]
    best, end = 0, (0, 0)
    for row, base in enumerate(read, 1):
        above, current = scores[-1], [0]
        for column, other in enumerate(reference, 1):
            score = above[column - 1] + (MATCH if base == other else MISMATCH)
            gap = max(above[column], current[column - 1]) + GAP
            score = max(score, gap, 0)
            current.append(score)
            if score > best:
                best, end = score, (row, column)
        scores.append(current)
    return list(_traced(scores, reference, read, end))[::-1]


def _traced(
    scores: Sequence[Sequence[int]], reference: str, read: str, end: tuple[int, int]
) -> Iterator[Pair]:
    """Pairs from the end of an alignment to its begin, where the score falls to 0."""
    row, column = end
    while score := scores[row][column]:
        same = read[row - 1] == reference[column - 1]
        if score == scores[row - 1][column - 1] + (MATCH if same else MISMATCH):
            row, column = row - 1, column - 1
            yield column, row
        elif score == scores[row - 1][column] + GAP:
            row -= 1
        else:
            column -= 1
