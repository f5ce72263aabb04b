"""Hints that jobs changed: EventBridge's ``Batch Job State Change`` through an SQS queue.

A hint only brings a look forward. Events may be missing, late, or come twice, and a queue may be
read by somebody else: the rounds of the watch remain the truth, so a message is deleted as soon
as it was read.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from activities.compute.aws_batch_regions import BatchRegion

AT_ONCE = 10
"""Messages that one request receives or deletes at most."""

PAUSE_S = 5.0
"""After a failure: polls go on meanwhile."""

_LOG = logging.getLogger(__name__)


class Hints:
    """Ids of jobs that are said to have changed, gathered until they are asked for."""

    def __init__(self, region: BatchRegion, wait_s: float) -> None:
        """``wait_s``: how long one request waits for messages."""
        self._region = region
        self._wait_s = wait_s
        self._ids: set[str] = set()
        self._came = asyncio.Event()

    async def next(self, within_s: float) -> set[str]:
        """Hints, as soon as there are some; none after ``within_s``."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), within_s)
        ids, self._ids = self._ids, set()
        self._came.clear()
        return ids

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive messages while the block runs, if the region has a queue for them."""
        if not self._region.events_queue_url:
            yield
            return
        # A thread of its own: it spends its life waiting, and nobody waits for its last request.
        thread = ThreadPoolExecutor(1, f"batch-events-{self._region.code}")
        task = asyncio.create_task(self._listen(thread))
        try:
            yield
        finally:
            task.cancel()
            thread.shutdown(wait=False)

    async def _listen(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        client = await loop.run_in_executor(thread, self._connect)
        while True:
            try:
                bodies = await loop.run_in_executor(thread, self._receive, client)
            except (BotoCoreError, ClientError) as error:
                _LOG.warning("no events of %s: %s", self._region.region, type(error).__name__)
                await asyncio.sleep(PAUSE_S)
                continue
            self._ids |= {id_ for id_ in map(_job_id, bodies) if id_}
            if self._ids:
                self._came.set()

    def _connect(self) -> Any:
        return boto3.session.Session().client(
            "sqs",
            region_name=self._region.code,
            endpoint_url=self._region.events_endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 2},
                read_timeout=self._wait_s + 10,
            ),
        )

    def _receive(self, client: Any) -> list[str]:
        queue = self._region.events_queue_url
        messages = client.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=round(self._wait_s)
        ).get("Messages", [])
        if messages:
            client.delete_message_batch(
                QueueUrl=queue,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ],
            )
        return [message["Body"] for message in messages]


def _job_id(body: str) -> str | None:
    """The job that an event is of; ``None`` for what is no such event."""
    try:
        return str(json.loads(body)["detail"]["jobId"])
    except (ValueError, TypeError, KeyError):
        _LOG.warning("a message that is no event of Batch was passed over")
        return None
