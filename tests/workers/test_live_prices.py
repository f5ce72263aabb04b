"""Live prices as settings wire them: real adapters against fakes of both clouds."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from activities.errors import ProviderMisconfigured
from domain.capacity import CapacityType
from domain.decision_record import decision_data
from domain.fresh_prices import LIVE, provenance
from domain.job import DecisionReason, Placement
from domain.ledger import Draft, EventKind, LedgerEvent
from domain.manifest import JobManifest, parse_manifest
from domain.placement import decide
from domain.ports import Commit, DocumentName
from tests.servers.aws import CREDENTIALS
from tests.servers.batch import BatchServer
from tests.servers.batch_prices import SpotPrice
from tests.servers.prices import PriceServer, ec2_product, fargate_product, skus_of
from workers.wiring import (
    Parts,
    dev_server,
    inputs_for,
    load_parts,
    running,
    set_up,
    verify,
)

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
FRANKFURT, STOCKHOLM, BELGIUM = "aws:eu-central-1", "aws:eu-north-1", "gcp:europe-west1"
POLICY = """
version: test
weights: {carbon: 0, cost: 1}
steering_signal: average
residency: {eu: {countries: [DE, SE, BE]}}
regions:
"""
PLACES = "  {}: {{spot: {{vcpus: 64}}, on_demand: {{vcpus: 64}}}}\n"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of whoever runs the tests; the root logger as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
async def ec2(tmp_path: Path) -> AsyncIterator[BatchServer]:
    async with BatchServer(tmp_path / "batch", runs_processes=False) as server:
        yield server


@pytest.fixture
async def lists() -> AsyncIterator[PriceServer]:
    async with PriceServer() as server:
        yield server


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def wired(
    ec2: BatchServer, lists: PriceServer, folder: Path, *regions: str, **changed: Any
) -> AsyncIterator[Parts]:
    """The product on the fakes; what it holds is closed in the end."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY + "".join(map(PLACES.format, regions)))
    feed = {
        "kind": "live",
        "instance_types": ["m6i.xlarge"],
        "ec2_url": ec2.url,
        "price_list_url": lists.url,
        "billing_url": lists.url,
    }
    parts = load_parts(
        state_dir=folder / "state", policy=policy, log_level="error", price_feed=feed | changed
    )
    try:
        yield parts
    finally:
        await parts.close()


def spot_prices(ec2: BatchServer, **usd: str) -> None:
    """An m6i.xlarge's Spot price from now on, by region; a name's ``_`` stands for ``-``."""
    for name, price in usd.items():
        region = name.replace("_", "-")
        ec2.region(region).prices = [
            SpotPrice("m6i.xlarge", f"{region}a", price, datetime(2026, 1, 1, tzinfo=UTC))
        ]


def nightly(now: datetime) -> JobManifest:
    return parse_manifest(
        {
            "name": "nightly",
            "image": "busybox",
            "resources": {"vcpus": 4, "memory_gib": 16},
            "deadline": now + timedelta(hours=20),
            "runtime": "1h",
            "p95_runtime": "2h",
            "max_runtime": "4h",
            "residency": "eu",
            "home_region": FRANKFURT,
        }
    )


def decided(parts: Parts, manifest: JobManifest, seq: int, now: datetime) -> Placement:
    """A decision as the product takes it, in the ledger as the product writes it."""
    inputs = inputs_for(parts, manifest, now)
    placement = decide(inputs).placement
    data, blobs = decision_data(inputs, placement, DecisionReason.PLAN)
    draft = Draft(EventKind.DECISION, now, data)
    parts.ledger.admit(manifest.workflow_id, manifest.canonical(), "e1", rerun=False)
    parts.ledger.commit(Commit(manifest.workflow_id, seq, (draft,), blobs))
    return placement


def where(placement: Placement) -> tuple[str, CapacityType]:
    cell = placement.segments[0].cell
    return cell.region, cell.capacity_type


async def test_a_price_that_changes_moves_a_decision_and_both_are_recomputed(
    ec2: BatchServer, lists: PriceServer, tmp_path: Path, now: datetime
) -> None:
    """The ledger keeps the table that each saw, and verifies without a source of prices."""
    manifest = nightly(now)
    async with wired(ec2, lists, tmp_path, FRANKFURT, STOCKHOLM) as parts:
        await parts.refresher.refresh(now)
        spot_prices(ec2, eu_central_1="0.070000", eu_north_1="0.090000")
        report = await parts.price_refresh.refresh(now)
        assert report.rows == 2
        first = decided(parts, manifest, 1, now)
        spot_prices(ec2, eu_central_1="0.120000", eu_north_1="0.090000")
        later = now + timedelta(minutes=1)
        await parts.price_refresh.refresh(later)
        second = decided(parts, manifest, 2, later)
        assert (where(first), where(second)) == ((FRANKFURT, SPOT), (STOCKHOLM, SPOT))
        # Of the table's $0.230 and $0.204 an hour on-demand: the price itself, up to rounding.
        assert first.estimate.cost_usd == pytest.approx(0.07, rel=1e-3)
        assert second.estimate.cost_usd == pytest.approx(0.09, rel=1e-3)
        report = verify(parts.ledger)
        assert report.holds, report.faults
        assert report.recomputed[EventKind.DECISION] == 2
        tables = {named_prices(event) for event in parts.ledger.events(manifest.workflow_id)}
        assert len(tables) == 2
    assert ec2.requests["eu-north-1", "DescribeSpotPriceHistory"] == 2


def named_prices(event: LedgerEvent) -> str:
    """The hash of the table that a decision used."""
    return str(event.data["inputs"]["prices"])


async def test_a_forged_table_is_found(
    ec2: BatchServer, lists: PriceServer, tmp_path: Path, now: datetime
) -> None:
    """Prices are part of what is recomputed: a decision that they do not lead to does not hold."""
    manifest = nightly(now)
    async with wired(ec2, lists, tmp_path, FRANKFURT, STOCKHOLM) as parts:
        await parts.refresher.refresh(now)
        spot_prices(ec2, eu_central_1="0.070000", eu_north_1="0.090000")
        await parts.price_refresh.refresh(now)
        inputs = inputs_for(parts, manifest, now)
        placement = decide(inputs).placement
        dearer = load_parts(state_dir=tmp_path / "other", policy=tmp_path / "policy.yaml")
        await dearer.refresher.refresh(now)
        data, blobs = decision_data(
            inputs_for(dearer, manifest, now), placement, DecisionReason.PLAN
        )
        draft = Draft(EventKind.DECISION, now, data)
        parts.ledger.admit(manifest.workflow_id, manifest.canonical(), "e1", rerun=False)
        parts.ledger.commit(Commit(manifest.workflow_id, 1, (draft,), blobs))
        assert not verify(parts.ledger).holds


async def test_all_sources_together(
    ec2: BatchServer,
    lists: PriceServer,
    tmp_path: Path,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Spot and on-demand of both clouds, Google's by a token of the default credentials."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account(tmp_path, lists)))
    spot_prices(ec2, eu_north_1="0.061200")
    lists.products = [ec2_product("m6i.xlarge", "eu-north-1", "0.2244000000")]
    lists.skus = skus_of("Belgium", "europe-west1", 0.0218, 0.0029, 0.4)
    async with wired(ec2, lists, tmp_path, STOCKHOLM, BELGIUM) as parts:
        report = await parts.price_refresh.refresh(now)
        assert (report.rows, report.refused) == (4, ())
        table = parts.prices.prices(now)
        came = provenance(table)
    assert table.version.endswith(LIVE)
    machine = {
        place: round(table.usd_per_hour(*place, 4, 16), 4)
        for place in ((STOCKHOLM, SPOT), (STOCKHOLM, ON_DEMAND), (BELGIUM, SPOT))
    }
    assert machine == {
        (STOCKHOLM, SPOT): 0.0612,
        (STOCKHOLM, ON_DEMAND): 0.2244,
        (BELGIUM, SPOT): round(4 * 0.00872 + 16 * 0.00116, 4),
    }
    assert came[STOCKHOLM, SPOT].source.startswith("EC2 Spot: 0.3000 of")
    assert came[STOCKHOLM, ON_DEMAND].source.startswith("EC2 list price: m6i.xlarge $0.2244/h")
    assert came[BELGIUM, SPOT].source.startswith("Google Cloud list price: Spot E2")
    assert lists.asked["token"] == 1


def service_account(folder: Path, lists: PriceServer) -> Path:
    """A key file as google-auth reads it, whose tokens the fake gives."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = folder / "service-account.json"
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": "test",
        "client_email": "prices@test.example",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "token_uri": f"{lists.url}/token",
    }
    file.write_text(json.dumps(account))
    return file


async def test_a_worker_refreshes_prices_on_schedule(
    ec2: BatchServer, lists: PriceServer, tmp_path: Path
) -> None:
    """From its start on: what the first refresh brought is in the store that decisions read."""
    spot_prices(ec2, eu_north_1="0.061200")
    async with (
        wired(ec2, lists, tmp_path, STOCKHOLM) as parts,
        dev_server(tmp_path / "temporal") as server,
    ):
        await set_up(server.client, parts)
        async with running(server.client, parts), asyncio.timeout(30):
            while parts.documents.document(DocumentName.FRESH_PRICES) is None:
                await asyncio.sleep(0.05)
        table = parts.prices.prices(datetime.now(UTC))
    assert table.usd_per_hour(STOCKHOLM, SPOT, 4, 16) == pytest.approx(0.0612, rel=1e-4)


async def test_fargate_in_place_of_ec2(
    ec2: BatchServer, lists: PriceServer, tmp_path: Path, now: datetime
) -> None:
    """Where runs go to Fargate, its prices are the region's; EC2 is not asked."""
    usage = {
        "Fargate-vCPU-Hours:perCPU": "0.0445",
        "Fargate-GB-Hours": "0.0049",
        "SpotUsage-Fargate-vCPU-Hours:perCPU": "0.0133",
        "SpotUsage-Fargate-GB-Hours": "0.0015",
    }
    lists.products = [fargate_product("eu-north-1", *item) for item in usage.items()]
    async with wired(ec2, lists, tmp_path, STOCKHOLM, aws="fargate") as parts:
        await parts.price_refresh.refresh(now)
        table = parts.prices.prices(now)
    assert table.price(STOCKHOLM, SPOT).usd_per_vcpu_hour == 0.0133
    assert table.price(STOCKHOLM, ON_DEMAND).usd_per_gib_hour == 0.0049
    assert sum(ec2.requests.values()) == 0


async def test_by_default_the_table_stands_alone(tmp_path: Path, now: datetime) -> None:
    """Nothing is asked, nothing that was learned is used, and a refresh changes nothing."""
    parts = load_parts(state_dir=tmp_path, log_level="error")
    before = parts.prices.prices(now)
    report = await parts.price_refresh.refresh(now)
    assert (report.rows, report.refused) == (0, ())
    assert parts.prices.prices(now + timedelta(days=1)) is before
    assert before.version == "2026.1"


async def test_tokens_never_travel_in_the_clear(
    ec2: BatchServer, lists: PriceServer, tmp_path: Path
) -> None:
    """An address with http that is not this machine stops the start."""
    with pytest.raises(ProviderMisconfigured, match=r"base_url is http://billing\.example"):
        async with wired(ec2, lists, tmp_path, STOCKHOLM, billing_url="http://billing.example"):
            pass
