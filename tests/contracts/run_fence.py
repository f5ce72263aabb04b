"""What every ``RunFence`` does. Its tests subclass this with a fixture ``fence``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from activities.compute.aws_batch_fence import Claim, FenceRow, RunFence

REGION, RUN = "aws:eu-north-1", "job-default-fenced-0a1b2c3d-s0-a1"
NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
LEASE = timedelta(seconds=20)


def claim(holder: str, spec: str = "spec", now: datetime = NOW) -> Claim:
    return Claim(spec, "queue", holder, now, now + LEASE)


class RunFenceContract:
    def test_nothing_stands_for_an_unknown_run(self, fence: RunFence) -> None:
        """No row, and none for a run of another region."""
        fence.claim("aws:eu-central-1", RUN, claim("ada"))
        assert fence.read(REGION, RUN) is None
        assert fence.read_all(REGION, [RUN]) == {}

    def test_the_first_claim_is_granted(self, fence: RunFence) -> None:
        """With all that it said, to the microsecond."""
        expected = FenceRow("spec", "queue", "ada", NOW + LEASE, claims=1)
        assert fence.claim(REGION, RUN, claim("ada")) == expected
        assert fence.read(REGION, RUN) == expected
        assert expected.is_held(NOW)
        assert not expected.is_held(NOW + LEASE)

    def test_a_claim_of_another_waits_for_its_end(self, fence: RunFence) -> None:
        """Held: the row stays as it was. Over: taken over, and counted."""
        first = fence.claim(REGION, RUN, claim("ada"))
        assert fence.claim(REGION, RUN, claim("bob", now=NOW + LEASE / 2)) == first
        row = fence.claim(REGION, RUN, claim("bob", now=NOW + LEASE))
        assert (row.holder, row.held_until, row.claims) == ("bob", NOW + 2 * LEASE, 2)

    def test_its_holder_renews_a_claim(self, fence: RunFence) -> None:
        """From now on, and counted."""
        fence.claim(REGION, RUN, claim("ada"))
        row = fence.claim(REGION, RUN, claim("ada", now=NOW + LEASE / 2))
        assert (row.held_until, row.claims) == (NOW + 1.5 * LEASE, 2)

    def test_another_specification_gets_nothing(self, fence: RunFence) -> None:
        """Not even after the holder's time."""
        first = fence.claim(REGION, RUN, claim("ada"))
        assert fence.claim(REGION, RUN, claim("bob", "other", NOW + 2 * LEASE)) == first

    def test_the_first_queue_stays(self, fence: RunFence) -> None:
        """What was left behind is looked for where it was submitted."""
        fence.claim(REGION, RUN, claim("ada"))
        later = NOW + LEASE
        row = fence.claim(REGION, RUN, Claim("spec", "elsewhere", "bob", later, later + LEASE))
        assert (row.holder, row.queue) == ("bob", "queue")

    def test_the_first_job_is_kept(self, fence: RunFence) -> None:
        """Whoever comes with another is told of it, and nobody may submit any more."""
        fence.claim(REGION, RUN, claim("ada"))
        row = fence.keep(REGION, RUN, "job-1")
        assert row.job_id == "job-1"
        assert not row.is_held(NOW)
        assert fence.keep(REGION, RUN, "job-2") == row
        assert fence.claim(REGION, RUN, claim("ada", now=NOW + LEASE)) == row

    def test_no_job_is_kept_for_a_run_that_nobody_claimed(self, fence: RunFence) -> None:
        """There is no row afterwards either."""
        assert fence.keep(REGION, RUN, "job-1") == FenceRow()
        assert fence.read(REGION, RUN) is None

    def test_a_stop_before_any_claim_lets_none_through(self, fence: RunFence) -> None:
        """There is a row for it; the first reason and time stay."""
        row = fence.stop(REGION, RUN, "cancelled", NOW)
        assert row == FenceRow(stop_reason="cancelled", stopped_at=NOW)
        assert fence.stop(REGION, RUN, "again", NOW + LEASE) == row
        assert fence.claim(REGION, RUN, claim("ada")) == row

    def test_a_stop_lets_no_claim_through(self, fence: RunFence) -> None:
        """Neither its holder's nor, later, another's."""
        fence.claim(REGION, RUN, claim("ada"))
        row = fence.stop(REGION, RUN, "cancelled", NOW)
        assert fence.claim(REGION, RUN, claim("ada")) == row
        assert fence.claim(REGION, RUN, claim("bob", now=NOW + 2 * LEASE)) == row

    def test_a_stop_lets_a_claimed_runs_job_be_kept(self, fence: RunFence) -> None:
        """It was submitted in that moment: its job must be known to be ended."""
        fence.claim(REGION, RUN, claim("ada"))
        fence.stop(REGION, RUN, "cancelled", NOW)
        row = fence.keep(REGION, RUN, "job-1")
        assert (row.job_id, row.stop_reason) == ("job-1", "cancelled")
        assert fence.claim(REGION, RUN, claim("ada")) == row

    def test_rows_are_read_in_bulk(self, fence: RunFence) -> None:
        """Those that are there, however many are asked for."""
        runs = [f"run-{number}" for number in range(250)]
        for run in runs[::10]:
            fence.claim(REGION, run, claim(run))
        rows = fence.read_all(REGION, runs)
        assert {run: run for run in runs[::10]} == {run: row.holder for run, row in rows.items()}

    def test_of_claims_at_once_one_is_granted(self, fence: RunFence) -> None:
        """All are told the same holder."""
        with ThreadPoolExecutor(8) as threads:
            rows = list(
                threads.map(lambda n: fence.claim(REGION, RUN, claim(f"worker-{n}")), range(16))
            )
        assert len({row.holder for row in rows}) == 1
        assert {1} == {row.claims for row in rows}
