"""Many decisions at once come out as each would alone."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import batch
from domain.batch import decide_many
from domain.decision import DecisionInputs
from domain.errors import NoLegalRegion
from domain.placement import decide
from tests.domain import brute_force as brute
from tests.domain.generated import batches


@given(batches(most=12), st.sampled_from([1, 64, 1 << 17]), st.sampled_from([1, 2]))
def test_each_job_gets_what_it_would_get_alone(
    jobs: list[DecisionInputs], cells_at_once: int, threads: int
) -> None:
    """Cell, basis, score, fallbacks and figures, however the jobs are cut into chunks."""
    able = [job for job in jobs if brute.legal_and_able(job)]
    with mock.patch.object(batch, "CELLS_AT_ONCE", cells_at_once):
        found = decide_many(able, threads=threads)
    for job, chosen in zip(able, found, strict=True):
        placement = decide(job).placement
        cell = placement.cell
        assert (chosen.region, chosen.capacity_type, chosen.start) == (
            cell.region,
            cell.capacity_type,
            cell.start,
        )
        assert chosen.basis is placement.basis
        assert chosen.fallbacks == placement.fallbacks
        assert chosen.score == placement.score
        assert chosen.cost_usd == pytest.approx(placement.estimate.cost_usd, abs=1e-9)
        expected_g = placement.estimate.carbon_g(placement.basis)
        if expected_g is None:
            assert chosen.carbon_g is None
        else:
            assert chosen.carbon_g == pytest.approx(expected_g, abs=2e-6, rel=1e-9)


@given(batches(most=4))
def test_a_job_without_a_legal_region_is_told(jobs: list[DecisionInputs]) -> None:
    """One such job is no decision: the caller admits jobs first."""
    if all(brute.legal_and_able(job) for job in jobs):
        assert len(decide_many(jobs)) == len(jobs)
    else:
        with pytest.raises(NoLegalRegion):
            decide_many(jobs)


def test_no_jobs_are_no_decisions() -> None:
    """An empty batch is a batch."""
    assert decide_many([]) == []
