"""A fake of AWS Batch, and of EC2's Spot prices: ``python -m tests.servers.batch --port 8071``.

boto3 talks to it unchanged (``endpoint_url``); the region is the one that a request is signed for.
Every region has four queues, ``lowtide-{ec2,fargate}-{spot,on-demand}``. Jobs really run, as
processes of this machine, with the container's environment and ``PATH``; or, without processes,
stay in the state that they are put in.

``/control`` shows what was asked (GET) and takes orders (PATCH, see ``_order``); in a test the same
is at hand as attributes of ``BatchServer`` and of its regions. It simulates what is documented of
Batch: it shows how our code reacts to that, not how AWS behaves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.servers.batch_jobs import BatchJob, Document
from tests.servers.batch_prices import SpotPrice, price_history, standard_prices
from tests.servers.batch_region import BatchRegion, Pace
from tests.servers.batch_requests import ClientError

OPERATIONS = frozenset(
    {
        *("registerjobdefinition", "describejobdefinitions", "submitjob", "describejobs"),
        *("listjobs", "terminatejob", "canceljob"),
    }
)
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")


class BatchServer:
    """All regions of one account on one port of 127.0.0.1 while the block runs."""

    def __init__(
        self, folder: Path | None = None, *, runs_processes: bool = True, port: int = 0
    ) -> None:
        """Jobs' output goes to ``folder``; where left out, to one that ends with the block."""
        self.pace = Pace()
        self.regions: dict[str, BatchRegion] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        """(region, operation) -> how often asked."""
        self.submissions: list[Document] = []
        """The body of every ``SubmitJob`` that was done."""
        self.callers: Counter[str] = Counter()
        """Access keys that requests were signed with."""
        self.listener: Callable[[str, Document], None] = lambda _region, _event: None
        """Gets every event that EventBridge would have."""
        self._passing = None if folder else tempfile.TemporaryDirectory(prefix="fake-batch-")
        self._folder = folder or Path(self._passing.name)
        self._runs_processes = runs_processes
        self._port = port
        app = web.Application()
        app.router.add_get("/control", self._show)
        app.router.add_patch("/control", self._order)
        app.router.add_post("/v1/{operation}", self._serve)
        app.router.add_post("/", self._serve_prices)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        [address] = self._runner.addresses
        self._port = address[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(region.close() for region in self.regions.values()))
        await self._runner.cleanup()
        if self._passing:
            self._passing.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def region(self, name: str) -> BatchRegion:
        """A region by AWS's name of it, as ``eu-north-1``."""
        if name not in self.regions:
            self.regions[name] = BatchRegion(
                name=name,
                folder=self._folder / name,
                runs_processes=self._runs_processes,
                on_change=self._tell,
                pace=self.pace,
                prices=standard_prices(name),
            )
        return self.regions[name]

    def asked(self, operation: str | None = None) -> int:
        """How often anything, or one operation, was asked, in all regions."""
        return sum(
            count for (_, asked), count in self.requests.items() if operation in {None, asked}
        )

    # ── Batch ────────────────────────────────────────────────────────────────────────────────

    async def _serve(self, request: web.Request) -> web.Response:
        operation = request.match_info["operation"]
        region = self.region(self._signed_for(request))
        self.requests[region.name, operation] += 1
        body: Document = await request.json()
        if region.faults.down:
            return _unanswered(request)
        if region.faults.throttles(operation):
            return _error(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequestsException", "Too many")
        if region.faults.fails(operation):
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "ServerException", "Internal error")
        if operation == "submitjob" and region.faults.gate is not None:
            await region.faults.gate.wait()
        try:
            answer = self._answer(region, operation, body)
        except ClientError as error:
            return _error(HTTPStatus.BAD_REQUEST, "ClientException", str(error))
        return _unanswered(request) if region.faults.loses(operation) else answer

    def _answer(self, region: BatchRegion, operation: str, body: Document) -> web.Response:
        if operation not in OPERATIONS:
            raise web.HTTPNotFound
        answer = getattr(region, operation)(body)
        if operation == "submitjob":
            self.submissions.append(body)
        return web.json_response(answer)

    def _tell(self, job: BatchJob) -> None:
        """No event tells of a job's submission, only of what becomes of it."""
        event = {
            "version": "0",
            "source": "aws.batch",
            "detail-type": "Batch Job State Change",
            "region": job.region,
            "detail": job.detail(),
        }
        self.listener(job.region, event)

    # ── prices ───────────────────────────────────────────────────────────────────────────────

    async def _serve_prices(self, request: web.Request) -> web.Response:
        region = self.region(self._signed_for(request))
        query = {name: str(value) for name, value in (await request.post()).items()}
        action = query.get("Action", "")
        self.requests[region.name, action] += 1
        if region.faults.down:
            return _unanswered(request)
        if action != "DescribeSpotPriceHistory":
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=_unknown_action(action))
        return web.Response(text=price_history(region.prices, query), content_type="text/xml")

    def _signed_for(self, request: web.Request) -> str:
        found = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        if found is None:
            raise web.HTTPForbidden(text="not signed")
        self.callers[found[1]] += 1
        return found[2]

    # ── control ──────────────────────────────────────────────────────────────────────────────

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": {" ".join(key): count for key, count in self.requests.items()},
                "regions": {
                    name: {
                        "jobs": [job.summary() for job in region.jobs.values()],
                        "closed": [
                            each.name for each in region.queues.values() if each.closed is not None
                        ],
                    }
                    for name, region in self.regions.items()
                },
            }
        )

    async def _order(self, request: web.Request) -> web.Response:
        """``{"pace": {"grace_s": 2}}``, and for each of ``"regions": {"eu-north-1": {...}}``
        ``"faults": {"down": true, "throttle_share": 0.05, ...}``, ``"reclaims": {"share": 0.3}``,
        ``"close": {queue: reason}``, ``"open": [queue]``, ``"reclaim": [name of a job]``,
        ``"states": {name of a job: [status, reason]}``, ``"prices": [{...}]``.
        """
        told: dict[str, Any] = await request.json()
        _set(self.pace, told.get("pace", {}))
        for name, order in told.get("regions", {}).items():
            region = self.region(name)
            _set(region.faults, order.get("faults", {}))
            _set(region.reclaims, order.get("reclaims", {}))
            for queue, reason in order.get("close", {}).items():
                region.close_queue(queue, reason)
            for queue in order.get("open", ()):
                region.open_queue(queue)
            for job_name in order.get("reclaim", ()):
                for job in region.named(job_name):
                    region.reclaim(job)
            for job_name, (status, reason) in order.get("states", {}).items():
                for job in region.named(job_name):
                    region.put(job, status, reason)
            if "prices" in order:
                region.prices = [SpotPrice.of_json(each) for each in order["prices"]]
        return await self._show(request)


def _set(target: object, values: Document) -> None:
    for name, value in values.items():
        current = getattr(target, name)
        setattr(target, name, type(current)(value))


def _unanswered(request: web.Request) -> web.Response:
    """The connection breaks."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _error(status: HTTPStatus, code: str, message: str) -> web.Response:
    return web.json_response(
        {"message": message}, status=status, headers={"x-amzn-ErrorType": code}
    )


def _unknown_action(action: str) -> str:
    return (
        "<Response><Errors><Error><Code>InvalidAction</Code>"
        f"<Message>{action}</Message></Error></Errors><RequestID>fake</RequestID></Response>"
    )


async def _run(port: int, *, runs_processes: bool) -> None:
    told_to_end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    async with BatchServer(port=port, runs_processes=runs_processes) as server:
        answer = {"batch": server.url, "ec2": server.url, "control": f"{server.url}/control"}
        print(json.dumps(answer), flush=True)  # noqa: T201 - what whoever started it waits for
        await told_to_end.wait()


def main() -> None:
    """Serve until Ctrl-C or SIGTERM; the jobs' processes end with it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument(
        "--no-processes", action="store_true", help="jobs stay in the state they are put in"
    )
    options = parser.parse_args()
    asyncio.run(_run(options.port, runs_processes=not options.no_processes))


if __name__ == "__main__":
    main()
