"""Bulk watching of a cluster: nothing is lost to 410, disconnects or outages, and calls are few."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes.aio import client

from activities.compute.gke_api import Kind
from activities.compute.gke_manifest import JOB, job_of
from activities.compute.gke_watch import TOLD_AT_ONCE
from activities.compute.gke_wire import WatchEvent
from domain.job import Blocked, RunReport, RunSpec, RunState
from domain.ports import ChangeBatch
from tests.activities.compute.gke_site import BRISK, REGIONS, GkeSite, cluster_of, gke_site
from tests.contracts.compute_site import WITHIN_S, Program, tells, told
from tests.servers.kubernetes_store import copied


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[GkeSite]:
    async with gke_site(tmp_path) as site:
        site.cluster().bookmark_every_s = 0.1
        yield site


@pytest.fixture
async def idle_site(tmp_path: Path) -> AsyncIterator[GkeSite]:
    """Without processes: pods run until they are told to end."""
    async with gke_site(tmp_path, with_processes=False) as site:
        yield site


async def fill(site: GkeSite, count: int) -> list[RunSpec]:
    """Put running runs there, past the API; all are made of one valid Job."""
    specs, cluster = [site.spec(f"n-{n}") for n in range(count)], site.cluster()
    job = client.ApiClient().sanitize_for_serialization(job_of(cluster_of(REGIONS[0]), specs[0]))
    cluster.create(("jobs", "lowtide", specs[0].run), job)
    for spec in specs[1:]:
        another = copied(job)
        another["metadata"] |= {"name": spec.run, "annotations": {JOB: spec.workflow_id}}
        cluster.store.create("jobs", another | {"status": {}})
    async with asyncio.timeout(60):
        while len(cluster.kubelet.lives) < count or not cluster.is_at_rest:
            await asyncio.sleep(0.05)
    return specs


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.01)


async def collected(watch: AsyncIterator[ChangeBatch], into: list[RunReport]) -> None:
    async for batch in watch:
        into += batch.reports


async def until_first(watch: AsyncIterator[ChangeBatch]) -> None:
    """Wait for a watch's first list."""
    async with asyncio.timeout(WITHIN_S):
        async for batch in watch:
            if batch.cursor:
                return


def watches(site: GkeSite) -> int:
    calls = site.cluster().calls
    return min(calls["watch", "jobs"], calls["watch", "pods"])


# ── too old ──────────────────────────────────────────────────────────────────────────────────


async def test_an_old_cursor_that_was_compacted_away_still_tells_every_end(site: GkeSite) -> None:
    """410: it lists, and tells what runs and what ended, read by others meanwhile or not."""
    on, over, read = (site.spec(name) for name in ("on", "over", "read"))
    for spec in (on, over, read):
        await site.started(spec)
    async with aclosing(site.backend.watch(on.region, None)) as watch:
        _, cursor = await told(
            watch,
            lambda all_: all(tells(spec, RunState.RUNNING)(all_) for spec in (on, over, read)),
        )
    await site.let_go(over)
    await site.let_go(read)
    await site.until(read, RunState.SUCCEEDED)
    await until(lambda: site.job(over)["status"].get("succeeded") == 1)
    site.cluster().store.compact()
    async with aclosing(site.restarted().watch(on.region, cursor)) as watch:
        reports, _ = await told(
            watch,
            lambda all_: (
                tells(on, RunState.RUNNING)(all_)
                and tells(over, RunState.SUCCEEDED)(all_)
                and tells(read, RunState.SUCCEEDED)(all_)
            ),
        )
    assert site.cluster().calls["list", "jobs"] == 2
    assert {on.run, over.run, read.run} == {report.run for report in reports}


async def test_an_end_told_long_ago_is_not_told_after_a_list(site: GkeSite) -> None:
    """By the cluster's own clock: what ended well before the newest end told."""
    old, new = site.spec("old", Program.SUCCEED), site.spec("new", Program.SUCCEED)
    for spec in (old, new):
        await site.backend.submit(spec)
        await site.until(spec, RunState.SUCCEEDED)
    _age(site, old, "2026-01-01T00:00:00Z")
    async with aclosing(site.backend.watch(old.region, None)) as watch:
        cursor = await anext(batch.cursor async for batch in watch if batch.cursor)
    _age(site, old, "2026-01-01T00:00:01Z")
    site.cluster().store.compact()
    async with aclosing(site.restarted().watch(old.region, cursor)) as watch:
        reports, _ = await told(watch, tells(new, RunState.SUCCEEDED))
    assert {new.run} == {report.run for report in reports}


def _age(site: GkeSite, spec: RunSpec, ended_at: str) -> None:
    def change(job: dict[str, dict[str, list[dict[str, str]]]]) -> None:
        for condition in job["status"]["conditions"]:
            condition["lastTransitionTime"] = ended_at

    site.cluster().store.change(("jobs", "lowtide", spec.run), change)


async def test_a_watch_that_is_too_old_in_the_middle_lists_again(site: GkeSite) -> None:
    """Versions are forgotten while its connection is broken: it tells what it missed."""
    spec = site.spec("missed")
    await site.started(spec)
    slow = site.restarted(replace(BRISK, reconnect_s=0.5))
    cluster = site.cluster()
    async with aclosing(slow.watch(spec.region, None)) as watch:
        await told(watch, tells(spec, RunState.RUNNING))
        await until(lambda: watches(site) >= 1)
        cluster.drop_watches()
        await site.let_go(spec)
        await site.until(spec, RunState.SUCCEEDED)
        cluster.store.compact()
        reports, _ = await told(watch, tells(spec, RunState.SUCCEEDED))
    assert cluster.calls["list", "jobs"] == 2
    assert [report.state for report in reports] == [RunState.SUCCEEDED]


async def test_bookmarks_move_the_cursor(site: GkeSite) -> None:
    """Much else happens in the cluster and is forgotten; a watcher that kept up need not list."""
    spec = site.spec("quiet")
    await site.started(spec)
    store = site.cluster().store
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        _, cursor = await told(watch, tells(spec, RunState.RUNNING))
        for n in range(50):
            store._record("MODIFIED", "others", {"metadata": {"n": str(n), "namespace": "x"}})
        version = f'"{store.version}"'
        async with asyncio.timeout(WITHIN_S):
            async for batch in watch:
                cursor = batch.cursor
                if version in cursor:
                    break
    store.compact()
    async with aclosing(site.restarted().watch(spec.region, cursor)) as watch:
        await site.let_go(spec)
        await told(watch, tells(spec, RunState.SUCCEEDED))
    assert site.cluster().calls["list", "jobs"] == 1


# ── broken off ───────────────────────────────────────────────────────────────────────────────


async def test_dropped_watches_lose_no_end(site: GkeSite) -> None:
    """Connections break off again and again while runs come and go."""
    specs = [site.spec(f"drop-{n}", Program.SUCCEED) for n in range(10)]
    heard: list[RunReport] = []
    async with aclosing(site.backend.watch(site.regions[0], None)) as watch:
        listening = asyncio.create_task(collected(watch, heard))
        await until(lambda: watches(site) >= 1)
        for spec in specs:
            await site.backend.submit(spec)
            site.cluster().drop_watches()
            await asyncio.sleep(0.02)
        await until(lambda: all(tells(spec, RunState.SUCCEEDED)(heard) for spec in specs))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    ends = Counter(report.run for report in heard if report.state.is_final)
    assert {spec.run: 1 for spec in specs} == ends


async def test_an_outage_is_lived_through_with_signs_of_life(site: GkeSite) -> None:
    """Away for longer than a call's patience: empty batches meanwhile, every end afterwards."""
    spec = site.spec("outage")
    await site.started(spec)
    hasty = site.restarted(replace(BRISK, patience_s=0.2))
    async with aclosing(hasty.watch(spec.region, None)) as watch:
        await told(watch, tells(spec, RunState.RUNNING))
        await until(lambda: watches(site) >= 1)
        site.cluster().go_down()
        await site.let_go(spec)
        empty = 0
        async with asyncio.timeout(WITHIN_S):
            async for batch in watch:
                empty += not batch.reports
                if empty >= 8:
                    break
        site.cluster().go_down(False)
        await told(watch, tells(spec, RunState.SUCCEEDED))


async def test_a_throttled_watch_loses_no_end(site: GkeSite) -> None:
    """429 to every second request, the watches' own too."""
    specs = [site.spec(f"slow-{n}", Program.SUCCEED) for n in range(6)]
    faults = site.cluster().faults
    faults.throttled, faults.retry_after_s = 0.5, 0
    async with aclosing(site.backend.watch(site.regions[0], None)) as watch:
        await asyncio.gather(*(site.backend.submit(spec) for spec in specs))
        await told(watch, lambda all_: all(tells(spec, RunState.SUCCEEDED)(all_) for spec in specs))
    assert site.cluster().throttled > 0


async def test_the_server_ends_a_watch_and_the_next_goes_on(site: GkeSite) -> None:
    """As after ``timeoutSeconds``: from where it was, without a list."""
    spec = site.spec("long")
    await site.started(spec)
    brief = site.restarted(replace(BRISK, watch_s=1))
    async with aclosing(brief.watch(spec.region, None)) as watch:
        await told(watch, tells(spec, RunState.RUNNING))
        async with asyncio.timeout(WITHIN_S):
            async for _ in watch:
                if watches(site) >= 2:
                    break
        await site.let_go(spec)
        await told(watch, tells(spec, RunState.SUCCEEDED))
    assert site.cluster().calls["list", "jobs"] == 1


# ── at scale ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [10, pytest.param(5000, marks=pytest.mark.slow)])
async def test_calls_do_not_grow_with_running_jobs(idle_site: GkeSite, count: int) -> None:
    """A list at the start, by pages; then two streams, and a handful of calls for each change."""
    site, calls = idle_site, idle_site.cluster().calls
    specs = await fill(site, count)
    calls.clear()
    async with aclosing(site.backend.watch(site.regions[0], None)) as watch:
        reports, _ = await told(watch, lambda all_: len(all_) >= count)
        assert {spec.run for spec in specs} == {report.run for report in reports}
        assert all(report.started_at for report in reports)
        await until(lambda: watches(site) == 1)
        pages = -(-count // BRISK.page)
        assert {
            ("list", "pods"): pages,
            ("list", "jobs"): pages,
            ("watch", "pods"): 1,
            ("watch", "jobs"): 1,
        } == dict(calls)
        calls.clear()
        empty = 0
        async with asyncio.timeout(WITHIN_S):
            async for batch in watch:
                empty += not batch.reports
                if empty >= 5:
                    break
        assert not calls
        for spec in specs[:10]:
            site.cluster().kubelet.finish(site.pod(spec), 0)
        await told(
            watch, lambda all_: all(tells(spec, RunState.SUCCEEDED)(all_) for spec in specs[:10])
        )
    assert calls["patch", "jobs"] == 10
    assert sum(calls.values()) <= 20


async def test_many_runs_are_told_in_parts_and_the_cursor_waits_for_the_last(
    idle_site: GkeSite,
) -> None:
    """A watcher that dies between two parts is followed by one that tells all of it."""
    site, count = idle_site, 2 * TOLD_AT_ONCE + 1
    await fill(site, count)
    sizes, first_cursor = [], ""
    async with asyncio.timeout(WITHIN_S), aclosing(site.backend.watch(site.regions[0], None)) as w:
        async for batch in w:
            if batch.reports:
                first_cursor = first_cursor or batch.cursor
                sizes.append(len(batch.reports))
            if sum(sizes) == count:
                break
    assert sizes == [TOLD_AT_ONCE, TOLD_AT_ONCE, 1]
    async with aclosing(site.restarted().watch(site.regions[0], first_cursor)) as watch:
        await told(watch, lambda all_: len({report.run for report in all_}) == count)


async def test_many_ends_at_once_are_read_together(idle_site: GkeSite) -> None:
    """A wave of reclaims, their pods collected at once: read in fifties, each recorded once."""
    site = idle_site
    specs = await fill(site, 120)
    calls = site.cluster().calls
    async with aclosing(site.backend.watch(site.regions[0], None)) as watch:
        await told(watch, lambda all_: len(all_) >= len(specs))
        await until(lambda: watches(site) == 1)
        calls.clear()
        for spec in specs:
            site.cluster().kubelet.lose_node(site.pod(spec), with_status=False)
        reports, _ = await told(
            watch, lambda all_: all(tells(spec, RunState.RECLAIMED)(all_) for spec in specs)
        )
    assert all(report.started_at for report in reports)
    assert calls["patch", "jobs"] == len(specs)
    assert calls["list", "pods"] < len(specs) / 4


async def test_a_pods_stream_that_is_behind_costs_no_fact(
    site: GkeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Jobs tell of what it has not brought yet, the pods concerned are read."""
    api = site.backend._of(site.regions[0]).api
    follow = api.follow

    async def jobs_only(kind: Kind, version: str) -> AsyncIterator[WatchEvent]:
        if kind is Kind.PODS:
            await asyncio.Event().wait()
        async with aclosing(follow(kind, version)) as events:
            async for event in events:
                yield event

    monkeypatch.setattr(api, "follow", jobs_only)
    spec = site.spec("ahead")
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        await until_first(watch)
        await site.started(spec)
        running, _ = await told(watch, tells(spec, RunState.RUNNING))
        site.cluster().kubelet.run_out_of_memory(site.pod(spec))
        over, _ = await told(watch, tells(spec, RunState.FAILED))
    assert running[-1].started_at is not None
    assert (running[-1].started_at, 137) == (over[-1].started_at, over[-1].exit_code)
    assert "OOMKilled" in over[-1].detail


async def test_tombstones_are_told_to_nobody(site: GkeSite) -> None:
    """They belong to no job that could hear of it."""
    spec = site.spec("seen")
    await site.terminated(site.spec("never"))
    await site.started(spec)
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        reports, _ = await told(watch, tells(spec, RunState.RUNNING))
    assert {spec.run} == {report.run for report in reports}


async def test_a_time_to_live_that_is_over_is_no_news(site: GkeSite) -> None:
    """The Job is cleared away; a watcher forgets it, and a cursor from before tells nothing."""
    spec, on = site.spec("old", Program.SUCCEED), site.spec("on")
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        await site.backend.submit(spec)
        await told(watch, tells(spec, RunState.SUCCEEDED))
        site.cluster().controller.expire(("jobs", "lowtide", spec.run))
        await site.started(on)
        reports, _ = await told(watch, tells(on, RunState.RUNNING))
    assert {on.run} == {report.run for report in reports}
    assert RunState.UNKNOWN is (await site.report(spec)).state


async def test_why_a_run_does_not_start_is_told(site: GkeSite) -> None:
    """Only its pod changes; the watcher tells it without asking again, and that it began."""
    site.close_queue()
    spec = site.spec("waits", Program.SUCCEED)
    async with aclosing(site.backend.watch(spec.region, None)) as watch:
        await site.backend.submit(spec)
        reports, _ = await told(watch, lambda all_: any(item.blocked for item in all_))
        assert reports[-1].blocked is Blocked.CAPACITY
        assert reports[-1].workflow_id == spec.workflow_id
        assert "Unschedulable" in reports[-1].detail
        site.cluster().kubelet.make_room()
        reports, _ = await told(watch, tells(spec, RunState.SUCCEEDED))
        assert reports[-1].blocked is None
