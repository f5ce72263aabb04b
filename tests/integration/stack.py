"""The embedded product as processes: the real Temporal dev server and real workers, to be killed.

Time is compressed as in the demo: one hour of the grid takes a second, and policies/demo.yaml has
margins for that. All state lies in one folder, so that what was killed can be started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import psutil

from activities.compute.supervisor import PROGRAM, end_orphan
from activities.stores.sqlite import SqliteStore
from clients.scheduler import Client, JobHandle
from domain.job import Outcome, Phase, RunState, run_name
from domain.ledger import EventKind, LedgerEvent
from domain.manifest import JobManifest, parse_manifest
from workers.devserver import DevServer, dev_server, free_port
from workers.settings import POLICIES
from workers.wiring import verify

LOWTIDE = Path(sys.executable).with_name("lowtide")
WITHIN_S = 60
FRANKFURT = "aws:eu-central-1"
"""The one region of the demo's policy that the residency class ``germany`` allows."""

SETTINGS = {
    "LOWTIDE_POLICY": str(POLICIES / "demo.yaml"),
    "LOWTIDE_TRACE__HOUR_S": "1",
    # Four in the morning: the sun makes it worth waiting some eight hours.
    "LOWTIDE_TRACE__TRACE_AT": "2019-06-04T04:00:00Z",
    "LOWTIDE_REFRESH_EVERY": "2s",
    "LOWTIDE_SETTLE_EVERY": "2s",
    "LOWTIDE_LOG_LEVEL": "error",
}

PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> None:
    """Wait for a condition, asking again and again."""
    async with asyncio.timeout(within_s):
        while not await holds():
            await asyncio.sleep(0.05)


class Stack:
    """One state folder, one Temporal address, and the processes that now use them."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.address = f"127.0.0.1:{free_port()}"
        self.health_port = free_port()
        self.client: Client
        """The SDK, on the server that now runs."""
        self.server: DevServer | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self._effects = folder / "effects"
        self._effects.touch()
        self._settings = SETTINGS | settings
        self._serving = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End every process of this stack."""
        for worker in self.workers:
            if worker.poll() is None:
                # ``lowtide dev`` cannot take its server along when it is killed.
                children = psutil.Process(worker.pid).children()
                worker.kill()
                worker.wait()
                for child in children:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
        await self._serving.aclose()
        for supervisor in self.supervisors():
            supervisor.kill()
        for program in self.state.glob(f"runs/*/*/{PROGRAM}"):
            end_orphan(program.parent)

    # ── processes ────────────────────────────────────────────────────────────────────────────

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this stack is told, and nothing of the test's own environment."""
        return (
            {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            | {"LOWTIDE_STATE_DIR": str(self.state), "TEMPORAL_ADDRESS": self.address}
            | {"LOWTIDE_WORKER__HEALTH_PORT": str(self.health_port)}
            | self._settings
        )

    def lowtide(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of ours."""
        with (self.folder / "lowtide.log").open("ab") as log:
            return subprocess.Popen(
                [LOWTIDE, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def start_server(self) -> None:
        """Start Temporal, at the same address and with the same state as before."""
        port = int(self.address.rpartition(":")[2])
        self.server = await self._serving.enter_async_context(
            dev_server(self.state / "temporal", port)
        )
        self.client = Client(self.server.client)

    async def kill_server(self) -> None:
        """Kill -9 Temporal."""
        assert self.server is not None
        os.kill(self.server.pid, signal.SIGKILL)
        await self._serving.aclose()

    async def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker process, and wait until it is healthy and knows the grid."""
        return await self._ready(self.lowtide("worker"))

    async def start_dev(self) -> subprocess.Popen[bytes]:
        """Start ``lowtide dev``: a Temporal server and a worker at once, at this address."""
        ports = ("--port", self.address.rpartition(":")[2], "--ui-port", str(free_port()))
        time = ("--trace-hour", self._settings["LOWTIDE_TRACE__HOUR_S"])
        dev = await self._ready(self.lowtide("dev", "--state", str(self.state), *ports, *time))
        self.client = await Client.connect(self.address)
        return dev

    async def _ready(self, worker: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self.workers.append(worker)

        async def ready() -> bool:
            assert worker.poll() is None, self.logs()
            return await self.health() == 200 and self._knows_the_grid()

        await eventually(ready)
        return worker

    def kill_worker(self) -> None:
        """Kill -9 the newest worker process."""
        self.workers[-1].kill()
        self.workers[-1].wait()

    async def health(self, path: str = "/health") -> int | None:
        """The health endpoint's answer; ``None`` where nothing answers."""
        return await asyncio.to_thread(_status, f"http://127.0.0.1:{self.health_port}{path}")

    def logs(self) -> str:
        """What our commands have said."""
        return (self.folder / "lowtide.log").read_text()

    def supervisors(self, name: str = "") -> list[psutil.Process]:
        """Supervisors that live, of all this stack's runs or of one job's."""
        runs = str(self.state / "runs")
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(part.startswith(runs) and name in part for part in process.info["cmdline"] or ())
        ]

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

    def manifest(self, name: str, script: str = "", **changed: object) -> JobManifest:
        """A job whose program appends its job and attempt to a file, and then does ``script``."""
        effect = f'echo "$LOWTIDE_JOB $LOWTIDE_ATTEMPT" >> {self._effects}; '
        fields: dict[str, object] = {
            "name": name,
            "image": "registry.example/genomics/align:1.4.2",
            "command": ["sh", "-c", effect + script],
            "resources": {"vcpus": 1, "memory_gib": 2},
            "runtime": "1s",
            "p95_runtime": "2s",
            "max_runtime": "60s",
            "deadline": datetime.now(UTC) + timedelta(seconds=30),
            "residency": "germany",
            "home_region": FRANKFURT,
        }
        return parse_manifest(fields | changed)

    async def submitted(self, *manifests: JobManifest) -> tuple[JobHandle, ...]:
        """Submit jobs and wait for their first plans."""
        return tuple(await asyncio.gather(*map(self.client.submit, manifests)))

    async def ended(self, *jobs: JobHandle) -> None:
        """Wait until jobs have ended, whatever became of the server that they were given to."""
        async with asyncio.timeout(2 * WITHIN_S):
            await asyncio.gather(*(self.client.job(job.id).wait() for job in jobs))

    async def in_phase(self, job: JobHandle, *phases: Phase) -> None:
        """Wait until a job is in one of these phases."""

        async def there() -> bool:
            return (await self.client.job(job.id).status()).phase in phases

        await eventually(there)

    def run_folder(self, manifest: JobManifest, attempt: int = 1) -> Path:
        """Where a job's run in Frankfurt has its files."""
        run = run_name(manifest.workflow_id, segment=0, attempt=attempt)
        return self.state / "runs" / FRANKFURT.replace(":", "_") / run

    # ── what came of it ──────────────────────────────────────────────────────────────────────

    def effects(self) -> list[str]:
        """``job attempt`` of each program that was started."""
        return self._effects.read_text().splitlines()

    def chain(self, job: str) -> tuple[LedgerEvent, ...]:
        """A job's events."""
        with SqliteStore(self.state / "lowtide.db") as store:
            return store.events(job)

    async def tries(self, job: JobHandle, step: str) -> list[int]:
        """Which try of each activity of that name came through, or is the last so far."""
        history = await self.client.temporal.get_workflow_handle(job.id).fetch_history()
        scheduled = {
            event.event_id
            for event in history.events
            if event.activity_task_scheduled_event_attributes.activity_type.name == step
        }
        return [
            event.activity_task_started_event_attributes.attempt
            for event in history.events
            if event.activity_task_started_event_attributes.scheduled_event_id in scheduled
        ]

    def assert_each_succeeded_once(self, jobs: int) -> None:
        """One completion a job, one effect for its one successful attempt; the ledger holds."""
        effects = self.effects()
        with SqliteStore(self.state / "lowtide.db") as store:
            records = store.records()
            assert jobs == len(records)
            for record in records:
                assert record.outcome is Outcome.SUCCEEDED, record
                events = store.events(record.job)
                kinds = [event.kind for event in events]
                assert kinds.count(EventKind.COMPLETION) == 1, (record.job, kinds)
                [succeeded] = [
                    event.data["attempt"]
                    for event in events
                    if event.kind is EventKind.ATTEMPT
                    and event.data["report"]["state"] == RunState.SUCCEEDED
                ]
                assert effects.count(f"{record.job} {succeeded}") == 1, (record.job, effects)
            report = verify(store)
        assert report.holds, report.faults

    def _knows_the_grid(self) -> bool:
        with SqliteStore(self.state / "lowtide.db") as store:
            return bool(store.forecasts())


def until(file: Path) -> str:
    """A shell script that goes on until there is such a file."""
    return f"while [ ! -e {file} ]; do sleep 0.1; done"


async def exists(path: Path) -> bool:
    """Whether there is such a file; for ``eventually``."""
    return path.exists()


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own, on loopback
            json.loads(answer.read())
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None
