"""Runs of the example: real processes that are cut, crossed and late."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.genomics.analysis import Analysis
from examples.genomics.checkpoints import sealed, unsealed
from examples.genomics.objects import location
from tests.examples.attempts import ENDLESS, SHORT, SMALL, Job, command, result_of, wait_for
from tests.examples.conftest import BUCKET
from tests.servers.objects import Fault, ObjectServer, object_server

SIGTERM_EXIT = 143
FIRST = "attempt-1.checkpoint"
OFTEN_S = 0.02
"""Between checkpoints, for a test that waits for one."""


def committed(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """Findings and committer of the result that stands."""
    data = location(job.output_uri, "aws:eu-central-1").read("result.json")
    assert data is not None
    return result_of(data)


def until_kept(job: Job) -> None:
    """Wait for a checkpoint of the first attempt."""
    here = location(job.checkpoint_uri, "aws:eu-central-1")
    wait_for(lambda: here.read(FIRST) is not None)


@pytest.fixture(params=["file", "s3", "gs"])
def placed(request: pytest.FixtureRequest, new_job: Callable[..., Job], tmp_path: Path) -> Job:
    """A job on each kind of storage."""
    match request.param:
        case "s3":
            environment = request.getfixturevalue("moto")
            return new_job(f"s3://{BUCKET}/{tmp_path.name}", **environment)
        case "gs":
            url = request.getfixturevalue("gs").url
            return new_job("gs://lowtide-europe-west1/job", STORAGE_EMULATOR_HOST=url)
        case _:
            return new_job()


def test_a_run_told_to_end_is_gone_on_with(placed: Job) -> None:
    """After SIGTERM the next attempt does what is left, and the result is the undisturbed one."""
    first = placed.start(1, command(SMALL, OFTEN_S))
    until_kept(placed)
    first.signal(signal.SIGTERM)
    assert first.exit_code() == SIGTERM_EXIT
    second = placed.run(2)
    assert second.exit_code() == 0
    assert "going on from the checkpoint of attempt 1" in second.told
    findings, by = committed(placed)
    assert findings == SMALL.findings
    assert by["attempt"] == 2
    assert 0 < by["resumed_at"] < SMALL.reads


def test_sigterm_alone_leaves_a_checkpoint_of_all_that_was_done(job: Job) -> None:
    """One is written at the end, not only from time to time."""
    first = job.start(1, command(ENDLESS))
    first.tells("attempt 1")
    first.signal(signal.SIGTERM)
    assert first.exit_code() == SIGTERM_EXIT
    kept = location(job.checkpoint_uri).read(FIRST)
    if "told to end at read 0" in first.told:
        assert kept is None
    else:
        assert kept is not None
        reached = Analysis(ENDLESS.parameters, unsealed(kept, ENDLESS.parameters.work)).next_read
        assert f"told to end at read {reached}\n" in first.told


def test_a_killed_run_is_gone_on_with(job: Job) -> None:
    """A machine that vanishes gives no notice: the checkpoints before have to do."""
    first = job.start(1, command(SMALL, OFTEN_S))
    until_kept(job)
    first.signal(signal.SIGKILL)
    assert first.exit_code() == -signal.SIGKILL
    assert job.run(2).exit_code() == 0
    findings, by = committed(job)
    assert findings == SMALL.findings
    assert by["resumed_at"] > 0


@pytest.mark.parametrize("damage", ["empty", "cut short", "a bit"])
def test_a_damaged_checkpoint_is_ignored(job: Job, damage: str) -> None:
    """The work begins anew rather than go wrong, though the JSON may still be sound."""
    begun = Analysis(SHORT.parameters)
    while begun.next_read < 100:
        begun.advance()
    kept = sealed(begun.state(), SHORT.parameters.work)
    damaged = {
        "empty": b"",
        "cut short": kept[:-1],
        "a bit": kept.replace(b'"next_read":100', b'"next_read":101'),
    }
    location(job.checkpoint_uri).replace(FIRST, damaged[damage])
    second = job.run(2, SHORT)
    assert second.exit_code() == 0
    assert "checkpoint of attempt 1 ignored" in second.told
    findings, by = committed(job)
    assert findings == SHORT.findings
    assert by["resumed_at"] == 0


def test_two_attempts_at_once_commit_one_result(placed: Job) -> None:
    """Both end well, and both tell of the same one."""
    both = [placed.start(attempt, command(SHORT)) for attempt in (1, 2)]
    assert [each.exit_code() for each in both] == [0, 0]
    _, by = committed(placed)
    for each in both:
        assert f"result of attempt {by['attempt']} in" in each.told


def test_a_late_lower_attempt_leaves_the_result_alone(
    new_job: Callable[..., Job], gs: ObjectServer
) -> None:
    """One that was taken for dead in the middle of its commit wakes up after the next one's."""
    job = new_job("gs://bucket/job", STORAGE_EMULATOR_HOST=gs.url)
    gs.faults.append(Fault.HELD)
    first = job.start(1, command(SHORT))
    wait_for(lambda: gs.writes)
    first.signal(signal.SIGSTOP)
    assert job.run(2, SHORT).exit_code() == 0
    before = dict(gs.objects)
    gs.let_go.set()
    first.signal(signal.SIGCONT)
    assert first.exit_code() == 0
    assert gs.objects == before
    assert committed(job)[1]["attempt"] == 2
    assert "result of attempt 2" in first.told


def test_a_run_that_finds_a_result_does_nothing(job: Job) -> None:
    """As after a reclaim between the commit and the end of the program."""
    assert job.run(1, SHORT).exit_code() == 0
    again = job.run(2, SHORT)
    assert again.exit_code() == 0
    assert "nothing to do: result of attempt 1 in aws:eu-central-1, sha256 " in again.told
    assert committed(job)[1]["attempt"] == 1


def test_a_result_of_other_work_is_left_alone(job: Job) -> None:
    """It fails rather than take it for its own."""
    job.run(1, SHORT)
    before = location(job.output_uri).read("result.json")
    other = job.run(2, SHORT.but(seed=18))
    assert other.exit_code() == 1
    assert "other parameters" in other.told
    assert location(job.output_uri).read("result.json") == before


# ── a storage on bad days ────────────────────────────────────────────────────────────────────────


def test_a_lost_checkpoint_costs_no_result(new_job: Callable[..., Job], gs: ObjectServer) -> None:
    """A storage that refuses for a while is no reason to fail."""
    job = new_job("gs://bucket/job", STORAGE_EMULATOR_HOST=gs.url)
    gs.faults += [Fault.UNAVAILABLE] * 4  # all tries of the first checkpoint
    run = job.start(1, command(SHORT, OFTEN_S))
    assert run.exit_code() == 0
    assert "no checkpoint" in run.told
    assert committed(job)[1]["attempt"] == 1


def test_a_result_that_cannot_be_written_is_a_failure(new_job: Callable[..., Job]) -> None:
    """Exit code 0 means that a result stands, and nothing else does."""
    with object_server() as server:
        job = new_job("gs://bucket/job", STORAGE_EMULATOR_HOST=server.url)
        server.faults += [Fault.UNAVAILABLE] * 10
        run = job.run(1, SHORT)
        assert run.exit_code() == 1
        assert "the result cannot be kept" in run.told
        assert server.objects == {}


@pytest.mark.slow
def test_a_storage_that_hangs_does_not_keep_a_run_that_is_told_to_end(
    new_job: Callable[..., Job], gs: ObjectServer
) -> None:
    """It leaves without a checkpoint, in the time that a machine gives."""
    job = new_job("gs://bucket/job", STORAGE_EMULATOR_HOST=gs.url)
    gs.faults += [Fault.HELD] * 10
    run = job.start(1, command(ENDLESS, OFTEN_S))
    wait_for(lambda: gs.writes)
    run.signal(signal.SIGTERM)
    assert run.exit_code() == SIGTERM_EXIT
    assert "no time left" in run.told


# ── what it is given ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOWTIDE_OUTPUT_URI", "ftp://elsewhere/output"),
        ("LOWTIDE_CHECKPOINT_URI", "checkpoints"),
        ("LOWTIDE_ATTEMPT", "0"),
        ("LOWTIDE_ATTEMPT", "second"),
        ("LOWTIDE_REGION", ""),
        ("LOWTIDE_JOB", ""),
    ],
)
def test_what_is_malformed_is_refused(job: Job, name: str, value: str) -> None:
    """One line names it, and nothing is done."""
    run = job.run(1, SHORT, **{name: value})
    assert run.exit_code() == 2
    assert (value or name) in run.told
    assert len(run.told.splitlines()) == 1
    assert location(job.output_uri).read("result.json") is None


def test_a_wrong_argument_is_refused(job: Job) -> None:
    """In the way of all commands."""
    run = job.run(1, SHORT.but(read_length=3))
    assert run.exit_code() == 2
    assert "read_length 3" in run.told
