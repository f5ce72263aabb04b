"""The programs in docs/job-contract.md do what that page asks of every program."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from examples.genomics.objects import location
from tests.examples.attempts import ROOT, Job
from tests.examples.conftest import BUCKET

PAGE = (ROOT / "docs" / "job-contract.md").read_text()


def program(language: str) -> str:
    """The page's program in a language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def cut_and_finish(job: Job, words: list[str]) -> tuple[int, str]:
    """SIGTERM in the middle, and a second attempt; where that began, and what it told last."""
    first = job.start(1, words, STEPS="1000000")
    first.tells("attempt 1 begins at step 0")
    first.signal(signal.SIGTERM)
    assert first.exit_code() == 143
    second = job.start(2, words, STEPS="3")
    assert second.exit_code() == 0
    begin, *_, last = second.told.splitlines()
    return int(begin.rpartition(" ")[2]), last


def test_the_shell_program_keeps_the_contract(job: Job) -> None:
    """A cut run is gone on with, a result stands, and a late attempt leaves it alone."""
    words = ["sh", "-c", program("sh")]
    _, told = cut_and_finish(job, words)
    assert told.endswith("by attempt 2")
    late = job.start(1, words, STEPS="3")
    assert late.exit_code() == 0
    assert late.told.splitlines()[-1] == told


def test_the_python_program_keeps_the_contract(
    new_job: Callable[..., Job], moto: dict[str, str], tmp_path: Path
) -> None:
    """The same on S3; the work that was done is in its checkpoint."""
    job = new_job(f"s3://{BUCKET}/{tmp_path.name}", **moto)
    words = [sys.executable, "-c", program("python")]
    began_at, told = cut_and_finish(job, words)
    kept = location(job.checkpoint_uri, "aws:eu-central-1").read("1.json")
    assert kept is not None
    assert began_at == json.loads(kept)["step"]
    assert told == "result of attempt 2"
    late = job.start(1, words, STEPS="3")
    assert late.exit_code() == 0
    assert late.told == ""
