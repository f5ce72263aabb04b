from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from activities.stores.dynamodb import DynamoStore
from activities.stores.dynamodb_signals import expire_forecasts
from activities.stores.dynamodb_table import Table, connect, create_table
from tests.servers.aws import CREDENTIALS, aws_server

HOME_REGION = "eu-central-1"


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """A simulated AWS, and credentials for it in the environment, of child processes too."""
    with pytest.MonkeyPatch.context() as environment, aws_server() as url:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield url


@pytest.fixture(scope="session")
def dynamodb(aws_url: str) -> Iterator[Any]:
    """A client of the home region, for tests that hang nothing on it."""
    client = connect(HOME_REGION, aws_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def new_store(dynamodb: Any) -> Callable[[], DynamoStore]:
    """Makes stores of two new tables each, all with one client."""
    numbers = itertools.count()

    def make() -> DynamoStore:
        number = next(numbers)
        signals, ledger = (Table(dynamodb, f"{name}-{number}") for name in ("signals", "ledger"))
        create_table(signals)
        create_table(ledger)
        expire_forecasts(signals)
        return DynamoStore(signals, ledger)

    return make


@pytest.fixture
def dynamo_store(new_store: Callable[[], DynamoStore]) -> DynamoStore:
    """A store of its own for each test."""
    return new_store()
