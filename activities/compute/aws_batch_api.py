"""How Batch is reached in one region: one rate limit, few threads, and failures told apart.

botocore tries everything again by itself, but for ``SubmitJob``: sent twice, that makes two jobs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import boto3  # type: ignore[import-untyped]
from aiolimiter import AsyncLimiter
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    ClientError,
    HTTPClientError,
)

from activities.compute.aws_batch_regions import BatchRegion
from activities.compute.aws_batch_reports import Job
from activities.errors import ActivityFault, ComputeUnavailable

AT_ONCE = 16
"""Requests of one region that are under way at once."""

DESCRIBED_AT_ONCE = 100
"""Ids that one ``DescribeJobs`` takes."""

LISTED_AT_ONCE = 1000
"""Jobs that one page of ``ListJobs`` by status holds; by a filter it holds 100."""

BURSTS_A_SECOND = 10
"""A limit of 40/s passes as ten bursts of 4: so no second has more than 44, Batch's own limit being
50. One burst of 40 could meet the next second's 40."""

_TRIES = 3
_NO_SUCH_JOB = "ClientException"
"""Code of what is wrong with a request itself; ``TerminateJob`` names nothing but the job."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long things may take, and how often they are done."""

    calls_per_s: float = 40.0
    """Of all operations in a region together; Batch allows 50 of each."""
    connect_s: float = 2.0
    read_s: float = 8.0
    lease_s: float = 20.0
    """How long a worker alone may submit a run; the rest of a dead worker's is waited for."""
    patience_s: float = 30.0
    """How long one submission goes on against throttling, failures and lost answers."""
    list_lag_s: float = 5.0
    """How long a new job may be missing from ``ListJobs``."""
    poll_every_s: float = 10.0
    hint_wait_s: float = 5.0
    """How long one request for events waits for some."""

    def __post_init__(self) -> None:
        """See that there is time to send anything at all."""
        if self.lease_s <= self.sending_s:
            raise ValueError("lease_s must be above connect_s + read_s")

    @property
    def sending_s(self) -> float:
        """How long after it was begun a request may still reach Batch."""
        return self.connect_s + self.read_s


USUAL = Timings()


class Refused(ActivityFault):
    """Batch's answer is no, for good."""

    def __init__(self, where: str, operation: str, code: str, message: str) -> None:
        super().__init__(f"{where} refused {operation}: {code}: {message}")
        self.code = code


class NotDone(ComputeUnavailable):
    """Throttled, or too late to be sent: it was surely not done."""


class BatchApi:
    """One region's Batch. Any request raises ``ComputeUnavailable`` or ``Refused``."""

    def __init__(self, region: BatchRegion, timings: Timings) -> None:
        """Nothing is opened before it is needed."""
        self._region = region
        self._timings = timings
        burst = max(1.0, timings.calls_per_s / BURSTS_A_SECOND)
        self._limit = AsyncLimiter(burst, burst / timings.calls_per_s)
        self._threads = ThreadPoolExecutor(AT_ONCE, f"batch-{region.code}")
        self._session = boto3.session.Session()
        self._opening = threading.Lock()
        self._clients: dict[int, Any] = {}

    def close(self) -> None:
        """Close the connections; what is under way comes to its end first."""
        self._threads.shutdown()
        for client in self._clients.values():
            client.close()

    async def submit(self, request: Mapping[str, Any], until_s: float) -> str:
        """Submit a job, unless ``time.monotonic()`` is past ``until_s`` when it would be sent.

        Returns:
            Its id.

        Raises:
            NotDone: it was throttled, or not sent.
            ComputeUnavailable: any other kind of it: it may have been taken or not.
        """
        answer = await self._call("submit_job", request, tries=1, until_s=until_s)
        return str(answer["jobId"])

    async def listed(self, queue: str, filter_by: str, value: str) -> list[Job]:
        """A queue's jobs of any status by a filter, newest first. One request for 100."""
        wanted = {"jobQueue": queue, "filters": [{"name": filter_by, "values": [value]}]}
        return await self._pages("list_jobs", wanted, "jobSummaryList")

    async def listed_by_status(self, queue: str, status: str) -> list[Job]:
        """A queue's jobs in one status. One request for 1,000."""
        wanted = {"jobQueue": queue, "jobStatus": status, "maxResults": LISTED_AT_ONCE}
        return await self._pages("list_jobs", wanted, "jobSummaryList")

    async def describe(self, ids: Iterable[str]) -> list[Job]:
        """The jobs of these ids that Batch knows. One request for 100."""
        unique = list(dict.fromkeys(ids))
        answers = await asyncio.gather(
            *(
                self._call("describe_jobs", {"jobs": unique[start : start + DESCRIBED_AT_ONCE]})
                for start in range(0, len(unique), DESCRIBED_AT_ONCE)
            )
        )
        return [job for answer in answers for job in answer["jobs"]]

    async def terminate(self, job_id: str, reason: str) -> None:
        """End a job in whatever state; ended, unknown and forgotten ones are left as they are.

        Never ``CancelJob``: that is told to have succeeded where it did nothing.
        """
        try:
            await self._call("terminate_job", {"jobId": job_id, "reason": reason})
        except Refused as refusal:
            if refusal.code != _NO_SUCH_JOB:
                raise

    async def definitions(self, name: str) -> list[Mapping[str, Any]]:
        """The active revisions of a job definition."""
        wanted = {"jobDefinitionName": name, "status": "ACTIVE"}
        return await self._pages("describe_job_definitions", wanted, "jobDefinitions")

    async def register(self, request: Mapping[str, Any]) -> None:
        """Register a job definition: one more revision, if there is one of that name."""
        await self._call("register_job_definition", request)

    async def _pages(self, operation: str, wanted: Mapping[str, Any], items: str) -> list[Any]:
        found: list[Any] = []
        token: dict[str, Any] = {}
        while True:
            page = await self._call(operation, {**wanted, **token})
            found += page[items]
            if not page.get("nextToken"):
                return found
            token = {"nextToken": page["nextToken"]}

    async def _call(
        self,
        operation: str,
        request: Mapping[str, Any],
        tries: int = _TRIES,
        until_s: float | None = None,
    ) -> Mapping[str, Any]:
        async with self._limit:
            ask = partial(self._ask, operation, request, tries, until_s)
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    def _ask(
        self, operation: str, request: Mapping[str, Any], tries: int, until_s: float | None
    ) -> Mapping[str, Any]:
        ask = getattr(self._client(tries), operation)
        where = f"Batch in {self._region.region}"
        if until_s is not None and time.monotonic() > until_s:
            raise NotDone(where, f"{operation}: it was too slow before that")
        try:
            answer: Mapping[str, Any] = ask(**request)
        except ClientError as error:
            code, status = error.response["Error"]["Code"], _status(error.response)
            if status == HTTPStatus.TOO_MANY_REQUESTS or code == "TooManyRequestsException":
                raise NotDone(where, f"{operation}: {code}") from None
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise ComputeUnavailable(where, f"{operation}: {code}") from None
            told = error.response["Error"].get("Message", "")
            raise Refused(where, operation, code, told) from None
        except HTTPClientError as error:
            raise ComputeUnavailable(where, f"{operation}: {type(error).__name__}") from None
        return answer

    def _client(self, tries: int) -> Any:
        """A client that tries so often. boto3 makes one in some 100 ms, and one at a time."""
        with self._opening:
            if tries not in self._clients:
                self._clients[tries] = self._session.client(
                    "batch",
                    region_name=self._region.code,
                    endpoint_url=self._region.endpoint_url,
                    config=Config(
                        retries={"mode": "standard", "total_max_attempts": tries},
                        connect_timeout=self._timings.connect_s,
                        read_timeout=self._timings.read_s,
                        max_pool_connections=AT_ONCE,
                    ),
                )
            return self._clients[tries]


def _status(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
