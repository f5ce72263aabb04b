"""The work itself: pure, and the same wherever it is cut."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.genomics.alignment import GAP, MATCH, MISMATCH, Pair, align, index_of, local_alignment
from examples.genomics.analysis import Analysis, Parameters

BASES = st.text("ACGT", max_size=7)

PARAMETERS = st.builds(
    Parameters,
    seed=st.integers(0, 1000),
    reads=st.integers(0, 25),
    genome_length=st.integers(60, 200),
    read_length=st.integers(11, 40),
    variants=st.integers(0, 5),
    error_rate=st.sampled_from((0.0, 0.02, 0.3)),
)


def finished(analysis: Analysis) -> Analysis:
    while not analysis.done:
        analysis.advance()
    return analysis


@given(parameters=PARAMETERS, cuts=st.lists(st.integers(0, 25), max_size=4))
def test_the_result_is_the_same_wherever_the_work_is_cut(
    parameters: Parameters, cuts: list[int]
) -> None:
    """However many times it goes on from its state, an analysis ends as an undisturbed one."""
    cut = Analysis(parameters)
    for point in sorted(cuts):
        while cut.next_read < min(point, parameters.reads):
            cut.advance()
        cut = Analysis(parameters, cut.state())
    undisturbed = finished(Analysis(parameters))
    assert undisturbed.findings() == finished(cut).findings()
    assert undisturbed.state() == cut.state()


@given(parameters=PARAMETERS, at=st.integers(1, 25))
def test_what_was_done_is_not_done_again(parameters: Parameters, at: int) -> None:
    """From a state, exactly the reads that are left are aligned."""
    first = Analysis(parameters)
    while first.next_read < min(at, parameters.reads):
        first.advance()
    second, steps = Analysis(parameters, first.state()), 0
    while not second.done:
        second.advance()
        steps += 1
    assert parameters.reads - first.next_read == steps


def test_with_enough_reads_the_variants_found_are_those_of_the_sample() -> None:
    """Put into the reference, the calls give the sample's genome, and no base is called wrongly."""
    parameters = Parameters(reads=700, genome_length=600, read_length=40, variants=5)
    analysis = finished(Analysis(parameters))
    findings = analysis.findings()
    # Private: the genomes are what a sequencer's user does not have either.
    bases = list(analysis._reference)
    for call in findings["variants"]:
        assert bases[call["position"]] == call["reference"]
        bases[call["position"]] = call["alternate"]
    assert analysis._sample == "".join(bases)
    assert analysis._sample != analysis._reference
    assert findings["recall"] == findings["precision"] == 1.0


def test_another_seed_is_other_work() -> None:
    """A checkpoint or result can tell whose it is."""
    assert Parameters(seed=1).work != Parameters(seed=2).work
    assert Parameters(seed=1).work == Parameters(seed=1).work


@pytest.mark.parametrize(
    "wrong",
    [
        {"read_length": 10},
        {"read_length": 99, "genome_length": 98},
        {"reads": -1},
        {"variants": -1},
        {"error_rate": 1.5},
    ],
)
def test_what_cannot_be_analysed_is_refused(wrong: dict[str, float]) -> None:
    """Before any work is done."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Parameters(**wrong)


# ── alignment ────────────────────────────────────────────────────────────────────────────────────


def best_score(one: str, other: str) -> int:
    """The best local score by trying every pair of substrings and every way to align them."""

    @lru_cache(None)
    def whole(left: str, right: str) -> int:
        if not left or not right:
            return GAP * (len(left) + len(right))
        same = MATCH if left[0] == right[0] else MISMATCH
        return max(
            same + whole(left[1:], right[1:]),
            GAP + whole(left[1:], right),
            GAP + whole(left, right[1:]),
        )

    def parts(text: str) -> set[str]:
        ends = range(len(text) + 1)
        return {text[begin:end] for begin in ends for end in ends if begin <= end}

    return max(whole(left, right) for left in parts(one) for right in parts(other))


def score_of(pairs: list[Pair], reference: str, read: str) -> int:
    """What an alignment is worth, its gaps counted."""
    score = 0
    for number, (position, offset) in enumerate(pairs):
        score += MATCH if reference[position] == read[offset] else MISMATCH
        if number:
            before = pairs[number - 1]
            score += GAP * (position - before[0] + offset - before[1] - 2)
    return score


@given(reference=BASES, read=BASES)
def test_a_local_alignment_is_a_best_one(reference: str, read: str) -> None:
    """Its pairs go forward in both, and no other alignment is worth more."""
    pairs = local_alignment(reference, read)
    assert all(left[0] < right[0] and left[1] < right[1] for left, right in pairwise(pairs))
    assert best_score(reference, read) == score_of(pairs, reference, read)


REFERENCE = "ACGTTGCAAGCTTAGGCATCCATGACGTTACCAGGATATCGC"


@pytest.mark.parametrize(
    ("read", "missing", "extra"),
    [
        (REFERENCE[5:18] + REFERENCE[19:35], 1, 0),
        (REFERENCE[5:18] + "C" + REFERENCE[18:34], 0, 1),
    ],
)
def test_a_read_with_a_gap_is_aligned_on_both_sides_of_it(
    read: str, missing: int, extra: int
) -> None:
    """A missing or an extra base shifts what comes after it; the pairs follow."""
    before = [(5 + at, at) for at in range(13)]
    after = [(18 + missing + at, 13 + extra + at) for at in range(16)]
    assert before + after == align(read, REFERENCE, index_of(REFERENCE))


def test_a_read_from_elsewhere_is_not_aligned() -> None:
    """Without a seed there is no place to try."""
    assert align("A" * 20, "C" * 60, index_of("C" * 60)) == []
