"""Planted secrets, looked for in everything that the product leaves behind.

Whoever is sent a secret here repeats it in its errors (``tests/servers/echoing.py``). So that the
search is known to find what is there, each place must hold an innocent text too, and the servers
must have received each secret.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import boto3
import httpx
import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities.carbon.api import open_client
from activities.errors import ActivityFault
from activities.history import influx
from clients.scheduler import Client as SdkClient
from domain.export import export_lines
from domain.forecast import Signal
from domain.messages import RefreshReport
from domain.ports import SecretName
from domain.steps import Queue
from tests.activities.carbon.loopback import NOW, QUICK, TLS
from tests.clients.site import SOON, Site
from tests.scripted_compute import Act
from tests.servers.carbon import ELECTRICITY_MAPS, WATTTIME
from tests.servers.echoing import INFLUX, REFUSED, S3, VAULT, EchoingServer
from tests.workflows.harness import NEWS_QUEUE, NewsworthyCompute, real_time
from tests.workflows.news import NewsOfRun
from workers.process import running
from workers.secret_sources import secret_source
from workers.settings import load_settings
from workers.wiring import Parts, load_parts, refresh_once
from workflows.signals import RefreshSignals

AWKWARD = '"\\&'
"""Ends a secret: JSON writes these in another way, which must be masked as well."""

KEY = "3c81e7f0-em-key" + AWKWARD
USER, PASSWORD = "90aa41d2-wt-user", "7be2c955-wt-password" + AWKWARD
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
TOKEN = "eyJ0eXAiOiJKV1QifQ"  # noqa: S105 - how each token of WattTime's fake begins
INFLUX_TOKEN = "15d0b3a8-influx-token" + AWKWARD
VAULT_TOKEN = "f00d6e14-vault-token" + AWKWARD
SECRET_ID, JWT = "e4c19b27-secret-id", "b7a95f83-jwt"
AWS_TOKEN, AWS_KEY = "aa17d0c6-aws-token", "0b6f82ee-aws-key"

TELLING = 10
"""So many characters tell each secret from everything else."""

OF_PROVIDERS = (KEY, USER, PASSWORD, TOKEN, BASIC, INFLUX_TOKEN)
PLANTED = (*OF_PROVIDERS, VAULT_TOKEN, SECRET_ID, JWT, AWS_TOKEN, AWS_KEY)

FORMATS = pytest.mark.parametrize("log_format", ["console", "json"])


@dataclass
class Leavings:
    """All that was written, by where."""

    texts: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, *what: str | bytes) -> None:
        for item in what:
            data = item.encode() if isinstance(item, str) else item
            self.texts[where] = self.texts.get(where, b"") + data + b"\n"

    def add_error(self, error: BaseException) -> None:
        """As logs, people and debuggers see it."""
        self.add("error", str(error), repr(error), *traceback.format_exception(error))

    def add_files(self, folder: Path) -> None:
        """Every file below, byte for byte."""
        for file in folder.rglob("*"):
            if file.is_file():
                # What is new stands in SQLite's log of what is to be written, beside its file.
                self.add(f"file {file.name.removesuffix('-wal')}", file.read_bytes())

    def places_of(self, *texts: str) -> set[str]:
        """Where one of these stands, or its beginning: however it ends there, or is cut off."""
        needles = [text[:TELLING].encode() for text in texts]
        return {
            where for where, data in self.texts.items() if any(item in data for item in needles)
        }


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EchoingServer]:
    """Everyone who is sent a secret; each knows the planted ones as right."""
    monkeypatch.setattr("tests.servers.carbon_electricity_maps.KEY", KEY)
    monkeypatch.setattr("tests.servers.carbon_watttime.USER", USER)
    monkeypatch.setattr("tests.servers.carbon_watttime.PASSWORD", PASSWORD)
    async with EchoingServer() as server:
        server.vault.token = VAULT_TOKEN
        server.vault.secrets = {
            "electricity-maps": {"api_key": KEY},
            "watttime": {"user": USER, "password": PASSWORD},
            "influxdb": {"token": INFLUX_TOKEN},
        }
        yield server


@pytest.fixture
def site(server: EchoingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Settings for the product on that server, logs down to debug; the same for this process."""
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site.lay_out(folder)
    site.environment.update(
        {
            "LOWTIDE_SIGNALS__SOURCE": "live",
            "LOWTIDE_SIGNALS__HORIZON_HOURS": "24",
            "LOWTIDE_SIGNALS__PAST_EVERY": "5m",
            "LOWTIDE_REFRESH_EVERY": "5m",
            "LOWTIDE_SIGNALS__ELECTRICITY_MAPS__BASE_URL": server.electricity_maps_url,
            "LOWTIDE_SIGNALS__ELECTRICITY_MAPS__REQUESTS_PER_S": "1000",
            "LOWTIDE_SIGNALS__WATTTIME__BASE_URL": server.watttime_url,
            "LOWTIDE_SIGNALS__WATTTIME__REQUESTS_PER_5_MINUTES": "1000000",
            "LOWTIDE_HISTORY__KIND": "influxdb",
            "LOWTIDE_HISTORY__URL": f"{server.url}/{INFLUX}",
            "LOWTIDE_HISTORY__DATABASE": "lowtide",
            "LOWTIDE_LOG_LEVEL": "debug",
            "ELECTRICITY_MAPS_API_KEY": KEY,
            "WATTTIME_USER": USER,
            "WATTTIME_PASSWORD": PASSWORD,
            "INFLUXDB_TOKEN": INFLUX_TOKEN,
        }
    )
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("workers.signal_feed.open_client", partial(open_client, QUICK, tls=TLS))
    monkeypatch.setattr(influx, "open_client", quick(influx.open_client, opened := ExitStack()))
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    with opened:
        yield site
    root.handlers, root.level = handlers, level


def quick(
    open_influx: Callable[..., httpx.Client], opened: ExitStack
) -> Callable[[str], httpx.Client]:
    """Clients that try again at once, and are closed in the end, as a process does by ending."""
    return lambda url: opened.enter_context(open_influx(url, backoff_s=0.001))


# ── a worker ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Trouble:
    """What goes wrong during one refresh."""

    echoes: dict[str, int]
    environment: dict[str, str] = field(default_factory=dict)


def providers(status: int) -> Trouble:
    return Trouble({ELECTRICITY_MAPS: status, WATTTIME: status})


TROUBLES = (
    Trouble({}),
    *(providers(status) for status in (401, 403, 429, 500)),
    *(Trouble({"watttime login": status}) for status in (401, 403, 429, 500)),
    *(Trouble({INFLUX: status}) for status in (401, 403, 429, 500)),
    Trouble({}, {"ELECTRICITY_MAPS_API_KEY": KEY + "-of-another"}),
    Trouble({}, {"WATTTIME_PASSWORD": PASSWORD + "-of-another"}),
    Trouble({}, {"ELECTRICITY_MAPS_API_KEY": KEY + "\n", "INFLUXDB_TOKEN": INFLUX_TOKEN + "\n"}),
    Trouble({}, {"WATTTIME_USER": USER + "\n", "WATTTIME_PASSWORD": PASSWORD + "\n"}),
)


@FORMATS
async def test_a_worker_in_trouble_leaves_none_behind(
    server: EchoingServer,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    log_format: str,
) -> None:
    """Neither in logs, reports, workflow histories and the ledger, nor in any of its files."""
    left, passed = Leavings(), SimpleNamespace(minutes=0)
    # Each time, the minute has passed for which a circuit breaker lets nobody through.
    clock = SimpleNamespace(time=lambda: passed.minutes * 60.0)
    monkeypatch.setattr("purgatory.domain.model.time", clock)
    async with real_time() as env:
        compute = NewsworthyCompute((Act(after=timedelta(0)),), client=env.client)
        parts = replace(load_parts(log_format=log_format), compute=compute)
        news = Worker(env.client, task_queue=NEWS_QUEUE, workflows=[NewsOfRun])
        async with running(env.client, parts), news:
            for number, trouble in enumerate(TROUBLES):
                passed.minutes += 5
                server.echoes = trouble.echoes
                server.watttime.expire_tokens()
                with monkeypatch.context() as changed:
                    for name, value in trouble.environment.items():
                        changed.setenv(name, value)
                    report: RefreshReport = await env.client.execute_workflow(
                        RefreshSignals.run, id=f"refresh-{number}", task_queue=Queue.SIGNALS
                    )
                troubled = bool(trouble.echoes or trouble.environment)
                assert troubled == bool(report.refused or report.history), report
                left.add("report", repr(report))
            manifest = site.manifest("innocent-job", deadline=f'"{SOON}"')
            await (await SdkClient(env.client).submit(manifest)).wait()
            await add_histories(left, env.client)
    left.add("log", *capfd.readouterr())
    left.add("ledger", *export_lines(parts.ledger))
    left.add_files(site.state)

    assert left.places_of(REFUSED) >= {"log", "report", "RefreshSignals"}
    assert left.places_of("innocent-job") >= {
        *("log", "ledger", "file lowtide.db", "CarbonAwareJob")
    }
    for secret in OF_PROVIDERS:
        assert secret in " ".join(server.sent)
    assert left.places_of(*PLANTED) == set()


async def add_histories(left: Leavings, client: Client) -> None:
    """Every event of every workflow as it crosses the wire, payloads included, and its summary."""
    async for workflow in client.list_workflows():
        handle = client.get_workflow_handle(workflow.id, run_id=workflow.run_id)
        events = [event.SerializeToString() async for event in handle.fetch_history_events()]
        described = (await handle.describe()).raw_description.SerializeToString()
        left.add(workflow.workflow_type, *events, described)


# ── Vault ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("login", "proof", "log_format"),
    [("approle", SECRET_ID, "console"), ("kubernetes", JWT, "json"), ("jwt", JWT, "json")],
)
async def test_no_way_into_vault_leaves_any_behind(
    server: EchoingServer,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    login: str,
    proof: str,
    log_format: str,
) -> None:
    """Let in or refused, at the door or at a secret: the worker says that, and nothing more."""
    credential = site.folder.parent / "credential"
    credential.write_text(proof)
    vault = {"KIND": "vault", "URL": server.url, "LOGIN": login, "ROLE": "worker"}
    vault |= {"CREDENTIAL_FILE": str(credential)}
    for name, value in vault.items():
        monkeypatch.setenv(f"LOWTIDE_SECRETS__{name}", value)
    left = Leavings()

    async def refresh() -> RefreshReport:
        report = await refresh_once(load_parts(log_format=log_format))
        left.add("report", repr(report))
        secrets = secret_source(load_settings().secrets)
        try:
            await asyncio.to_thread(secrets.read, SecretName.WATTTIME_PASSWORD)
        except ActivityFault as fault:
            left.add_error(fault)
        return report

    assert (await refresh()).refused == ()
    for refused in (f"{VAULT} login", f"{VAULT} watttime", VAULT):
        for status in (400, 403, 429, 500, 503):
            server.echoes = {refused: status}
            assert "Vault did not give secret/lowtide/watttime" in str(await refresh())
    server.echoes = {}
    server.vault.token = VAULT_TOKEN + "\n"
    await refresh()
    left.add("log", *capfd.readouterr())
    left.add_files(site.state)

    assert left.places_of("Vault did not give") == {"report", "error", "log"}
    for secret in (*OF_PROVIDERS, VAULT_TOKEN, proof):
        assert any(text in " ".join(server.sent) for text in (secret, json.dumps(secret)[1:-1]))
    assert left.places_of(*PLANTED) == set()


# ── histories ────────────────────────────────────────────────────────────────────────────────


@FORMATS
async def test_a_history_that_fails_leaves_none_behind(
    server: EchoingServer,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    log_format: str,
) -> None:
    """Read or written; credentials of AWS, which its own library logs, are of the same kind."""
    left = Leavings()

    def read(parts: Parts) -> None:
        try:
            parts.history.observations("DE", Signal.AVERAGE, NOW, NOW + timedelta(hours=1))
        except ActivityFault as fault:
            left.add_error(fault)

    for status in (200, 401, 500):
        server.echoes = {INFLUX: status}
        parts = load_parts(log_format=log_format)
        left.add("report", repr(await refresh_once(parts)))
        await asyncio.to_thread(read, parts)
    for name in ("URL", "DATABASE"):
        monkeypatch.delenv(f"LOWTIDE_HISTORY__{name}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "innocent-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", AWS_TOKEN)
    # The session that boto3 keeps has the credentials of whoever asked first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    history = {"kind": "s3", "bucket": "b", "region": "eu-central-1"}
    history["endpoint_url"] = f"{server.url}/{S3}"
    server.echoes = {S3: 403}
    parts = load_parts(log_format=log_format, history=history)
    left.add("report", repr(await refresh_once(parts)))
    await asyncio.to_thread(read, parts)
    left.add("log", *capfd.readouterr())
    left.add_files(site.state)

    assert left.places_of(REFUSED) >= {"report", "error", "log"}
    assert left.places_of("AccessDenied") >= {"report", "error", "log"}
    for secret in (INFLUX_TOKEN, AWS_TOKEN):
        assert secret in " ".join(server.sent)
    assert left.places_of(*PLANTED) == set()


# ── commands ─────────────────────────────────────────────────────────────────────────────────


async def test_commands_say_none(server: EchoingServer, site: Site) -> None:
    """As processes, in trouble, with all that they write to either stream."""
    left = Leavings()

    async def run(*arguments: str, log_format: str) -> None:
        done = await asyncio.to_thread(site.run, *arguments, LOWTIDE_LOG_FORMAT=log_format)
        left.add(f"{' '.join(arguments)}: standard output", done.stdout)
        left.add(f"{' '.join(arguments)}: standard error", done.stderr)

    server.echoes = {INFLUX: 401}
    await run("refresh", "--json", log_format="json")
    await run("signals", "--json", log_format="console")
    server.echoes = {ELECTRICITY_MAPS: 401, f"{WATTTIME} login": 403, INFLUX: 200}
    await run("refresh", log_format="console")
    await run("signals", "--history", "1d", log_format="json")
    left.add_files(site.state)

    assert left.places_of("electricity_maps") >= {
        "signals --json: standard output",
        "file lowtide.db",
    }
    assert left.places_of(REFUSED) >= {
        "refresh --json: standard output",
        "refresh --json: standard error",
        "refresh: standard error",
        "signals --history 1d: standard error",
    }
    for secret in OF_PROVIDERS:
        assert secret in " ".join(server.sent)
    assert left.places_of(*PLANTED) == set()
