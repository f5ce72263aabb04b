from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from tests.examples.attempts import Job
from tests.servers.aws import CREDENTIALS, aws_server
from tests.servers.objects import ObjectServer, object_server

BUCKET = "lowtide-eu-central-1"
REGION = "eu-central-1"


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """A simulated S3 with one bucket."""
    with aws_server() as url:
        client = boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        client.close()
        yield url


@pytest.fixture
def moto(aws_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of whoever talks to the simulated S3; this process talks to it too."""
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": aws_url}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def storage() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture
def s3(storage: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """The misbehaving storage as S3, for this process."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": storage.url}.items():
        monkeypatch.setenv(name, value)
    return storage


@pytest.fixture
def gs(storage: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """The misbehaving storage as Google's, for this process."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
    return storage


@pytest.fixture
def new_job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes jobs; their processes end with the test."""
    jobs: list[Job] = []

    def make(uri: str = "", **more: str) -> Job:
        told = tmp_path / f"told-{len(jobs)}"
        told.mkdir()
        jobs.append(Job(uri or (tmp_path / f"job-{len(jobs)}").as_uri(), told, more))
        return jobs[-1]

    yield make
    for job in jobs:
        job.close()


@pytest.fixture
def job(new_job: Callable[..., Job]) -> Job:
    """A job in a folder."""
    return new_job()
