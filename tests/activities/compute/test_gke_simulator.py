"""The simulated cluster is as the published API says, by the official synchronous client."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, watch

from tests.activities.compute.gke_site import TOKEN, GkeSite, gke_site
from tests.servers.kubernetes_pods import expanded
from tests.servers.kubernetes_store import Failure, Store, selects
from tests.servers.kubernetes_types import JSON_PATCH, MERGE, patched

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[GkeSite]:
    async with gke_site(tmp_path) as site:
        yield site


@pytest.fixture
def official(site: GkeSite) -> Iterator[client.ApiClient]:
    name = next(iter(site.server.clusters))
    configuration = client.Configuration(host=site.server.url_of(name))
    configuration.api_key = {"authorization": f"Bearer {TOKEN}"}
    configuration.retries = False
    with client.ApiClient(configuration) as api:
        yield api


async def asked(call: Callable[..., Any], *arguments: object, **named: object) -> Any:
    return await asyncio.to_thread(call, *arguments, **named)


def job(name: str, script: str = "exit 0", **spec: object) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "command": ["sh", "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"backoffLimit": 0, "template": template} | spec,
    }


async def until_over(jobs: client.BatchV1Api, name: str) -> client.V1JobStatus:
    async with asyncio.timeout(20):
        while True:
            status = (await asked(jobs.read_namespaced_job, name, "lab")).status
            if {item.type for item in status.conditions or ()} & {"Complete", "Failed"}:
                return status
            await asyncio.sleep(0.05)


async def test_a_job_runs_and_is_counted(official: client.ApiClient) -> None:
    """Created, run, Complete after SuccessCriteriaMet, one pod that it owns; deleted with it."""
    jobs, core = client.BatchV1Api(official), client.CoreV1Api(official)
    made = await asked(jobs.create_namespaced_job, "lab", job("one"))
    status = await until_over(jobs, "one")
    assert [item.type for item in status.conditions] == ["SuccessCriteriaMet", "Complete"]
    assert (status.succeeded, status.failed, status.active) == (1, None, None)
    selector = f"batch.kubernetes.io/controller-uid={made.metadata.uid}"
    [pod] = (await asked(core.list_namespaced_pod, "lab", label_selector=selector)).items
    assert (made.metadata.uid, "Succeeded") == (
        pod.metadata.owner_references[0].uid,
        pod.status.phase,
    )
    assert pod.status.container_statuses[0].state.terminated.exit_code == 0
    await asked(jobs.delete_namespaced_job, "one", "lab", propagation_policy="Background")
    assert (await asked(core.list_namespaced_pod, "lab")).items == []


async def test_a_failure_follows_limit_and_policy(official: client.ApiClient) -> None:
    """Counted against the backoff limit; ignored where a rule says so."""
    jobs, core = client.BatchV1Api(official), client.CoreV1Api(official)
    await asked(jobs.create_namespaced_job, "lab", job("twice", "exit 3", backoffLimit=1))
    status = await until_over(jobs, "twice")
    assert (status.conditions[-1].reason, status.failed) == ("BackoffLimitExceeded", 2)
    codes = {"operator": "In", "values": [3]}
    rules = [{"action": "FailJob", "onExitCodes": codes}]
    await asked(
        jobs.create_namespaced_job,
        "lab",
        job("ruled", "exit 3", backoffLimit=5, podFailurePolicy={"rules": rules}),
    )
    status = await until_over(jobs, "ruled")
    assert (status.conditions[-1].reason, status.failed) == ("PodFailurePolicy", 1)
    assert "exit code 3 matching FailJob rule at index 0" in status.conditions[-1].message
    assert len((await asked(core.list_namespaced_pod, "lab")).items) == 3


async def test_a_deadline_ends_a_job_and_its_pod(official: client.ApiClient) -> None:
    """Marked first, told to be failed only when the pod is gone."""
    jobs, core = client.BatchV1Api(official), client.CoreV1Api(official)
    body = job("late", "sleep 600", activeDeadlineSeconds=1)
    await asked(jobs.create_namespaced_job, "lab", body)
    status = await until_over(jobs, "late")
    assert [(item.type, item.reason) for item in status.conditions] == [
        ("FailureTarget", "DeadlineExceeded"),
        ("Failed", "DeadlineExceeded"),
    ]
    assert (await asked(core.list_namespaced_pod, "lab")).items == []


async def test_a_time_to_live_clears_a_job_away(official: client.ApiClient) -> None:
    """With its pods."""
    jobs, core = client.BatchV1Api(official), client.CoreV1Api(official)
    await asked(jobs.create_namespaced_job, "lab", job("brief", ttlSecondsAfterFinished=0))
    async with asyncio.timeout(20):
        while (await asked(jobs.list_namespaced_job, "lab")).items:
            await asyncio.sleep(0.05)
    assert (await asked(core.list_namespaced_pod, "lab")).items == []


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        (lambda body: body, 409, "AlreadyExists"),
        (lambda body: body["spec"].update(backofLimit=1), 422, "Invalid"),
        (lambda body: body["spec"].update(backoff_limit=1), 422, "Invalid"),
        (lambda body: body["spec"].update(backoffLimit="1"), 422, "Invalid"),
        (lambda body: body["spec"].pop("template"), 422, "Invalid"),
        (lambda body: body["metadata"].update(name="Upper"), 422, "Invalid"),
        (lambda body: body["metadata"].update(labels={"a": "x" * 64}), 422, "Invalid"),
        (lambda body: body["spec"]["template"]["spec"].pop("restartPolicy"), 422, "Invalid"),
    ],
)
async def test_what_is_wrong_is_refused(
    site: GkeSite, change: Callable[[dict[str, Any]], None], status: int, reason: str
) -> None:
    """Past the client's own checks, as a Status."""
    url = f"{next(map(site.server.url_of, site.server.clusters))}/apis/batch/v1/namespaces/lab/jobs"

    def post(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310 - of ours
        request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    body = job("right")
    assert (await asked(post, body))[0] == 201
    if status != 409:
        body["metadata"]["name"] = "wrong"
    change(body)
    code, told = await asked(post, body)
    assert (code, told["kind"], told["reason"]) == (status, "Status", reason)


async def test_lists_are_paged_and_selected(official: client.ApiClient) -> None:
    """Pages of one version; selectors by label and field."""
    jobs = client.BatchV1Api(official)
    for n in range(5):
        await asked(jobs.create_namespaced_job, "lab", job(f"n{n}", suspend=True))
    first = await asked(jobs.list_namespaced_job, "lab", limit=2)
    await asked(jobs.delete_namespaced_job, "n4", "lab")
    rest = await asked(jobs.list_namespaced_job, "lab", _continue=first.metadata._continue)
    assert [item.metadata.name for item in first.items + rest.items] == [f"n{n}" for n in range(5)]
    assert first.metadata.resource_version == rest.metadata.resource_version
    some = await asked(jobs.list_namespaced_job, "lab", label_selector="app in (n1, n3)")
    assert [item.metadata.name for item in some.items] == ["n1", "n3"]
    one = await asked(jobs.list_namespaced_job, "lab", field_selector="metadata.name=n2")
    assert [item.metadata.name for item in one.items] == ["n2"]


async def test_a_watch_by_the_official_client(site: GkeSite, official: client.ApiClient) -> None:
    """From a version on; 410 where that is forgotten."""
    jobs = client.BatchV1Api(official)
    version = (await asked(jobs.list_namespaced_job, "lab")).metadata.resource_version
    await asked(jobs.create_namespaced_job, "lab", job("seen"))

    def heard() -> list[tuple[str, str]]:
        stream = watch.Watch().stream(
            jobs.list_namespaced_job, "lab", resource_version=version, timeout_seconds=1
        )
        return [(item["type"], item["object"].metadata.name) for item in stream]

    events = await asked(heard)
    assert events[0] == ("ADDED", "seen")
    assert {kind for kind, _ in events[1:]} == {"MODIFIED"}
    site.cluster().store.compact()
    with pytest.raises(client.ApiException) as gone:
        await asked(heard)
    assert gone.value.status == 410


async def test_a_stale_change_and_a_fixed_field_are_refused(official: client.ApiClient) -> None:
    """409 for the version that was read and is no more; 422 for a Job's template."""
    jobs = client.BatchV1Api(official)
    made = await asked(jobs.create_namespaced_job, "lab", job("fixed", suspend=True))
    stale = {"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"n": "1"}}}
    async with asyncio.timeout(20):
        while True:
            held = await asked(jobs.read_namespaced_job, "fixed", "lab")
            if held.metadata.resource_version != made.metadata.resource_version:
                break
            await asyncio.sleep(0.05)
    with pytest.raises(client.ApiException) as conflict:
        await asked(jobs.patch_namespaced_job, "fixed", "lab", stale)
    template = {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}
    with pytest.raises(client.ApiException) as invalid:
        await asked(jobs.patch_namespaced_job, "fixed", "lab", template)
    assert (conflict.value.status, invalid.value.status) == (409, 422)


# ── its parts ────────────────────────────────────────────────────────────────────────────────


def test_versions_are_told_in_order_and_forgotten() -> None:
    """Consecutive, from any of them on; 410 below what was compacted."""
    store = Store()
    for n in range(5):
        store.create("jobs", {"metadata": {"namespace": "x", "name": str(n)}})
    assert [event.version for event in store.since(3)] == [4, 5, 6]
    store.compact()
    store.create("jobs", {"metadata": {"namespace": "x", "name": "later"}})
    assert [event.version for event in store.since(6)] == [7]
    with pytest.raises(Failure, match="too old"):
        store.since(5)


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("", True),
        ("a=1", True),
        ("a==1,b", True),
        ("a!=1", False),
        ("c!=1", True),
        ("!c", True),
        ("!a", False),
        ("a in (1, 2),b=x", True),
        ("a notin (1)", False),
        ("lowtide.dev/attempt=3", True),
    ],
)
def test_selectors(selector: str, fits: bool) -> None:
    """As Kubernetes documents them."""
    assert fits == selects(selector, {"a": "1", "b": "x", "lowtide.dev/attempt": "3"})


@pytest.mark.parametrize(
    ("written", "meant"),
    [("$(A) $(B)", "1 $(B)"), ("$$(A)", "$(A)"), ("$$", "$"), ("$HOME $", "$HOME $")],
)
def test_variables_in_arguments(written: str, meant: str) -> None:
    """Unknown ones stay; a doubled sign is one."""
    assert meant == expanded(written, {"A": "1"})


def test_patches() -> None:
    """Merge removes by null; JSON patch by path."""
    item = {"metadata": {"annotations": {"a/b": "1", "c": "2"}}, "spec": {"n": 1}}
    merged = patched(item, {"metadata": {"annotations": {"c": None}}, "spec": {"n": 2}}, MERGE)
    assert merged == {"metadata": {"annotations": {"a/b": "1"}}, "spec": {"n": 2}}
    steps = [{"op": "remove", "path": "/metadata/annotations/a~1b"}]
    assert patched(merged, steps, JSON_PATCH)["metadata"]["annotations"] == {}
    assert item["spec"] == {"n": 1}


# ── by itself ────────────────────────────────────────────────────────────────────────────────


async def test_it_serves_by_itself_and_is_controlled_over_http(tmp_path: Path) -> None:
    """Several clusters in one process; a preemption and no room by ``/control``."""
    process = subprocess.Popen(  # noqa: ASYNC220 - awaited by its first line
        [
            *(sys.executable, "-m", "tests.servers.kubernetes", "--folder", str(tmp_path)),
            *("--cluster", "here", "--cluster", "there", "--no-processes"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        told = json.loads(await asked(process.stdout.readline))
        configuration = client.Configuration(host=told["here"])
        configuration.api_key = {"authorization": "Bearer anything"}
        with client.ApiClient(configuration) as api:
            jobs = client.BatchV1Api(api)
            await asked(jobs.create_namespaced_job, "lab", job("taken"))

            def control(**action: object) -> dict[str, Any]:
                url = f"{told['control']}/here"
                with urllib.request.urlopen(url, json.dumps(action).encode()) as answer:  # noqa: S310
                    return json.load(answer)

            assert await asked(control, action="preempt", run="taken")
            status = await until_over(jobs, "taken")
            assert status.conditions[-1].type == "Failed"
            await asked(control, action="room", value=False)
            await asked(jobs.create_namespaced_job, "lab", job("waits"))
            shown = await asked(control, action="compact")
        assert shown["jobs"] == {"failed": 1, "pending": 1}
    finally:
        process.send_signal(signal.SIGINT)
        with process.stdout:
            assert process.wait(10) == 0
