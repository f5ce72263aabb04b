"""Settlement of interruptible jobs by hand, in the regions of ``test_settlement.py``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.job import RunState
from tests.domain.test_settlement import CLEAN, DARK, attempt, books, near

CUT = RunState.TERMINATED
CHUNKS = {"checkpoint": True, "min_chunk": "30m", "resume_overhead": "15m"}


class TestChunks:
    """Two hours of work; resuming costs a quarter of an hour."""

    def test_useful_work_is_counted_once(self) -> None:
        """An hour, then an hour and a quarter: actual pays for both, at home it takes two hours."""
        chunks = attempt(CLEAN, 3, 1, CUT, exit_code=143), attempt(CLEAN, 6, 1.25, number=2)
        settled = books(*chunks, interruptible=CHUNKS)
        assert settled.actual.cost_usd == near(0.1 * 2.25)
        assert settled.counterfactual.cost_usd == near(0.2 * 2)
        assert settled.counterfactual.energy_kwh == near(0.0318 * 2)

    def test_a_reclaim_with_a_checkpoint_loses_nothing(self) -> None:
        """Half an hour kept, a quarter to resume, an hour and a half to the end."""
        runs = attempt(DARK, 3, 0.5, RunState.RECLAIMED, exit_code=143), attempt(DARK, 5, 1.75)
        settled = books(*runs, interruptible=CHUNKS)
        assert settled.actual.cost_usd == near(0.1 * 2.25)
        assert settled.counterfactual.cost_usd == near(0.2 * 2)

    def test_what_a_lost_checkpoint_held_is_no_use(self) -> None:
        """Killed, or begun anew elsewhere: at home it would have been done once."""
        killed = attempt(DARK, 3, 0.5, RunState.RECLAIMED, exit_code=137), attempt(DARK, 5, 2)
        settled = books(*killed, interruptible=CHUNKS)
        assert settled.counterfactual.cost_usd == near(0.2 * 2)
        moved = attempt(DARK, 3, 1, CUT, exit_code=143), attempt(CLEAN, 5, 2)
        assert books(*moved, interruptible=CHUNKS).counterfactual.cost_usd == near(0.2 * 2)
        portable = CHUNKS | {"portable_checkpoint": True}
        settled = books(*moved, interruptible=portable)
        assert settled.counterfactual.cost_usd == near(0.2 * 2.75)

    def test_a_cancelled_job_did_what_its_chunks_did(self) -> None:
        """The last one, too, wrote its checkpoint."""
        chunks = [
            attempt(CLEAN, 3, 1, CUT, exit_code=143),
            attempt(CLEAN, 6, 0.5, CUT, number=2, exit_code=143),
        ]
        settled = books(*chunks, interruptible=CHUNKS)
        assert settled.counterfactual.cost_usd == near(0.2 * 1.25)

    @given(st.lists(st.sampled_from([(state, code) for state in RunState for code in (0, 1, 143)])))
    def test_without_the_manifest_s_promise_an_exit_code_tells_nothing(
        self, ends: list[tuple[RunState, int]]
    ) -> None:
        """A job that is not interruptible is settled by what its program ended itself."""
        runs = [attempt(CLEAN, 3, 1, state, exit_code=code) for state, code in ends]
        own = [state for state, _ in ends if state in {RunState.SUCCEEDED, RunState.FAILED}]
        assert books(*runs).counterfactual.cost_usd == near(0.2 * len(own))
