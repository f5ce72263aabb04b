"""``lowtide dev --compute fake-cloud``: a job on the fake of AWS Batch, reclaimed on the way."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.clients.site import Site, wait_for
from workers.devserver import free_port


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[tuple[Site, str]]:
    """A running product on fakes, and where AWS Batch's is told what to do."""
    site = Site.lay_out(tmp_path)
    dev = site.start(
        *("dev", "--state", str(site.state), "--compute", "fake-cloud", "--trace-hour", "4"),
        *("--port", str(site.port), "--ui-port", str(free_port())),
        LOWTIDE_LOG_LEVEL="error",
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(dev.stdout), daemon=True)
    reader.start()
    try:
        wait_for(lambda: dev.poll() is not None or any("Ctrl-C" in line for line in lines))
        assert dev.poll() is None, dev.stderr.read()
        own = psutil.Process(dev.pid).children(recursive=True)
        told = re.search(r"^clouds +(\S+) \(AWS Batch\)", "".join(lines), re.MULTILINE)
        assert told, lines
        yield site, told[1]
        dev.send_signal(signal.SIGINT)
        assert dev.wait(timeout=60) == 0, dev.stderr.read()
        gone, alive = psutil.wait_procs(own, timeout=10)
        assert not alive, "what it started has ended with it"
        assert len(gone) >= 3, "two fakes and a Temporal server"
    finally:
        if dev.poll() is None:
            dev.kill()
        reader.join(timeout=10)
        for stream in (dev.stdout, dev.stderr):
            stream.close()


@pytest.mark.slow
def test_a_reclaimed_job_runs_again(cloud: tuple[Site, str]) -> None:
    """Its machine is taken by an order to the fake; the ledger shows both attempts, and holds."""
    site, control = cloud
    manifest = site.file("taken", command='["sleep", "5"]', flexibility="urgent")
    done = site.run("submit", manifest)
    assert done.returncode == 0, done.stderr

    def run_of(attempt: int) -> bool:
        return f"attempt {attempt} to aws:" in site.run("ledger", "show", "taken").stdout

    wait_for(lambda: run_of(1))
    events = json.loads(site.run("ledger", "show", "taken", "--json").stdout)
    [dispatch] = [item for item in events if item["kind"] == "dispatch"]
    assert dispatch["data"]["backend"] == "aws-batch"
    region, run = dispatch["data"]["cell"]["region"][4:], dispatch["data"]["run"]

    def taken() -> bool:
        httpx.patch(control, json={"regions": {region: {"reclaim": [run]}}}).raise_for_status()
        return run_of(2)

    wait_for(taken)
    assert site.run("submit", manifest, "--wait").returncode == 0
    told = site.run("ledger", "show", "taken").stdout
    assert "attempt 1 reclaimed" in told
    assert "attempt 2 succeeded" in told
    assert site.run("ledger", "verify").returncode == 0


def test_it_needs_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package has no test servers: one line says so, and nothing is started."""
    monkeypatch.setattr("clients.cli.fakes.CHECKOUT", tmp_path)
    site = Site.lay_out(tmp_path)
    done: subprocess.CompletedProcess[str] = site.call(
        "dev", "--compute", "fake-cloud", "--state", str(site.state)
    )
    assert done.returncode == 2
    assert "fakes need a checkout of the project" in done.stderr
