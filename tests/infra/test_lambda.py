"""The Lambda function's template: what it tells the function, and what it lets it do."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from activities.history.aws import connect as connect_to
from activities.history.best_effort import BestEffortHistory
from activities.history.parquet_s3 import ParquetHistory
from activities.refresh import Signals
from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_table import Table, connect, create_table
from domain.forecast import Signal
from domain.policy import parse_policy
from domain.regions import parse_catalogue
from tests.integration.clock_site import KEYS, live
from tests.servers.aws import CREDENTIALS, aws_server
from tests.servers.carbon import CarbonServer
from tests.servers.carbon_faults import Fault, Kind
from workers.settings import load_settings
from workers.signal_feed import live_feed

LAMBDA = Path(__file__).parents[2] / "infra" / "lambda"
REGION = "eu-central-1"
GIVEN = {
    "ImageUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/lowtide-refresh:1",
    "VaultUrl": "https://vault.example:8200",
    "AWS::Region": REGION,
    "AWS::NoValue": None,
}


class Template(yaml.SafeLoader):
    """CloudFormation's short forms, as ``{name: argument}``."""


def _short_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.ScalarNode():
            return {name: loader.construct_scalar(node)}
        case yaml.SequenceNode():
            return {name: loader.construct_sequence(node, deep=True)}
    raise AssertionError(node)


Template.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((LAMBDA / "template.yaml").read_text(), Template)  # noqa: S506
    return found


def resolved(value: Any, template: dict[str, Any], **given: str) -> Any:
    """A value as CloudFormation would make it of parameters and one kind of condition."""
    known = {name: item.get("Default") for name, item in template["Parameters"].items()}
    known |= GIVEN | given
    match value:
        case {"Ref": name}:
            return known.get(name, name)
        case {"If": [condition, yes, no]}:
            [unequal] = template["Conditions"][condition]["Not"]
            [left, right] = unequal["Equals"]
            chosen = yes if resolved(left, template, **given) != right else no
            return resolved(chosen, template, **given)
        case dict():
            items = {key: resolved(item, template, **given) for key, item in value.items()}
            return {key: item for key, item in items.items() if item is not None}
        case list():
            items = [resolved(item, template, **given) for item in value]
            return [item for item in items if item is not None]
    return value


@pytest.mark.parametrize(
    ("given", "history"), [({}, "none"), ({"HistoryBucket": "lowtide-history"}, "s3")]
)
def test_the_function_is_told_settings_that_hold(
    template: dict[str, Any],
    given: dict[str, str],
    history: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Live signals, DynamoDB and Vault by the function's own role, with or without a history."""
    monkeypatch.chdir(tmp_path)
    function = resolved(template["Resources"]["Function"]["Properties"], template, **given)
    for name, value in function["Environment"]["Variables"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.signals.source, settings.store.kind) == ("live", "dynamodb")
    assert (settings.secrets.kind, settings.secrets.login) == ("vault", "aws")
    assert settings.history.kind == history
    assert function["Timeout"] < settings.refresh_every.total_seconds()


def test_the_image_runs_the_handler_that_is_there() -> None:
    """Lambda finds it by file and name; a wrong one shows at the first invocation only."""
    dockerfile = (LAMBDA / "Dockerfile").read_text()
    [(module, name)] = re.findall(r'^CMD \["(\w+)\.(\w+)"\]$', dockerfile, re.MULTILINE)
    assert f"COPY infra/lambda/{module}.py ./\n" in dockerfile
    assert f"\ndef {name}(event: object, context: object)" in (LAMBDA / f"{module}.py").read_text()


# ── rights ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Asked:
    """The rights that a client's requests need, and the tables or buckets that they name."""

    rights: set[str]
    places: set[str]

    def before_send(self, request: Any, event_name: str, **_: Any) -> None:
        _, service, operation = event_name.split(".")
        if service == "s3":
            self.rights |= {f"s3:{operation}"}
            return
        body = json.loads(request.body)
        parts = [next(iter(item.items())) for item in body.get("TransactItems", ())]
        operations = [f"{kind}Item" for kind, _ in parts] or [operation]
        self.rights |= {f"dynamodb:{name}" for name in operations}
        self.places |= {item["TableName"] for _, item in parts}
        self.places |= {*body.get("RequestItems", ()), *filter(None, [body.get("TableName")])}


@pytest.fixture
def aws_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with aws_server() as url:
        yield url


@pytest.fixture
async def providers() -> AsyncIterator[CarbonServer]:
    async with CarbonServer() as server:
        yield server


@pytest.fixture
async def asked(
    providers: CarbonServer, aws_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Asked:
    """By two refreshes: both providers are up, then down, so that what was observed is read."""
    for name, value in (live(providers, tmp_path) | KEYS).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    catalogue = parse_catalogue(settings.regions.read_text())
    policy = parse_policy(settings.policy.read_text(), catalogue)
    zones = sorted({zone for item in Signal for zone in catalogue.zones(item, policy.regions)})
    dynamodb, s3 = connect(REGION, aws_url), connect_to("s3", REGION, aws_url)
    create_table(signals := Table(dynamodb, "lowtide-signals"))
    s3.create_bucket(Bucket="trend", CreateBucketConfiguration={"LocationConstraint": REGION})
    store = DynamoStore(signals, Table(dynamodb, "lowtide-ledger"))
    feed = live_feed(settings, catalogue, policy, store)
    history = BestEffortHistory(ParquetHistory(s3, "trend"))
    refresher, seen = Signals(feed.provider, store, zones, history), Asked(set(), set())
    for client in (dynamodb, s3):
        client.meta.events.register("before-send", seen.before_send)
    up = await refresher.refresh(datetime.now(UTC))
    providers.faults.put(Fault(kind=Kind.STATUS, status=403))
    down = await refresher.refresh(datetime.now(UTC))
    assert not up.refused
    assert down.refused
    await feed.close()
    for client in (dynamodb, s3):
        client.close()
    return seen


def test_the_function_may_do_what_a_refresh_does_and_no_more(
    template: dict[str, Any], asked: Asked
) -> None:
    """The rights of its role are those that its requests need, on the one table that they name."""
    role = resolved(template["Resources"]["FunctionRole"], template, HistoryBucket="trend")
    [inline] = role["Properties"]["Policies"]
    granted = {item["Sid"]: item for item in inline["PolicyDocument"]["Statement"]}
    assert asked.rights == {*granted["Signals"]["Action"], *granted["HistoryObjects"]["Action"]}
    assert asked.places == {template["Parameters"]["SignalsTable"]["Default"]}
    table = granted["Signals"]["Resource"]["Sub"]
    assert table.endswith(":table/${SignalsTable}")
