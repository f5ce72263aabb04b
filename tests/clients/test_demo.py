"""``lowtide demo`` whole, and what takes as long: slow proofs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from clients.cli.demo import JOBS, read_jobs
from domain.errors import InvalidManifest
from domain.manifest import Flexibility
from tests.clients.site import Site
from tests.clients.test_report import NOW, Page
from workers.devserver import dev_server
from workers.registration import register_search_attributes


@pytest.fixture
def bare(tmp_path: Path) -> Site:
    """A machine without any settings of ours."""
    environment = {
        name: value
        for name, value in Site.lay_out(tmp_path).environment.items()
        if not name.startswith(("LOWTIDE_", "TEMPORAL_"))
    }
    return Site(tmp_path, 0, environment)


def test_the_demos_jobs_are_as_varied_as_it_says() -> None:
    """Three residency classes, urgent and flexible ones, one without time to wait, one tenant."""
    jobs = read_jobs(JOBS.read_text(), NOW)
    assert len(jobs) == 20
    assert {job.residency for job in jobs} == {"eu", "europe", "germany"}
    assert sum(job.flexibility is Flexibility.URGENT for job in jobs) == 2
    assert sum(job.name.startswith("reclaimed-") for job in jobs) == 3
    assert {job.tenant for job in jobs} == {"demo"}
    assert len({job.name for job in jobs}) == 20


def test_a_faulty_job_of_many_is_told() -> None:
    """With the field that is wrong."""
    with pytest.raises(InvalidManifest, match="image"):
        read_jobs("name: x\ndeadline: +8h\n", NOW)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demo_ends_well_and_accounts_for_every_job(bare: Site) -> None:
    """All deadlines met, reclaims survived, all settled; JSON alone on standard output."""
    done = bare.run("demo", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    summary = told["summary"]
    assert (summary["jobs"], summary["met"], summary["missed"], summary["unfinished"]) == (
        *(20, 20),
        *(0, 0),
    )
    assert summary["reclaims"] >= 1
    assert summary["settled"] == 20
    assert summary["average_g"]["saved"] > 0
    assert len(told["jobs"]) == 20
    [address] = done.stderr.splitlines()
    assert address.startswith("Temporal UI: http://127.0.0.1:")
    page = Page((bare.folder / ".lowtide/demo/report.html").read_text())
    assert all(target.startswith("#") for target in page.fetched)
    assert page.tags.count("tr") == 22


@pytest.mark.slow
async def test_the_command_says_that_no_worker_runs(idle: Site, tmp_path: Path) -> None:
    """Exit code 3 after its patience: the job is with Temporal and goes on by itself."""
    async with dev_server(tmp_path, idle.port) as server:
        await register_search_attributes(server.client)
        done = await asyncio.to_thread(idle.run, "submit", "-", given=idle.text("nobody"))
        assert (done.returncode, done.stdout) == (3, "")
        [line] = done.stderr.splitlines()
        assert line.startswith("error: job-default-nobody is with Temporal, but no worker answered")
        assert "`lowtide worker`" in line
        assert await server.client.count_workflows('WorkflowId="job-default-nobody"')
