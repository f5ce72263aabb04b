"""Local compute when workers, supervisors and programs are killed."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from activities.compute.supervisor import CLAIM, END, PROGRAM, SPEC, hold, is_held, put
from domain.job import RunSpec, RunState
from tests.activities.compute.local_site import LocalSite
from tests.activities.compute.process_site import group_lives
from tests.contracts.compute_site import WITHIN_S, Program

ROOT = Path(__file__).parents[3]


def dying(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.activities.compute.dying", *arguments], cwd=ROOT
    )


@contextmanager
def dying_worker(where: str, site: LocalSite, spec: RunSpec) -> Iterator[subprocess.Popen[bytes]]:
    worker = dying(where, str(site.root), spec.model_dump_json())
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


# ── the worker dies ──────────────────────────────────────────────────────────────────────────


async def test_a_run_outlives_its_worker_and_is_adopted(site: LocalSite) -> None:
    """Another worker finds it running, sees it end, and starts nothing."""
    spec = site.spec("adopted")
    with dying_worker("claim", site, spec) as worker:
        await site.until(spec, RunState.RUNNING)
        worker.kill()
        worker.wait()
    await site.backend.submit(spec)
    assert RunState.RUNNING is (await site.report(spec)).state
    await site.let_go(spec)
    await site.until(spec, RunState.SUCCEEDED)
    assert site.starts(spec) == 1


async def test_a_worker_that_dies_between_claim_and_start_costs_nothing(site: LocalSite) -> None:
    """The supervisor that has the run goes on to start it, once."""
    spec = site.spec("claimed", Program.SUCCEED)
    held = site.hold_before_start(spec)
    with dying_worker("claim", site, spec) as worker:
        await site.claimed(spec)
        worker.kill()
        worker.wait()
    await site.backend.submit(spec)
    assert RunState.QUEUED is (await site.report(spec)).state
    assert site.starts(spec) == 0
    held.release()
    await site.until(spec, RunState.SUCCEEDED)
    await site.at_rest()
    assert site.starts(spec) == 1


async def test_a_worker_that_dies_before_the_supervisor_leaves_a_queued_run(
    site: LocalSite,
) -> None:
    """The repeated submission starts it, once; and until then it can be ended."""
    spec, ended = site.spec("orphan", Program.SUCCEED), site.spec("ended")
    for item in (spec, ended):
        with dying_worker("spec", site, item) as worker:
            assert worker.wait(WITHIN_S) == -signal.SIGKILL
        assert RunState.QUEUED is (await site.report(item)).state
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
    await site.terminated(ended)
    await site.backend.submit(ended)
    await site.at_rest()
    assert (site.starts(spec), site.starts(ended)) == (1, 0)


# ── the supervisor dies ──────────────────────────────────────────────────────────────────────


async def test_a_run_is_not_over_before_its_program_is(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor is killed: the run is lost, and told so only when nothing of it lives."""
    spec = site.spec("beheaded", Program.DEFY)
    await site.started(spec)
    os.kill(await site.claimed(spec), signal.SIGKILL)
    await until_gone(await site.claimed(spec))
    group = await site.group(spec)
    with monkeypatch.context() as slow_death:
        slow_death.setattr(os, "killpg", lambda *_: None)
        for _ in range(3):
            assert RunState.RUNNING is (await site.report(spec)).state
    assert group_lives(group)
    report = await site.until(spec, RunState.RECLAIMED)
    assert not group_lives(group)
    assert "lost" in report.detail
    assert report.started_at <= report.ended_at
    assert report == await site.restarted().describe(spec.region, spec.run)


async def test_a_lost_supervisor_and_program_are_told_at_once(site: LocalSite) -> None:
    """As after a crash of the machine; the supervisor here is a zombie, and that is no life."""
    spec = site.spec("crashed", Program.DEFY)
    await site.started(spec)
    supervisor, group = await site.claimed(spec), await site.group(spec)
    os.kill(supervisor, signal.SIGSTOP)  # or it would see its program's end
    os.killpg(group, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    await until_gone(supervisor)
    await until_gone(group)
    assert psutil.Process(supervisor).status() == psutil.STATUS_ZOMBIE
    assert RunState.RECLAIMED is (await site.report(spec)).state


async def test_a_supervisor_that_dies_before_the_start_never_starts(site: LocalSite) -> None:
    """Claimed and lost: it is over, and a repeated submission does not revive it."""
    spec = site.spec("stillborn")
    held = site.hold_before_start(spec)
    await site.backend.submit(spec)
    os.kill(await site.claimed(spec), signal.SIGKILL)
    report = await site.until(spec, RunState.RECLAIMED)
    held.release()
    await site.backend.submit(spec)
    await site.at_rest()
    assert report == await site.report(spec)
    assert report.started_at is None
    assert site.starts(spec) == 0


async def test_a_supervisor_that_dies_while_it_starts_the_program_never_starts(
    site: LocalSite,
) -> None:
    """Forked already, the program is not executed: nobody would be there to follow it."""
    spec = site.spec("forked")
    site.folder(spec).mkdir(parents=True)
    put(site.folder(spec) / SPEC, site.backend._program(spec))
    supervisor = dying("fork", str(site.folder(spec)))
    assert supervisor.wait(WITHIN_S) == -signal.SIGKILL
    await site.until(spec, RunState.RECLAIMED)
    assert not group_lives(await site.group(spec))
    assert site.starts(spec) == 0


async def test_a_program_without_supervisor_can_be_ended(site: LocalSite) -> None:
    """Asking a lost run to end ends what is left of it."""
    spec = site.spec("headless", Program.DEFY)
    await site.started(spec)
    os.kill(await site.claimed(spec), signal.SIGKILL)
    await site.terminated(spec)
    async with asyncio.timeout(WITHIN_S):
        while not (await site.report(spec)).state.is_final:
            await asyncio.sleep(0.02)
    assert not site.lives(spec)


async def test_of_many_supervisors_one_has_the_run(site: LocalSite) -> None:
    """Whichever claims first; the others leave without a trace."""
    spec = site.spec("crowded", Program.SUCCEED)
    held = site.hold_before_start(spec)
    put(site.folder(spec) / SPEC, site.backend._program(spec))
    for _ in range(6):
        site.backend._spawn(site.folder(spec))
    await site.claimed(spec)
    held.release()
    await site.until(spec, RunState.SUCCEEDED)
    await site.at_rest()
    assert site.starts(spec) == 1


# ── who lives ────────────────────────────────────────────────────────────────────────────────


async def test_another_process_is_not_taken_for_a_lost_run(site: LocalSite) -> None:
    """Pids are used again: a stranger that has them keeps no run alive, and is left alone."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:  # noqa: ASYNC220
        spec = site.spec("reused")
        folder = site.folder(spec)
        folder.mkdir(parents=True)
        put(folder / SPEC, site.backend._program(spec))
        put(folder / CLAIM, {"pid": stranger.pid})
        put(folder / PROGRAM, {"group": stranger.pid, "started_at": 0.0})
        assert RunState.RECLAIMED is (await site.report(spec)).state
        assert stranger.poll() is None
        stranger.kill()


def test_a_lock_ends_with_its_last_holder(tmp_path: Path) -> None:
    """However it ends, and not before; asking does not hold."""
    path = tmp_path / "claim"
    assert not is_held(path)
    descriptor = hold(path, {})
    assert hold(path, {}) is None
    os.set_inheritable(descriptor, True)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as heir:
        os.close(descriptor)
        assert [is_held(path) for _ in range(3)] == [True] * 3
        heir.kill()
    with path.open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)  # as another who asks at the same moment
        assert not is_held(path)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Readers who look without a pause never see a part; of many writers one wins."""
    content = {"environment": {f"NAME_{n}": "x" * 100 for n in range(1000)}}
    broken: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for path in tmp_path.glob("[!.]*"):
                text = path.read_text()
                if json.loads(text or "{}") != content:
                    broken.append(text[:80])

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    wins = [put(tmp_path / str(n // 2), content) for n in range(80)]
    done.set()
    for thread in looking:
        thread.join()
    assert broken == []
    assert wins == [True, False] * 40
    assert len(list(tmp_path.iterdir())) == 40


async def test_a_part_of_a_file_left_by_a_killed_writer_is_not_read(site: LocalSite) -> None:
    """Killed before its file was whole, a supervisor or worker has written nothing."""
    spec = site.spec("torn", Program.SUCCEED)
    folder = site.folder(spec)
    folder.mkdir(parents=True)
    for name in (SPEC, CLAIM, END):
        (folder / f".{name}.k2j3h4").write_text('{"state": "fail')
    assert RunState.UNKNOWN is (await site.report(spec)).state
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)
