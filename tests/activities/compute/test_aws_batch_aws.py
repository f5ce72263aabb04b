"""AWS Batch with what stands beside it: fences in DynamoDB, events in SQS, a web identity."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from activities.compute.aws_batch import AwsBatch
from activities.compute.aws_batch_fence_dynamodb import DynamoFence
from activities.stores.dynamodb_table import Table, connect, create_table
from domain.job import RunState
from tests.activities.compute.batch_site import REGIONS, TIMINGS, BatchSite, batch_site
from tests.contracts.compute_site import WITHIN_S, Program, tells, told
from tests.contracts.run_fence import RunFenceContract
from tests.servers.aws import CREDENTIALS, aws_server

NUMBERS = itertools.count()
NEVER_POLLS = replace(TIMINGS, poll_every_s=3600.0, hint_wait_s=1.0)


@pytest.fixture(scope="module")
def aws_url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment, aws_server() as url:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield url


@pytest.fixture(scope="module")
def new_fence(aws_url: str) -> Iterator[Callable[[], DynamoFence]]:
    client = connect("eu-central-1", aws_url)

    def make() -> DynamoFence:
        table = Table(client, f"fences-{next(NUMBERS)}")
        create_table(table)
        return DynamoFence(table)

    yield make
    client.close()


@pytest.fixture
def fence(new_fence: Callable[[], DynamoFence]) -> DynamoFence:
    return new_fence()


class TestDynamoFence(RunFenceContract):
    pass


async def test_workers_share_a_fence_in_dynamodb(fence: DynamoFence, tmp_path: Path) -> None:
    """Two workers that both submit a run start it once; one ends what the other started."""
    async with batch_site(tmp_path) as site:
        workers = [AwsBatch(map(site.region_of, REGIONS), fence, TIMINGS) for _ in range(2)]
        spec = site.spec("shared")
        await asyncio.gather(*(worker.submit(spec) for worker in workers))
        site.backend = workers[0]
        await site.until(spec, RunState.RUNNING)
        await workers[1].terminate(spec.region, spec.run, "cancelled by ada")
        await site.until(spec, RunState.TERMINATED)
        assert len(site.jobs(spec)) == 1
        for worker in workers:
            worker.close()


# ── events ───────────────────────────────────────────────────────────────────────────────────


class Events:
    """An SQS queue that EventBridge sends a region's events to."""

    def __init__(self, url: str) -> None:
        self._client = boto3.client("sqs", region_name="eu-north-1", endpoint_url=url)
        self.address = url
        self.url = self._client.create_queue(QueueName=f"events-{next(NUMBERS)}")["QueueUrl"]

    def send(self, body: str) -> None:
        self._client.send_message(QueueUrl=self.url, MessageBody=body)

    def left(self) -> int:
        attributes = self._client.get_queue_attributes(
            QueueUrl=self.url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return sum(int(number) for number in attributes.values())


@pytest.fixture
def events(aws_url: str) -> Events:
    return Events(aws_url)


def listening(site: BatchSite, events: Events) -> AwsBatch:
    """A worker that polls almost never, and listens to events."""
    regions = [
        replace(
            site.region_of(region),
            events_queue_url=events.url,
            events_endpoint_url=events.address,
        )
        for region in REGIONS[:1]
    ]
    return AwsBatch(regions, site.fence, NEVER_POLLS)


def pass_on(site: BatchSite, events: Events) -> None:
    """Send each event of the fake to the queue, from a thread of its own."""
    loop = asyncio.get_running_loop()

    def send(_region: str, event: dict[str, Any]) -> None:
        loop.run_in_executor(None, events.send, json.dumps(event))

    site.server.listener = send


async def test_an_event_brings_the_look_forward(events: Events, tmp_path: Path) -> None:
    """Start and end are told though the next poll is an hour away; messages are used up."""
    async with batch_site(tmp_path) as site:
        worker = listening(site, events)
        async with aclosing(worker.watch(REGIONS[0], None)) as watch:
            await told(watch, lambda _: True)
            pass_on(site, events)
            spec = site.spec("hinted")
            await site.backend.submit(spec)
            await told(watch, tells(spec, RunState.RUNNING))
            await site.let_go(spec)
            reports, _ = await told(watch, tells(spec, RunState.SUCCEEDED))
            assert reports[-1] == await site.report(spec)
            async with asyncio.timeout(WITHIN_S):
                while events.left():
                    await asyncio.sleep(0.1)
        worker.close()


async def test_what_is_no_event_is_passed_over(events: Events, tmp_path: Path) -> None:
    """Nonsense, other events and jobs that nobody knows do no harm."""
    async with batch_site(tmp_path) as site:
        worker = listening(site, events)
        for body in ("nonsense", "[]", "{}", '{"detail": null}', '{"detail": {"jobId": "none"}}'):
            events.send(body)
        async with aclosing(worker.watch(REGIONS[0], None)) as watch:
            await told(watch, lambda _: True)
            pass_on(site, events)
            spec = site.spec("amid", Program.SUCCEED)
            await site.backend.submit(spec)
            await told(watch, tells(spec, RunState.SUCCEEDED))
        worker.close()


async def test_polls_go_on_without_the_queue(tmp_path: Path, aws_url: str) -> None:
    """Events are a help, not a need."""
    async with batch_site(tmp_path) as site:
        region = replace(
            site.region_of(REGIONS[0]),
            events_queue_url=f"{aws_url}/123456789012/no-such-queue",
            events_endpoint_url=aws_url,
        )
        worker = AwsBatch([region], site.fence, TIMINGS)
        spec = site.spec("alone", Program.SUCCEED)
        await worker.submit(spec)
        async with aclosing(worker.watch(REGIONS[0], None)) as watch:
            await told(watch, tells(spec, RunState.SUCCEEDED))
        worker.close()


# ── credentials ──────────────────────────────────────────────────────────────────────────────


async def test_a_web_identity_is_enough(
    tmp_path: Path, aws_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pod has it: a token file and a role; no key stands in the environment."""
    (tmp_path / "token").write_text("a.b.c")
    async with batch_site(tmp_path) as site:
        for name in CREDENTIALS:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/lowtide")
        monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "lowtide-worker")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws_url)
        spec = site.spec("identity", Program.SUCCEED)
        await site.backend.submit(spec)
        await site.until(spec, RunState.SUCCEEDED)
        [key] = site.server.callers
        assert key.startswith("ASIA"), "a key of a session"
