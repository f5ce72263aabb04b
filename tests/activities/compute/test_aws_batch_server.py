"""The fake of AWS Batch as boto3 sees it: what is documented, traps included."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.contracts.compute_site import WITHIN_S
from tests.servers.aws import CREDENTIALS, ROOT
from tests.servers.batch import BatchServer
from tests.servers.batch_jobs import now_ms
from tests.servers.batch_prices import SpotPrice

CODE = "eu-north-1"
EC2_SPOT, FARGATE_SPOT = "lowtide-ec2-spot", "lowtide-fargate-spot"
Ask = Callable[..., Any]


def client(service: str, url: str) -> Any:
    config = Config(retries={"total_max_attempts": 1})
    return boto3.client(
        service,
        region_name=CODE,
        endpoint_url=url,
        config=config,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture
async def server() -> AsyncIterator[BatchServer]:
    async with BatchServer(runs_processes=False) as server:
        yield server


@pytest.fixture
def ask(server: BatchServer) -> Iterator[Ask]:
    """Asks an operation of Batch by boto3."""
    batch = client("batch", server.url)

    async def ask(operation: str, **request: Any) -> Any:
        return await asyncio.to_thread(getattr(batch, operation), **request)

    yield ask
    batch.close()


async def define(ask: Ask, **changed: Any) -> str:
    container = {
        "image": "any",
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "2048"},
        ],
    }
    answer = await ask(
        "register_job_definition",
        **{
            "jobDefinitionName": "any",
            "type": "container",
            "containerProperties": container | changed.pop("container", {}),
            **changed,
        },
    )
    return str(answer["jobDefinitionArn"])


async def submit(ask: Ask, name: str, definition: str, **changed: Any) -> str:
    request = {"jobName": name, "jobQueue": EC2_SPOT, "jobDefinition": definition}
    return str((await ask("submit_job", **(request | changed)))["jobId"])


async def names(ask: Ask, **request: Any) -> list[str]:
    answer = await ask("list_jobs", **({"jobQueue": EC2_SPOT} | request))
    return [job["jobName"] for job in answer["jobSummaryList"]]


def by_name(value: str) -> list[dict[str, Any]]:
    return [{"name": "JOB_NAME", "values": [value]}]


async def test_lists_without_a_filter_are_of_one_status(ask: Ask, server: BatchServer) -> None:
    """RUNNING where none is named."""
    definition, region = await define(ask), server.region(CODE)
    for name, status in (("a", "RUNNING"), ("b", "RUNNABLE"), ("c", "SUCCEEDED")):
        await submit(ask, name, definition)
        region.put(region.named(name)[0], status)
    assert await names(ask) == ["a"]
    assert await names(ask, jobStatus="RUNNABLE") == ["b"]


async def test_a_filter_brings_all_statuses_newest_first(ask: Ask, server: BatchServer) -> None:
    """Whatever status is named beside it, and whatever case its value has."""
    definition, region = await define(ask), server.region(CODE)
    for number, name in enumerate(("align", "ALIGN", "align-2", "other")):
        await submit(ask, name, definition)
        region.named(name)[0].created_ms += number
    region.put(region.named("align")[0], "SUCCEEDED")
    assert await names(ask, filters=by_name("Align"), jobStatus="RUNNING") == ["ALIGN", "align"]
    assert await names(ask, filters=by_name("align*")) == ["align-2", "ALIGN", "align"]
    after = [{"name": "AFTER_CREATED_AT", "values": [str(region.named("ALIGN")[0].created_ms)]}]
    assert await names(ask, filters=after) == ["other", "align-2"]


async def test_a_list_comes_in_pages_that_new_jobs_do_not_shift(ask: Ask) -> None:
    """100 to a page with a filter; a token is a place in the order."""
    definition = await define(ask)
    for number in range(130):
        await submit(ask, f"job-{number}", definition)
    wanted = {"jobQueue": EC2_SPOT, "filters": by_name("job-*")}
    first = await ask("list_jobs", **wanted)
    await submit(ask, "job-new", definition)
    second = await ask("list_jobs", **wanted, nextToken=first["nextToken"])
    ids = [job["jobId"] for page in (first, second) for job in page["jobSummaryList"]]
    assert (len(first["jobSummaryList"]), len(ids), len(set(ids))) == (100, 130, 130)
    assert "nextToken" not in second


async def test_a_new_job_is_listed_late_and_described_at_once(
    ask: Ask, server: BatchServer
) -> None:
    """Lists are of some seconds ago."""
    server.pace.list_lag_s = 60.0
    id_ = await submit(ask, "new", await define(ask))
    assert await names(ask, filters=by_name("new")) == []
    [job] = (await ask("describe_jobs", jobs=[id_]))["jobs"]
    assert (job["jobName"], job["status"]) == ("new", "SUBMITTED")
    assert abs(job["createdAt"] - now_ms()) < 1000 * WITHIN_S, "milliseconds"


async def test_unknown_jobs_are_left_out_and_a_hundred_is_the_most(ask: Ask) -> None:
    """No error for an id that is not known."""
    id_ = await submit(ask, "known", await define(ask))
    answer = await ask("describe_jobs", jobs=["unknown", id_])
    assert [id_] == [job["jobId"] for job in answer["jobs"]]
    with pytest.raises(ClientError, match="100"):
        await ask("describe_jobs", jobs=["unknown"] * 101)


async def test_cancel_claims_success_where_it_does_nothing(ask: Ask, server: BatchServer) -> None:
    """A running job goes on; one that waits is over. Terminate ends both."""
    definition, region = await define(ask), server.region(CODE)
    waiting = await submit(ask, "waiting", definition)
    running = await submit(ask, "running", definition)
    region.put(region.named("running")[0], "RUNNING")

    async def states() -> list[tuple[str, bool, bool]]:
        answer = await ask("describe_jobs", jobs=[waiting, running])
        return [(job["status"], job["isCancelled"], job["isTerminated"]) for job in answer["jobs"]]

    for id_ in (waiting, running):
        await ask("cancel_job", jobId=id_, reason="no more")
    assert await states() == [("FAILED", True, False), ("RUNNING", False, False)]
    for id_ in (waiting, running):
        await ask("terminate_job", jobId=id_, reason="no more")
    assert await states() == [("FAILED", True, False), ("FAILED", False, True)]
    with pytest.raises(ClientError, match="not found"):
        await ask("terminate_job", jobId="unknown", reason="no more")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"jobName": "-no"}, "jobName"),
        ({"jobQueue": "no-such-queue"}, "not found"),
        ({"jobQueue": FARGATE_SPOT}, "platforms"),
        ({"timeout": {"attemptDurationSeconds": 59}}, "60"),
        ({"jobDefinition": "none:1"}, "not ACTIVE"),
        ({"tags": {"lowtide:job": "naïve *"}}, "tags"),
    ],
)
async def test_bad_submissions_are_refused(
    ask: Ask, server: BatchServer, changed: dict[str, Any], told: str
) -> None:
    """With a client's exception, and nothing done."""
    definition = await define(ask)
    with pytest.raises(ClientError, match=told) as refusal:
        await submit(ask, **({"name": "good", "definition": definition} | changed))
    assert refusal.value.response["Error"]["Code"] == "ClientException"
    assert server.region(CODE).jobs == {}


async def test_fargate_takes_its_own_shapes_only(ask: Ask) -> None:
    """And needs a role to start with."""
    fargate = {"platformCapabilities": ["FARGATE"]}
    with pytest.raises(ClientError, match="executionRoleArn"):
        await define(ask, **fargate)
    role = {"executionRoleArn": "arn:aws:iam::123456789012:role/any"}
    await define(ask, container=role, **fargate)
    large = {
        "resourceRequirements": [
            {"type": "VCPU", "value": "3"},
            {"type": "MEMORY", "value": "8192"},
        ]
    }
    with pytest.raises(ClientError, match="invalid"):
        await define(ask, container=role | large, **fargate)


async def test_an_ended_job_is_forgotten_after_its_retention(ask: Ask, server: BatchServer) -> None:
    """Neither listed nor described."""
    id_, region = await submit(ask, "old", await define(ask)), server.region(CODE)
    job = region.named("old")[0]
    region.put(job, "SUCCEEDED")
    assert len((await ask("describe_jobs", jobs=[id_]))["jobs"]) == 1
    job.stopped_ms -= 1000 * (server.pace.retention_s + 1)
    assert (await ask("describe_jobs", jobs=[id_]))["jobs"] == []
    assert await names(ask, filters=by_name("old")) == []


async def test_spot_prices_are_those_in_force_and_what_came_later(server: BatchServer) -> None:
    """Texts, one for each zone; by type, and from a start on."""
    start = datetime(2026, 11, 24, tzinfo=UTC)
    server.region(CODE).prices = [
        SpotPrice(kind, f"{CODE}{zone}", usd, start + timedelta(hours=hours))
        for kind, zone, usd, hours in (
            ("m6i.large", "a", "0.030000", -48),
            ("m6i.large", "a", "0.031000", -2),
            ("m6i.large", "a", "0.032000", 2),
            ("m6i.large", "b", "0.040000", -1),
            ("c6i.large", "a", "0.050000", -1),
        )
    ]
    ec2 = client("ec2", server.url)
    wanted = {
        "InstanceTypes": ["m6i.large"],
        "ProductDescriptions": ["Linux/UNIX"],
        "StartTime": start,
    }
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        **wanted, PaginationConfig={"PageSize": 2}
    )
    found = await asyncio.to_thread(lambda: [p for page in pages for p in page["SpotPriceHistory"]])
    ec2.close()
    assert [(f"{CODE}a", "0.032000"), (f"{CODE}b", "0.040000"), (f"{CODE}a", "0.031000")] == [
        (price["AvailabilityZone"], price["SpotPrice"]) for price in found
    ]
    assert found[0]["Timestamp"] == start + timedelta(hours=2)


def test_it_is_a_program_with_orders_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs really run; queues close, regions fail, machines are taken back; SIGTERM ends it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    program = [sys.executable, "-m", "tests.servers.batch"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            told = json.loads(process.stdout.readline())
            batch = client("batch", told["batch"])
            asyncio.run(_order(batch, told["control"]))
            batch.close()
        finally:
            process.terminate()
    assert process.returncode == 0


async def _order(batch: Any, control: str) -> None:
    async def ask(operation: str, **request: Any) -> Any:
        return await asyncio.to_thread(getattr(batch, operation), **request)

    async def order(**told: Any) -> Any:
        async with httpx.AsyncClient() as http:
            return (await http.patch(control, json={"regions": {CODE: told}})).json()

    async def until(id_: str, status: str) -> Any:
        async with asyncio.timeout(WITHIN_S):
            while True:
                [job] = (await ask("describe_jobs", jobs=[id_]))["jobs"]
                if job["status"] == status:
                    return job
                await asyncio.sleep(0.02)

    definition = await define(ask)
    await order(close={EC2_SPOT: "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"})
    id_ = await submit(
        ask, "real", definition, containerOverrides={"command": ["sh", "-c", "exit 3"]}
    )
    job = await until(id_, "RUNNABLE")
    assert job["statusReason"] == "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
    await order(open=[EC2_SPOT])
    job = await until(id_, "FAILED")
    assert (job["container"]["exitCode"], job["attempts"][0]["container"]["exitCode"]) == (3, 3)
    await order(faults={"failing": True})
    with pytest.raises(ClientError, match="ServerException"):
        await ask("describe_jobs", jobs=[id_])
    shown = await order(faults={"failing": False})
    assert [job["jobName"] for job in shown["regions"][CODE]["jobs"]] == ["real"]
    sleeper = {"command": ["sleep", "600"]}
    taken = await submit(ask, "taken", definition, containerOverrides=sleeper)
    await until(taken, "RUNNING")
    await order(reclaim=["taken"])
    job = await until(taken, "FAILED")
    assert job["statusReason"].startswith("Host EC2 (instance i-")
