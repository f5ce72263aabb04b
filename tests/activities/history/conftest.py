from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.aws import CREDENTIALS, aws_server

REGION = "eu-central-1"


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """A simulated AWS, and credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as environment, aws_server() as url:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield url
