"""What every ``ComputeBackend`` does. An adapter's tests subclass this with a fixture ``site``.

The suite waits for states, never for a time.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from activities.errors import SpecConflict
from domain.job import RunState
from tests.contracts.compute_site import EXIT_CODE, WITHIN_S, Program, Site, tells, told


class ComputeContract:
    # ── once ─────────────────────────────────────────────────────────────────────────────────

    async def test_a_run_submitted_again_is_the_same_run(self, site: Site) -> None:
        """While it runs, from another worker, and after its end: one start."""
        spec = site.spec("twice")
        await site.started(spec)
        await site.backend.submit(spec)
        await site.restarted().submit(spec)
        await site.at_rest()
        assert RunState.RUNNING is (await site.report(spec)).state
        await site.let_go(spec)
        over = await site.until(spec, RunState.SUCCEEDED)
        await site.backend.submit(spec)
        await site.at_rest()
        assert over == await site.report(spec)
        assert site.starts(spec) == 1

    async def test_submissions_at_once_are_one_run(self, site: Site) -> None:
        """Two workers that both hold the activity start one program."""
        spec, other = site.spec("race", Program.SUCCEED), site.restarted()
        await asyncio.gather(
            *(backend.submit(spec) for backend in (site.backend, other) for _ in range(4))
        )
        await site.until(spec, RunState.SUCCEEDED)
        await site.at_rest()
        assert site.starts(spec) == 1

    async def test_a_lost_answer_is_found_again(self, site: Site) -> None:
        """The caller knows nothing and submits again: the first submission stands."""
        spec = site.spec("unanswered", Program.SUCCEED)
        await site.submit_unanswered(spec)
        await site.restarted().submit(spec)
        await site.until(spec, RunState.SUCCEEDED)
        await site.at_rest()
        assert site.starts(spec) == 1

    @pytest.mark.parametrize(
        "changed", [{"vcpus": 2.0}, {"command": ("other",)}, {"environment": {"SAMPLE": "18"}}]
    )
    async def test_another_specification_under_the_name_is_refused(
        self, site: Site, changed: dict[str, object]
    ) -> None:
        """Nothing of the newcomer is taken, and the run goes on."""
        spec = site.spec("taken")
        before = await site.started(spec)
        with pytest.raises(SpecConflict):
            await site.backend.submit(spec.model_copy(update=changed))
        await site.at_rest()
        assert before == await site.report(spec)
        assert site.starts(spec) == 1

    async def test_attempts_and_jobs_are_runs_of_their_own(self, site: Site) -> None:
        """Another attempt of a job, and another job, each start."""
        specs = [site.spec("one"), site.spec("one", attempt=2), site.spec("two")]
        for spec in specs:
            await site.started(spec)
        assert [site.starts(spec) for spec in specs] == [1, 1, 1]

    # ── how a run ends ───────────────────────────────────────────────────────────────────────

    async def test_a_success_is_told_with_its_times(self, site: Site) -> None:
        """Who it was, when it began and ended, in UTC; exit code 0."""
        spec = site.spec("well", Program.SUCCEED)
        await site.backend.submit(spec)
        report = await site.until(spec, RunState.SUCCEEDED)
        assert (spec.run, spec.region, spec.workflow_id, 0) == (
            report.run,
            report.region,
            report.workflow_id,
            report.exit_code,
        )
        assert report.started_at.utcoffset() == report.ended_at.utcoffset() == timedelta(0)
        assert report.started_at <= report.ended_at

    async def test_a_failure_is_told_with_its_exit_code(self, site: Site) -> None:
        """A program's own failure is no reclaim, and the backend does not try it again."""
        spec = site.spec("fails", Program.FAIL)
        await site.backend.submit(spec)
        report = await site.until(spec, RunState.FAILED)
        await site.at_rest()
        assert (report.exit_code, site.starts(spec)) == (EXIT_CODE, 1)

    async def test_a_command_that_is_not_there_is_a_failure(self, site: Site) -> None:
        """The user's mistake, told as one, with the exit code that shells and containers use."""
        spec = site.spec("missing", Program.MISSING)
        await site.backend.submit(spec)
        report = await site.until(spec, RunState.FAILED)
        assert report.exit_code == 127
        assert report.ended_at is not None
        assert report.detail

    async def test_a_run_over_its_max_runtime_is_ended_as_failed(self, site: Site) -> None:
        """Whatever the deadline: and its program is gone."""
        spec = site.spec("endless", Program.DEFY, max_runtime_s=0.3)
        await site.backend.submit(spec)
        report = await site.until(spec, RunState.FAILED)
        assert "max_runtime" in report.detail
        assert site.starts(spec) == 1
        assert not site.lives(spec)

    @pytest.mark.parametrize("program", [Program.LAST, Program.DEFY])
    async def test_a_reclaimed_run_is_over_and_not_to_blame(
        self, site: Site, program: Program
    ) -> None:
        """SIGTERM, a grace time, SIGKILL: when it is told, no process of it lives."""
        spec = site.spec("reclaimed", program)
        await site.started(spec)
        await site.reclaim(spec)
        report = await site.until(spec, RunState.RECLAIMED)
        assert not site.lives(spec)
        assert report.started_at <= report.ended_at
        assert site.starts(spec) == 1

    async def test_an_end_stays_as_it_was_told(self, site: Site) -> None:
        """Neither a restart, nor a late request to end, nor a late submission changes it."""
        spec = site.spec("over", Program.FAIL)
        await site.backend.submit(spec)
        report = await site.until(spec, RunState.FAILED)
        await site.terminated(spec)
        await site.backend.submit(spec)
        await site.at_rest()
        assert report == await site.report(spec)
        assert report == await site.restarted().describe(spec.region, spec.run)

    # ── asked to end ─────────────────────────────────────────────────────────────────────────

    async def test_nothing_is_known_of_a_run_never_submitted(self, site: Site) -> None:
        """No trace, and no error."""
        assert RunState.UNKNOWN is (await site.report(site.spec("never"))).state

    @pytest.mark.parametrize("program", [Program.LAST, Program.DEFY])
    async def test_a_running_run_can_be_ended(self, site: Site, program: Program) -> None:
        """With the reason; when it is told to be over, no process of it lives."""
        spec = site.spec("stopped", program)
        await site.started(spec)
        await site.terminated(spec, "cancelled by ada")
        await site.terminated(spec, "and again")
        report = await site.until(spec, RunState.TERMINATED)
        assert "cancelled by ada" in report.detail
        assert not site.lives(spec)

    async def test_a_queued_run_can_be_ended_and_never_starts(self, site: Site) -> None:
        """Still in the queue, it is over without having begun."""
        site.close_queue()
        spec = site.spec("queued")
        await site.backend.submit(spec)
        assert RunState.QUEUED is (await site.report(spec)).state
        await site.terminated(spec)
        report = await site.until(spec, RunState.TERMINATED)
        await site.at_rest()
        assert report.started_at is None
        assert site.starts(spec) == 0

    async def test_a_run_ended_before_its_submission_never_starts(self, site: Site) -> None:
        """A submission that was slow, or is repeated, comes too late."""
        spec = site.spec("late")
        await site.terminated(spec)
        await site.backend.submit(spec)
        await site.restarted().submit(spec)
        await site.at_rest()
        assert (await site.report(spec)).state in {RunState.TERMINATED, RunState.UNKNOWN}
        assert site.starts(spec) == 0

    async def test_a_run_ended_while_it_is_submitted_starts_at_most_once(self, site: Site) -> None:
        """Whoever comes first, it is over in the end and nothing of it lives."""
        specs = [site.spec(f"both-{n}") for n in range(8)]
        await asyncio.gather(
            *(site.backend.submit(spec) for spec in specs),
            *(site.terminated(spec) for spec in specs),
        )
        for spec in specs:
            await site.until(spec, RunState.TERMINATED)
        await site.at_rest()
        assert [spec.run for spec in specs if site.lives(spec)] == []
        assert max(site.starts(spec) for spec in specs) <= 1

    async def test_a_run_ended_once_does_not_stop_the_next_attempt(self, site: Site) -> None:
        """The request is for one run."""
        first, second = site.spec("again"), site.spec("again", attempt=2)
        await site.started(first)
        await site.terminated(first)
        await site.until(first, RunState.TERMINATED)
        await site.started(second)
        assert site.starts(second) == 1

    # ── watching ─────────────────────────────────────────────────────────────────────────────

    async def test_a_watch_tells_how_runs_go(self, site: Site) -> None:
        """Running, then how it ended; each with the job to tell it to."""
        spec = site.spec("watched")
        await site.started(spec)
        async with aclosing(site.backend.watch(spec.region, None)) as watch:
            running, _ = await told(watch, tells(spec, RunState.RUNNING))
            await site.let_go(spec)
            over, _ = await told(watch, tells(spec, RunState.SUCCEEDED))
        assert {spec.workflow_id} == {report.workflow_id for report in running + over}
        assert over[-1] == await site.report(spec)

    async def test_one_watch_tells_every_end(self, site: Site) -> None:
        """Each of many short runs' ends reaches a watcher that is there all the time."""
        specs = [site.spec(f"many-{n}", Program.SUCCEED) for n in range(8)]
        async with aclosing(site.backend.watch(site.regions[0], None)) as watch:
            await asyncio.gather(*(site.backend.submit(spec) for spec in specs))
            reports, _ = await told(
                watch, lambda all_: all(tells(spec, RunState.SUCCEEDED)(all_) for spec in specs)
            )
        assert {spec.run for spec in specs} == {report.run for report in reports}

    async def test_a_fresh_watch_tells_every_run_that_is_not_over(self, site: Site) -> None:
        """A watcher that lost its cursor loses no run."""
        specs = [site.spec(f"on-{n}") for n in range(3)]
        for spec in specs:
            await site.started(spec)
        for backend in (site.backend, site.restarted()):
            async with aclosing(backend.watch(site.regions[0], None)) as watch:
                reports, _ = await told(
                    watch, lambda all_: {spec.run for spec in specs} <= {item.run for item in all_}
                )
            assert {RunState.RUNNING} == {report.state for report in reports}

    async def test_an_end_that_nobody_watched_is_told_from_the_cursor(self, site: Site) -> None:
        """A worker that was away goes on where it was."""
        spec = site.spec("between")
        await site.started(spec)
        async with aclosing(site.backend.watch(spec.region, None)) as watch:
            _, cursor = await told(watch, tells(spec, RunState.RUNNING))
        await site.let_go(spec)
        await site.until(spec, RunState.SUCCEEDED)
        async with aclosing(site.restarted().watch(spec.region, cursor)) as watch:
            await told(watch, tells(spec, RunState.SUCCEEDED))

    async def test_an_end_told_to_a_watcher_that_died_is_told_again(self, site: Site) -> None:
        """It had not come back for more, so nobody knows that it passed the news on."""
        spec = site.spec("untold")
        await site.started(spec)
        async with aclosing(site.backend.watch(spec.region, None)) as watch:
            _, cursor = await told(watch, tells(spec, RunState.RUNNING))
            await site.let_go(spec)
            await told(watch, tells(spec, RunState.SUCCEEDED))
        async with aclosing(site.restarted().watch(spec.region, cursor)) as watch:
            await told(watch, tells(spec, RunState.SUCCEEDED))

    async def test_a_watch_is_of_one_region(self, site: Site) -> None:
        """Runs elsewhere are not told, and not known."""
        here, there = site.spec("here"), site.spec("there", region=site.regions[1])
        await site.started(here)
        await site.started(there)
        async with aclosing(site.backend.watch(there.region, None)) as watch:
            reports, _ = await told(watch, tells(there, RunState.RUNNING))
        assert {there.run} == {report.run for report in reports}
        assert RunState.UNKNOWN is (await site.backend.describe(there.region, here.run)).state

    async def test_a_watch_gives_signs_of_life(self, site: Site) -> None:
        """Empty batches come while nothing changes: news is not repeated, a dead watcher shows."""
        spec = site.spec("quiet")
        await site.started(spec)
        async with aclosing(site.backend.watch(spec.region, None)) as watch:
            await told(watch, tells(spec, RunState.RUNNING))
            empty = 0
            async with asyncio.timeout(WITHIN_S):
                async for batch in watch:
                    empty += not batch.reports
                    if empty == 3:
                        break

    # ── what a program is given ──────────────────────────────────────────────────────────────

    async def test_a_program_knows_its_run(self, site: Site) -> None:
        """Job, fencing number, region, and where its state and output belong."""
        first = site.spec("told", environment={"SAMPLE": "17"})
        second, other = site.spec("told", attempt=2), site.spec("other")
        for spec in (first, second, other):
            await site.started(spec)
        given = site.environment(first)
        assert ("17", first.workflow_id, "1", first.region) == (
            given["SAMPLE"],
            given["LOWTIDE_JOB"],
            given["LOWTIDE_ATTEMPT"],
            given["LOWTIDE_REGION"],
        )
        again = site.environment(second)
        assert again["LOWTIDE_ATTEMPT"] == "2"
        for uri in ("LOWTIDE_CHECKPOINT_URI", "LOWTIDE_OUTPUT_URI"):
            assert given[uri] == again[uri], "a later attempt goes on from an earlier one's state"
            assert given[uri] != site.environment(other)[uri]
        assert given["LOWTIDE_CHECKPOINT_URI"] != given["LOWTIDE_OUTPUT_URI"]

    async def test_a_program_never_gets_the_workers_secrets(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever stands in the worker's environment stays there."""
        secrets = ("TEMPORAL_API_KEY", "AWS_SECRET_ACCESS_KEY", "LOWTIDE_TOKEN", "ANYTHING_ELSE")
        for name in secrets:
            monkeypatch.setenv(name, "hush")
        spec = site.spec("curious")
        await site.started(spec)
        given = site.environment(spec)
        assert [name for name in secrets if name in given] == []
        assert "hush" not in given.values()
