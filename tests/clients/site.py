"""``lowtide dev`` as a process, on a grid made for tests, and commands beside it.

One trace hour takes 4 s. The grid is dirty for its first 120 hours and clean after them, and the
provider forecasts it perfectly: a job that may wait eight minutes is deferred for longer than
the tests last, one that may not runs at once.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from activities.stores.sqlite import SqliteStore
from clients.cli import app
from domain.manifest import JobManifest, read_manifest
from workers.devserver import LOOPBACK, free_port

LOWTIDE = Path(sys.executable).with_name("lowtide")
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")

SOON, LATE = "+25s", "+620s"
"""Deadlines: the one leaves no time to wait, the other is worth a long wait."""

POLICY = """
version: "tests"
weights: {carbon: 0.7, cost: 0.3}
steering_signal: average
forecast_max_age: 10s
safety_margin: 3s
start_up: 1s
look_again: {min_remaining: 60s, min_gain: 0.02}
wake_jitter: 1s
residency:
  eu: {countries: [DE, FR, SE]}
  germany: {countries: [DE]}
regions:
  aws:eu-central-1: {spot: {vcpus: 64}, on_demand: {vcpus: 64}}
  aws:eu-north-1: {spot: {vcpus: 64}, on_demand: {vcpus: 64}}
  aws:eu-west-3: {spot: {vcpus: 64}, on_demand: {vcpus: 64}}
"""


def write_trace(file: Path, **levels: float) -> Path:
    """336 hours: five days at these levels, then nine at a tenth of them."""
    zones = [zone.replace("_", "-") for zone in levels]
    lines = ["time," + ",".join(zones)]
    for hour in range(336):
        at = datetime(2022, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
        share = 1.0 if hour < 120 else 0.1
        lines.append(
            at.isoformat() + "," + ",".join(str(level * share) for level in levels.values())
        )
    file.write_text("\n".join(lines) + "\n")
    return file


@dataclass(frozen=True)
class Site:
    """A folder, an address, and what a command there is told."""

    folder: Path
    port: int
    environment: dict[str, str]

    @classmethod
    def lay_out(cls, folder: Path) -> Site:
        """Write policy and trace."""
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        average = write_trace(folder / "average.csv", DE=400, FR=80, SE_SE3=40)
        marginal = write_trace(folder / "marginal.csv", DE=700, FR=500)
        port = free_port()
        told = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
            "COLUMNS": "80",
            "TEMPORAL_ADDRESS": f"{LOOPBACK}:{port}",
            "LOWTIDE_STATE_DIR": str(folder / "state"),
            "LOWTIDE_POLICY": str(policy),
            "LOWTIDE_TRACE__AVERAGE": str(average),
            "LOWTIDE_TRACE__MARGINAL": str(marginal),
            "LOWTIDE_TRACE__TRACE_AT": "2022-01-01T00:00:00Z",
            "LOWTIDE_TRACE__FORECAST": "perfect",
            "LOWTIDE_TRACE__HORIZON_HOURS": "168",
            "LOWTIDE_REFRESH_EVERY": "1s",
            "LOWTIDE_SETTLE_EVERY": "1s",
        }
        return cls(folder, port, told)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def store(self) -> SqliteStore:
        return SqliteStore(self.state / "lowtide.db")

    # ── commands ─────────────────────────────────────────────────────────────────────────────

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A command that runs beside the test."""
        return subprocess.Popen(
            [LOWTIDE, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, *arguments: str, given: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command, to its end; ``given`` is its standard input."""
        return subprocess.run(
            [LOWTIDE, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            text=True,
            input=given or "",
            capture_output=True,
            timeout=90,
            check=False,
        )

    def call(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command in this process: for what a process of its own would not tell better."""
        root = logging.getLogger()
        handlers, level = root.handlers, root.level
        try:
            done = CliRunner(env=self.environment).invoke(app, list(arguments), input=given)
        finally:
            root.handlers, root.level = handlers, level
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def json(self, *arguments: str, given: str | None = None) -> Any:
        """What a command that must succeed prints with ``--json``."""
        done = self.call(*arguments, "--json", given=given)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def together(self, *commands: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
        """Several commands at once."""
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda arguments: self.run(*arguments), commands))

    # ── manifests ────────────────────────────────────────────────────────────────────────────

    def text(self, name: str, **changed: str) -> str:
        """A manifest for this site, in YAML."""
        lines = {
            "name": name,
            "image": "x",
            "command": '["sleep", "0.2"]',
            "resources": "{vcpus: 1, memory_gib: 2}",
            "deadline": f'"{LATE}"',
            "runtime": "1s",
            "p95_runtime": "2s",
            "max_runtime": "30s",
            "residency": "eu",
            "home_region": "aws:eu-central-1",
        } | changed
        return "".join(f"{key}: {value}\n" for key, value in lines.items())

    def file(self, name: str, **changed: str) -> str:
        """The same in a file, its deadline fixed, so that it is one manifest however often read."""
        file = self.folder / f"{name}.json"
        manifest = self.manifest(name, **changed)
        file.write_text(manifest.model_dump_json())
        return str(file)

    def manifest(self, name: str, **changed: str) -> JobManifest:
        """The same, read now."""
        return read_manifest(self.text(name, **changed), now=datetime.now(UTC))


def wait_for(holds: Any, within_s: float = 60.0) -> None:
    """Ask until it holds."""
    ends = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.05)


@contextmanager
def lowtide_dev(site: Site) -> Iterator[subprocess.Popen[str]]:
    """``lowtide dev`` on a site, from its first signals on; Ctrl-C at the end."""
    dev = site.start(
        *("dev", "--state", str(site.state), "--trace-hour", "4"),
        *("--port", str(site.port), "--ui-port", str(free_port())),
        LOWTIDE_LOG_LEVEL="error",
    )

    def signals_are_there() -> bool:
        assert dev.poll() is None, dev.communicate()
        if not (site.state / "lowtide.db").exists():
            return False
        with site.store() as store:
            return bool(store.forecasts())

    try:
        wait_for(signals_are_there)
        yield dev
    finally:
        dev.send_signal(signal.SIGINT)
        try:
            dev.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            dev.kill()
            dev.communicate()
