"""Attempts at a small analysis: real processes, given what Lowtide gives a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from examples.genomics.analysis import Analysis, Parameters

ROOT = Path(__file__).parents[2]
WITHIN_S = 30
"""Bound of every wait; a program that needs it fails."""


@dataclass(frozen=True)
class Small:
    """A small analysis."""

    reads: int
    seed: int = 17
    genome_length: int = 600
    read_length: int = 40
    variants: int = 5

    def but(self, **changed: int) -> Small:
        return replace(self, **changed)

    @property
    def parameters(self) -> Parameters:
        return Parameters(**asdict(self))

    @cached_property
    def findings(self) -> dict[str, Any]:
        """Its result, reckoned in one go."""
        analysis = Analysis(self.parameters)
        while not analysis.done:
            analysis.advance()
        return analysis.findings()


SMALL = Small(1200)
"""A second of one CPU or more: long enough to be cut."""
SHORT = Small(150)
ENDLESS = Small(100_000)


def command(work: Small, checkpoint_every_s: float = 600.0) -> list[str]:
    options = asdict(work) | {"checkpoint_every_s": checkpoint_every_s}
    words = [
        word
        for name, value in options.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return [sys.executable, "-m", "examples.genomics", *words]


class Job:
    """One job's place in a storage, and its attempts."""

    def __init__(self, uri: str, told: Path, more: Mapping[str, str] | None = None) -> None:
        self.checkpoint_uri, self.output_uri = f"{uri}/checkpoint", f"{uri}/output"
        self._told = told
        self._more = more or {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def environment(self, attempt: int, region: str = "aws:eu-central-1") -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "LOWTIDE_JOB": "job-default-genome",
            "LOWTIDE_ATTEMPT": str(attempt),
            "LOWTIDE_REGION": region,
            "LOWTIDE_CHECKPOINT_URI": self.checkpoint_uri,
            "LOWTIDE_OUTPUT_URI": self.output_uri,
            **self._more,
        }

    def start(self, attempt: int, words: list[str], **changed: str) -> Attempt:
        told = self._told / f"attempt-{attempt}-{len(self._processes)}.log"
        with told.open("wb") as out:
            process = subprocess.Popen(
                words,
                env=self.environment(attempt) | changed,
                cwd=self._told,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return Attempt(process, told)

    def run(self, attempt: int, work: Small = SMALL, **changed: str) -> Attempt:
        """An attempt that has ended by itself."""
        started = self.start(attempt, command(work), **changed)
        started.exit_code()
        return started

    def close(self) -> None:
        """End what a test left."""
        for process in self._processes:
            process.kill()
            process.wait()


class Attempt:
    """One process."""

    def __init__(self, process: subprocess.Popen[bytes], told: Path) -> None:
        self._process = process
        self._told = told

    def exit_code(self) -> int:
        return self._process.wait(WITHIN_S)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    @property
    def told(self) -> str:
        return self._told.read_text()

    def tells(self, text: str) -> None:
        """Wait until it says something."""
        wait_for(lambda: text in self.told or self._process.poll() is not None)
        assert text in self.told


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def result_of(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Findings, and who committed them."""
    record = json.loads(data)
    return record["findings"], record["committed_by"]
