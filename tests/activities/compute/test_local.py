"""Local compute passes the contract, and what only processes on one machine do besides."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import pytest

from activities.compute import supervisor
from activities.compute.local import Reclaims
from domain.capacity import CapacityType
from domain.job import RunState
from tests.activities.compute.local_site import LocalSite
from tests.activities.compute.process_site import group_lives
from tests.contracts.compute import ComputeContract
from tests.contracts.compute_site import WITHIN_S, Program, tells, told


class TestLocalCompute(ComputeContract):
    pass


# ── how a program is ended ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["reclaim", "terminate"])
async def test_a_program_that_heeds_sigterm_ends_by_itself(site: LocalSite, end: str) -> None:
    """It may save its work, and its own exit code is told."""
    spec = site.spec("heeds", Program.LAST)
    await site.started(spec)
    await (site.reclaim(spec) if end == "reclaim" else site.terminated(spec))
    state = RunState.RECLAIMED if end == "reclaim" else RunState.TERMINATED
    report = await site.until(spec, state)
    assert site.of(spec, "termed").exists()
    assert report.exit_code == 0


@pytest.mark.parametrize("end", ["reclaim", "terminate"])
async def test_a_program_that_defies_sigterm_is_killed(site: LocalSite, end: str) -> None:
    """After the grace time, with the exit code that shells give a death by SIGKILL."""
    spec = site.spec("defies", Program.DEFY)
    await site.started(spec)
    await (site.reclaim(spec) if end == "reclaim" else site.terminated(spec))
    state = RunState.RECLAIMED if end == "reclaim" else RunState.TERMINATED
    report = await site.until(spec, state)
    assert report.exit_code == 128 + 9


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ("exit 0", RunState.SUCCEEDED),
        ("exit 3", RunState.FAILED),
        ("kill -9 $$", RunState.FAILED),
        ("touch $me.go; wait", RunState.TERMINATED),
    ],
)
async def test_what_a_program_leaves_behind_ends_with_it(
    site: LocalSite, last: str, state: RunState
) -> None:
    """The whole process group is killed, however the program itself came to its end."""
    behind = 'sh -c "trap : TERM; touch $me.behind; while :; do sleep 0.05; done" & '
    there = "while [ ! -e $me.behind ]; do sleep 0.02; done; "
    spec = site.spec("leaves", command=site.script(behind + there + last))
    await site.started(spec)
    if state is RunState.TERMINATED:
        async with asyncio.timeout(WITHIN_S):
            while not site.of(spec, "go").exists():
                await asyncio.sleep(0.02)
        await site.terminated(spec)
    await site.until(spec, state)
    assert site.of(spec, "behind").exists()
    assert not group_lives(await site.group(spec))


async def test_a_death_by_signal_is_the_programs_failure(site: LocalSite) -> None:
    """As a shell tells it: 128 and the signal's number."""
    spec = site.spec("crash", command=site.script("kill -11 $$"))
    await site.backend.submit(spec)
    report = await site.until(spec, RunState.FAILED)
    assert report.exit_code == 128 + 11


async def test_output_is_kept_beside_the_run(site: LocalSite) -> None:
    """Standard output and error go to files of their own."""
    spec = site.spec("talks", command=site.script("echo out; echo err >&2"))
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    kept = [(site.folder(spec) / f"{name}.log").read_text() for name in ("stdout", "stderr")]
    assert kept == ["out\n", "err\n"]


# ── injected reclaims ────────────────────────────────────────────────────────────────────────


async def test_a_rule_takes_back_the_first_spot_runs_of_its_jobs(tmp_path: Path) -> None:
    """Not later attempts, not on-demand runs, not other jobs."""
    rule = Reclaims("job-default-unlucky-*", attempts=1, after_s=0.1, grace_s=0.1)
    site = LocalSite(tmp_path, (rule,))
    try:
        hit = site.spec("unlucky-1", Program.DEFY)
        spared = [
            site.spec("unlucky-1", attempt=2),
            site.spec("unlucky-2", capacity_type=CapacityType.ON_DEMAND),
            site.spec("lucky"),
        ]
        for spec in (hit, *spared):
            await site.backend.submit(spec)
        await site.until(hit, RunState.RECLAIMED)
        for spec in spared:
            await site.until(spec, RunState.RUNNING)
            await site.let_go(spec)
            await site.until(spec, RunState.SUCCEEDED)
    finally:
        site.close()


# ── what is known of a run ───────────────────────────────────────────────────────────────────


async def test_a_scan_looks_at_live_runs_only(site: LocalSite) -> None:
    """An end that was told is not told to the next watcher, however many runs there ever were."""
    over, on = site.spec("over", Program.SUCCEED), site.spec("on")
    await site.started(on)
    await site.backend.submit(over)
    async with aclosing(site.backend.watch(over.region, None)) as watch:
        await told(watch, tells(over, RunState.SUCCEEDED))
        await told(watch, lambda _: True)  # came back for more, so it passed that on
    async with aclosing(site.restarted().watch(over.region, None)) as watch:
        reports, _ = await told(watch, lambda _: True)
    assert [on.run] == [report.run for report in reports]
    assert RunState.SUCCEEDED is (await site.report(over)).state


async def test_an_end_during_the_look_is_not_taken_for_a_loss(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor writes the end and is gone, all between two reads of one description."""
    spec = site.spec("meanwhile", Program.LAST)
    await site.started(spec)
    followed_by = await site.claimed(spec)
    is_held = supervisor.is_held

    def after_the_end(path: Path) -> bool:
        site.of(spec, "go").touch()
        os.waitid(os.P_PID, followed_by, os.WEXITED | os.WNOWAIT)
        return is_held(path)

    monkeypatch.setattr(supervisor, "is_held", after_the_end)
    assert RunState.SUCCEEDED is (await site.report(spec)).state


async def test_ends_are_told_right_however_often_they_are_looked_for(site: LocalSite) -> None:
    """Many short runs, each described without a pause until it is over: all succeed."""
    specs = [site.spec(f"short-{n}", Program.SUCCEED) for n in range(24)]

    async def follow(number: int) -> None:
        spec = specs[number]
        await site.backend.submit(spec)
        async with asyncio.timeout(WITHIN_S):
            while not (report := await site.report(spec)).state.is_final:
                pass
        assert report.state is RunState.SUCCEEDED

    await asyncio.gather(*map(follow, range(len(specs))))
    assert {1} == {site.starts(spec) for spec in specs}
