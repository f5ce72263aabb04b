"""The example's image and manifest, as far as they can be proven without a container engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from domain.manifest import JobManifest, read_manifest
from tests.examples.attempts import ROOT, WITHIN_S, Job

HERE = ROOT / "examples" / "genomics"
DOCKERFILE = (ROOT / "Dockerfile.job").read_text()
STAGE = DOCKERFILE.rpartition("FROM ")[2]
"""What the image is; the stage before it only builds."""


def manifest() -> JobManifest:
    return read_manifest((HERE / "manifest.yaml").read_text(), now=datetime.now(UTC))


def start() -> list[str]:
    [found] = re.findall(r"^CMD (\[.*\])$", STAGE, re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


def unpacked(folder: Path) -> Path:
    """The image's working directory, made by its own COPY lines."""
    [working_directory] = re.findall(r"^WORKDIR (.+)$", STAGE, re.MULTILINE)
    root = folder / working_directory.lstrip("/")
    for source, target in re.findall(r"^COPY (?!--)(\S+) (\S+)$", STAGE, re.MULTILINE):
        (root / target).mkdir(parents=True, exist_ok=True)
        for file in ROOT.glob(source):
            shutil.copy(file, root / target)
    return root


def test_the_manifest_runs_what_the_image_runs() -> None:
    """Without an entry point the command is the whole command, on every backend."""
    assert start() == list(manifest().command[: len(start())])
    assert "ENTRYPOINT" not in STAGE


def test_the_image_runs_as_nobody_in_particular() -> None:
    """A number, which Kubernetes can tell from root."""
    [user] = re.findall(r"^USER (.+)$", STAGE, re.MULTILINE)
    assert int(user) > 0


def test_the_image_holds_all_that_the_program_needs(job: Job, tmp_path: Path) -> None:
    """On a folder it runs from the copied files and the standard library alone."""
    words = [sys.executable, "-I", "-S", "-c", _FROM_HERE, *manifest().command[3:]]
    done = subprocess.run(
        [*words, "--reads", "50"],
        cwd=unpacked(tmp_path / "image"),
        env=job.environment(1),
        timeout=WITHIN_S,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


_FROM_HERE = """
import runpy, sys
sys.path.insert(0, "")
runpy.run_module("examples.genomics", run_name="__main__", alter_sys=True)
"""
"""``python -m``, with nothing of this machine's packages in reach."""


def test_the_images_packages_are_those_of_the_project() -> None:
    """A part of the one lock: a renewed lock without this one fails here."""
    ours = (HERE / "requirements.lock").read_text().splitlines()
    lock = set((ROOT / "requirements.lock").read_text().splitlines())
    assert [line for line in ours if line not in lock] == []
    assert {"boto3", "google-auth", "requests"} <= {line.partition("==")[0] for line in ours}
