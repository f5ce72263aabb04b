"""GKE compute when the API server throttles, loses answers, is away, or refuses our token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from activities.compute.gke_cluster import StaticToken
from activities.errors import ComputeUnavailable, SpecConflict
from domain.errors import UnknownRegion
from domain.job import RunState
from tests.activities.compute.gke_site import BRISK, REGIONS, TOKEN, GkeSite, gke_site
from tests.contracts.compute_site import Program
from tests.servers.kubernetes_jobs import true_condition


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[GkeSite]:
    async with gke_site(tmp_path) as site:
        yield site


# ── once, whatever is lost ───────────────────────────────────────────────────────────────────


async def test_a_creation_whose_answer_is_lost_is_found_again_at_once(site: GkeSite) -> None:
    """Within one call: the second try meets the Job that the first one made, and adopts it."""
    spec = site.spec("lost", Program.SUCCEED)
    site.cluster().faults.lost_answers = 1
    await site.backend.submit(spec)
    assert (site.cluster().calls["create", "jobs"], site.cluster().faults.lost_answers) == (2, 0)
    await site.until(spec, RunState.SUCCEEDED)
    assert site.starts(spec) == 1


async def test_a_job_under_the_name_is_adopted_only_if_it_is_the_same(site: GkeSite) -> None:
    """The API server refuses the second creation; the hash of what was asked for decides."""
    spec = site.spec("taken")
    await site.started(spec)
    await site.restarted().submit(spec)
    with pytest.raises(SpecConflict):
        await site.restarted().submit(spec.model_copy(update={"memory_gib": 4.0}))


async def test_a_stop_whose_answer_is_lost_is_one_stop(site: GkeSite) -> None:
    """The second try meets a Job that has changed, reads it again, and finds its own mark."""
    spec = site.spec("stopped")
    await site.started(spec)
    site.cluster().faults.lost_answers = 1
    await site.terminated(spec, "cancelled by ada")
    report = await site.until(spec, RunState.TERMINATED)
    assert "cancelled by ada" in report.detail


async def test_a_tombstone_whose_answer_is_lost_is_one_tombstone(site: GkeSite) -> None:
    """And whatever is submitted under it later never starts."""
    spec = site.spec("never")
    site.cluster().faults.lost_answers = 1
    await site.terminated(spec, "its region lost it")
    await site.backend.submit(spec)
    report = await site.report(spec)
    assert (report.state, report.detail) == (RunState.TERMINATED, "its region lost it")
    await site.at_rest()
    assert site.cluster().store.all("pods") == []


async def test_a_tombstone_is_told_the_same_and_is_cleared_away_like_any_job(
    site: GkeSite,
) -> None:
    """It fails by its own deadline, which changes nothing of what is told, and has a TTL."""
    spec = site.spec("never")
    await site.terminated(spec)
    before = await site.report(spec)
    async with asyncio.timeout(10):
        while not true_condition(site.job(spec), "Failed"):
            await asyncio.sleep(0.02)
    assert before == await site.report(spec)
    assert site.job(spec)["spec"]["ttlSecondsAfterFinished"] > 0


async def test_a_stop_that_comes_while_the_job_changes_holds(site: GkeSite) -> None:
    """Its mark is for the Job as it was read; where that has moved on, it is read again."""
    spec = site.spec("restless")
    await site.started(spec)
    key, jobs = ("jobs", "lowtide", spec.run), site.backend._of(spec.region)
    read = jobs.api.pods

    async def meanwhile(runs: list[str]) -> object:
        if site.cluster().calls["patch", "jobs"] < 2:
            count = str(site.cluster().calls["patch", "jobs"])
            site.cluster().store.change(key, lambda job: job["metadata"]["labels"].update(n=count))
        return await read(runs)

    jobs.api.pods = meanwhile
    await jobs.terminate(spec.run, "cancelled by ada")
    assert site.cluster().calls["patch", "jobs"] == 3
    await site.until(spec, RunState.TERMINATED)


async def test_a_success_that_the_stop_came_too_late_for_stays_one(site: GkeSite) -> None:
    """The Job was over when it was read, or had changed when the mark came: no mark."""
    spec = site.spec("won")
    await site.started(spec)
    jobs = site.backend._of(spec.region)
    read = jobs.api.pods

    async def after_the_end(runs: list[str]) -> object:
        jobs.api.pods = read
        await site.let_go(spec)
        await site.until(spec, RunState.SUCCEEDED)
        return await read(runs)

    jobs.api.pods = after_the_end
    await jobs.terminate(spec.run, "too late")
    assert RunState.SUCCEEDED is (await site.report(spec)).state
    assert "lowtide.dev/stop" not in site.job(spec)["metadata"]["annotations"]


# ── throttled ────────────────────────────────────────────────────────────────────────────────


async def test_a_throttled_fleet_loses_nothing(site: GkeSite) -> None:
    """Every third request is refused with 429 for a while: each run starts once and is told."""
    faults = site.cluster().faults
    faults.throttled, faults.retry_after_s = 0.33, 0
    specs = [site.spec(f"fleet-{n}", Program.SUCCEED) for n in range(12)]
    await asyncio.gather(*(site.backend.submit(spec) for spec in specs))
    for spec in specs:
        await site.until(spec, RunState.SUCCEEDED)
    assert site.cluster().throttled > 0
    assert {1} == {site.starts(spec) for spec in specs}


async def test_retry_after_is_honoured(site: GkeSite) -> None:
    """A server that asks for a second is not asked again before, however short our own pause."""
    loop = asyncio.get_running_loop()
    faults = site.cluster().faults
    faults.throttled, faults.retry_after_s = 0.5, 1
    faults.random.random = iter((0.0, 0.9, 0.9)).__next__
    asked_at = loop.time()
    await site.report(site.spec("patient"))
    assert loop.time() - asked_at >= 1.0
    assert site.cluster().calls["get", "jobs"] == 2


async def test_a_server_that_throttles_for_ever_is_given_up(site: GkeSite) -> None:
    """The caller learns that the cluster did not serve, within its patience."""
    faults = site.cluster().faults
    faults.throttled, faults.retry_after_s = 1.0, 3600
    with pytest.raises(ComputeUnavailable, match=REGIONS[0]):
        await site.restarted(replace(BRISK, patience_s=0.3)).submit(site.spec("hopeless"))


async def test_calls_are_limited_on_our_side(site: GkeSite) -> None:
    """However many steps run at once, a cluster is asked at the rate and no faster."""
    backend = site.restarted(replace(BRISK, calls_per_s=10.0))
    for _ in range(10):  # the burst
        await backend.describe(REGIONS[0], "never")
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    await asyncio.gather(*(backend.describe(REGIONS[0], "never") for _ in range(5)))
    assert loop.time() - begun_at >= 0.9


# ── away ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_api_server_that_is_away_is_told_and_what_runs_runs_on(site: GkeSite) -> None:
    """Every method says so; when it is back, the run is where it was."""
    spec = site.spec("during")
    await site.started(spec)
    site.cluster().go_down()
    hasty = site.restarted(replace(BRISK, patience_s=0.2))
    with pytest.raises(ComputeUnavailable):
        await hasty.submit(spec)
    with pytest.raises(ComputeUnavailable):
        await hasty.describe(spec.region, spec.run)
    with pytest.raises(ComputeUnavailable):
        await hasty.terminate(spec.region, spec.run, "cancelled")
    assert site.lives(spec)
    site.cluster().go_down(False)
    await site.until(spec, RunState.RUNNING)
    assert site.starts(spec) == 1


async def test_a_short_outage_is_waited_for(site: GkeSite) -> None:
    """Within a call's patience nobody learns of it."""
    spec = site.spec("blip", Program.SUCCEED)
    site.cluster().go_down()
    submission = asyncio.create_task(site.backend.submit(spec))
    while site.cluster().calls["create", "jobs"] < 2:
        await asyncio.sleep(0)
    site.cluster().go_down(False)
    await submission
    await site.until(spec, RunState.SUCCEEDED)


async def test_one_region_that_is_away_does_not_hold_up_another(site: GkeSite) -> None:
    """Each cluster has limits and connections of its own."""
    site.cluster(REGIONS[0]).go_down()
    spec = site.spec("elsewhere", Program.SUCCEED, region=REGIONS[1])
    await site.backend.submit(spec)
    await site.until(spec, RunState.SUCCEEDED)


async def test_a_region_without_a_cluster_is_said_to_be(site: GkeSite) -> None:
    """By name."""
    with pytest.raises(UnknownRegion, match="gcp:us-central1"):
        await site.backend.describe("gcp:us-central1", "run")


# ── tokens ───────────────────────────────────────────────────────────────────────────────────


class Rotating:
    """Gives a stale token until that was refused."""

    def __init__(self) -> None:
        self.refused: list[str | None] = []

    async def token(self, refused: str | None = None) -> str:
        self.refused.append(refused)
        return TOKEN if refused == "stale" else "stale"


async def test_a_refused_token_is_replaced(site: GkeSite) -> None:
    """401 asks for another one, and the call comes through."""
    tokens = Rotating()
    backend = site.with_tokens(tokens)
    try:
        assert RunState.UNKNOWN is (await backend.describe(REGIONS[0], "run")).state
    finally:
        await backend.aclose()
    assert tokens.refused[:2] == [None, "stale"]


async def test_a_token_that_is_never_taken_is_told_and_not_shown(site: GkeSite) -> None:
    """The error names the cluster and the answer, and not the token."""
    backend = site.with_tokens(StaticToken("nobody-s-token"), replace(BRISK, patience_s=0.2))
    try:
        with pytest.raises(ComputeUnavailable) as told:
            await backend.submit(site.spec("stranger"))
    finally:
        await backend.aclose()
    assert "nobody-s-token" not in str(told.value)
    assert site.cluster().store.all("jobs") == []
