"""Three clocks strike at once: Temporal's schedule, the CronJob and the Lambda function."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
import os
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import BufferReader

from activities.history.aws import connect as connect_to
from activities.history.parquet_s3 import ParquetHistory
from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_table import Table, connect, create_table
from activities.stores.sqlite import SqliteStore
from tests.integration.clock_site import (
    KEYS,
    REGIONS,
    ZONES,
    Done,
    Facts,
    Points,
    Providers,
    cron_job,
    facts,
    function,
    live,
    points,
    policy,
    schedule,
)
from tests.servers.aws import CREDENTIALS, aws_server
from tests.servers.carbon_electricity_maps import KEY
from tests.servers.carbon_faults import Fault, Kind
from tests.servers.carbon_watttime import PASSWORD, USER
from tests.servers.vault import vault_server
from workers.devserver import free_port
from workers.settings import POLICIES

REGION, BUCKET = "eu-central-1", "history"
OLDER = timedelta(minutes=20)
"""How far the providers' time lies behind at first, so that a later refresh has something new."""

VAULT_POLICY = 'path "secret/data/lowtide/*" { capabilities = ["read"] }'


@dataclass
class Fleet:
    """Where refreshes go, and how to look at it."""

    begun: datetime
    settings: dict[str, str]
    open_store: Callable[[], SqliteStore | DynamoStore]
    trend: Callable[[], Points]
    """All points of the history; fails where one stands in it twice."""

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Let the clocks of this fleet strike from now on, here and as processes."""
        for name, value in self.settings.items():
            patch.setenv(name, value)

    def facts(self) -> Facts:
        with self.open_store() as store:
            return facts(store, self.begun)


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    async with Providers(datetime.now(UTC) - OLDER) as opened:
        yield opened


@pytest.fixture(scope="module")
def aws_url() -> Iterator[str]:
    """A simulated AWS with an empty bucket, and credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as environment, aws_server() as url:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        s3 = connect_to("s3", REGION, url)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.close()
        yield url


@pytest.fixture(scope="module")
def vault() -> Iterator[Any]:
    """Vault, which holds the keys of the fakes."""
    with vault_server() as root:
        root.sys.create_or_update_policy("lowtide-reads", VAULT_POLICY)
        root.sys.enable_auth_method("approle")
        root.auth.approle.create_or_update_approle("refresh", token_policies=["lowtide-reads"])
        kept = {"electricity-maps": {"api_key": KEY}}
        kept |= {"watttime": {"user": USER, "password": PASSWORD}}
        for path, fields in kept.items():
            root.secrets.kv.v2.create_or_update_secret(f"lowtide/{path}", fields)
        yield root


def embedded(providers: Providers, folder: Path, begun: datetime) -> Fleet:
    """One SQLite file that all processes share."""
    database = folder / "state" / "lowtide.db"

    def trend() -> Points:
        with SqliteStore(database) as store:
            return points(store, begun)

    settings = live(providers, folder) | KEYS
    return Fleet(begun, settings, lambda: SqliteStore(database), trend)


def production(
    providers: Providers, folder: Path, begun: datetime, aws_url: str, vault: Any
) -> Fleet:
    """DynamoDB, Parquet on S3, and keys from Vault."""
    name = folder.name
    secret_id = folder / "secret-id"
    secret_id.write_text(vault.auth.approle.generate_secret_id("refresh")["data"]["secret_id"])
    settings = live(providers, folder) | {
        "LOWTIDE_STORE__KIND": "dynamodb",
        "LOWTIDE_STORE__REGION": REGION,
        "LOWTIDE_STORE__SIGNALS_TABLE": f"signals-{name}",
        "LOWTIDE_STORE__LEDGER_TABLE": "none",
        "LOWTIDE_STORE__ENDPOINT_URL": aws_url,
        "LOWTIDE_HISTORY__KIND": "s3",
        "LOWTIDE_HISTORY__BUCKET": BUCKET,
        "LOWTIDE_HISTORY__REGION": REGION,
        "LOWTIDE_HISTORY__PREFIX": name,
        "LOWTIDE_HISTORY__ENDPOINT_URL": aws_url,
        "LOWTIDE_SECRETS__KIND": "vault",
        "LOWTIDE_SECRETS__URL": vault.url,
        "LOWTIDE_SECRETS__LOGIN": "approle",
        "LOWTIDE_SECRETS__ROLE": vault.auth.approle.read_role_id("refresh")["data"]["role_id"],
        "LOWTIDE_SECRETS__CREDENTIAL_FILE": str(secret_id),
    }

    def open_store() -> DynamoStore:
        client = connect(REGION, aws_url)
        return DynamoStore(Table(client, f"signals-{name}"), Table(client, "none"))

    def trend() -> Points:
        s3 = connect_to("s3", REGION, aws_url)
        try:
            assert_no_point_twice(s3, name)
            return points(ParquetHistory(s3, BUCKET, name), begun)
        finally:
            s3.close()

    with open_store() as store:
        create_table(store._signals)
    return Fleet(begun, settings, open_store, trend)


def assert_no_point_twice(s3: Any, prefix: str) -> None:
    """Read as others read it: the files as they lie."""
    times: Counter[tuple[object, ...]] = Counter()
    for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")["Contents"]:
        body = s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        for row in pq.ParquetFile(BufferReader(body)).read().to_pylist():
            times[item["Key"].split("/")[1], row["zone"], row["start"]] += 1
    assert set(times.values()) == {1}


@pytest.mark.parametrize("kind", ["embedded", pytest.param("production", marks=pytest.mark.slow)])
async def test_clocks_that_strike_at_once_store_what_one_alone_stores(
    kind: str,
    providers: Providers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Also where each knows another policy: no point twice, none missing; and the next goes on."""
    begun = datetime.now(UTC)

    def fleet(name: str) -> Fleet:
        folder = tmp_path / name
        folder.mkdir()
        if kind == "embedded":
            return embedded(providers, folder, begun)
        aws_url, vault = map(request.getfixturevalue, ("aws_url", "vault"))
        return production(providers, folder, begun, aws_url, vault)

    async def one(fleet: Fleet) -> Facts:
        fleet.enter(monkeypatch)
        assert (await schedule())["refused"] == []
        return fleet.facts()

    alone, crowd = fleet("alone"), fleet("crowd")
    expected = await one(alone)
    assert {zone for zone, *_ in expected.observed} == set(ZONES)
    assert {by for by, *_ in expected.forecasts.values()} == {"electricity_maps", "watttime"}

    crowd.enter(monkeypatch)
    whole = crowd.settings["LOWTIDE_POLICY"]
    parts = [policy(tmp_path / f"{n}.yaml", [region]) for n, region in enumerate(REGIONS)]
    for policies in (parts, [whole] * 3):
        providers.wait_for(len(policies))
        monkeypatch.setenv("LOWTIDE_POLICY", policies[0])
        by_schedule, by_cron, by_event = await asyncio.gather(
            schedule(),
            cron_job("--json", env={**os.environ, "LOWTIDE_POLICY": policies[1]}),
            function(env={**os.environ, "LOWTIDE_POLICY": policies[2]}),
        )
        for report in (by_schedule, by_cron.report(), by_event.report()):
            assert (report["refused"], report["history"]) == ([], None)
        assert crowd.facts() == expected
        assert crowd.trend() == expected.observed

    providers.clock.advance(OLDER)
    later = await one(alone)
    crowd.enter(monkeypatch)
    (await cron_job("--json")).report()
    assert crowd.facts() == later
    assert crowd.trend() == later.observed
    assert issue_times(later).isdisjoint(issue_times(expected))


def issue_times(found: Facts) -> set[datetime]:
    return {issued_at for _, issued_at, _ in found.forecasts.values()}


# ── where nothing can be written, and when it goes wrong ─────────────────────────────────────


def nothing_can_be_written() -> None:
    """No file of this process and its children may grow: the kernel sees to it, for root too."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def bare(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that has no home and no folder for scratch files."""
    nowhere = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/proc/none")
    kept = {name: value for name, value in settings.items() if name != "LOWTIDE_STATE_DIR"}
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"} | nowhere | kept


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is where nobody can write")
@pytest.mark.parametrize("clock", [cron_job, function])
@pytest.mark.slow
async def test_a_clock_of_production_needs_no_disk(
    clock: Callable[..., Any], providers: Providers, tmp_path: Path, aws_url: str, vault: Any
) -> None:
    """It ends well where no file can be written and no folder made."""
    folder = tmp_path / clock.__name__
    folder.mkdir()
    fleet = production(providers, folder, datetime.now(UTC), aws_url, vault)
    environment = bare(fleet.settings | CREDENTIALS)
    arguments = ["--json"] if clock is cron_job else []
    done = await clock(*arguments, env=environment, cwd="/proc", preexec_fn=nothing_can_be_written)
    assert done.report()["refused"] == []
    found = fleet.facts()
    assert len(found.forecasts) == done.report()["forecasts"] > 0
    assert fleet.trend() == found.observed
    assert found.observed


@pytest.mark.slow
async def test_a_warm_container_refreshes_again(
    providers: Providers, tmp_path: Path, aws_url: str, vault: Any
) -> None:
    """Invocation after invocation in one process, none of which leaves a connection open."""
    fleet = production(providers, tmp_path, datetime.now(UTC), aws_url, vault)
    done = await function(times=3, env=bare(fleet.settings | CREDENTIALS), cwd=tmp_path)
    brought = [(report["forecasts"], report["refused"]) for report in done.reports()]
    assert brought == [(len(fleet.facts().forecasts), [])] * 3


def assert_no_secret_told(done: Done) -> None:
    told = done.out + done.err
    assert not [secret for secret in (KEY, PASSWORD, *CREDENTIALS.values()) if secret in told]


async def test_a_store_out_of_reach_is_told_in_one_line(
    providers: Providers, tmp_path: Path, aws_url: str, vault: Any
) -> None:
    """With the exit code of what does not answer, though the providers did."""
    fleet = production(providers, tmp_path, datetime.now(UTC), aws_url, vault)
    closed = f"http://127.0.0.1:{free_port()}"
    settings = fleet.settings | CREDENTIALS | {"LOWTIDE_STORE__ENDPOINT_URL": closed}
    done = await cron_job("--json", env=bare(settings), cwd=tmp_path)
    assert (done.code, done.out) == (3, "")
    [line] = done.err.splitlines()
    assert line.startswith(f"error: store signals-{tmp_path.name}: ")
    assert_no_secret_told(done)
    crashed = await function(env=bare(settings), cwd=tmp_path)
    assert crashed.code != 0
    assert "StoreUnavailable: store signals-" in crashed.err
    assert_no_secret_told(crashed)


def without_yearly_figures(file: Path) -> str:
    """The path of the catalogue that ships, without the floor under all forecasts."""
    first, _, table = (POLICIES / "regions.csv").read_text().partition("\n")
    rows = csv.DictReader(io.StringIO(table))
    with file.open("w") as out:
        out.write(first + "\n")
        writer = csv.DictWriter(out, rows.fieldnames or ())
        writer.writeheader()
        blank = {"average_annual_g_per_kwh": "", "marginal_annual_g_per_kwh": ""}
        writer.writerows(row | blank for row in rows)
    return str(file)


async def test_a_refresh_that_brings_nothing_fails(providers: Providers, tmp_path: Path) -> None:
    """No provider serves us, nothing was observed, no figure is published: the clock says so."""
    providers.faults.put(Fault(kind=Kind.STATUS, status=403))
    settings = embedded(providers, tmp_path, datetime.now(UTC)).settings
    settings |= {"LOWTIDE_REGIONS": without_yearly_figures(tmp_path / "regions.csv")}
    loud, quiet, event = await asyncio.gather(
        cron_job("--json", env=bare(settings), cwd=tmp_path),
        cron_job("--quiet", env=bare(settings), cwd=tmp_path),
        function(env=bare(settings), cwd=tmp_path),
    )
    told = json.loads(loud.out)
    assert (loud.code, told["forecasts"], told["observations"]) == (1, 0, 0)
    assert {reason.partition(": ")[2].partition(":")[0] for reason in told["refused"]} >= {
        "electricity_maps",
        "watttime",
    }
    assert (quiet.code, quiet.out) == (1, "")
    [line] = quiet.err.splitlines()
    assert line.startswith("error: no forecast came")
    assert event.code != 0
    assert "handler.NoForecast: " in event.err
    assert "electricity_maps" in event.err
    for done in (loud, quiet, event):
        assert_no_secret_told(done)
