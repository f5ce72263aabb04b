from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.errors import InvalidSettings
from workers.compute_sites import compute_site
from workers.settings import Settings, load_settings

STOCKHOLM, BELGIUM = "aws:eu-north-1", "gcp:europe-west1"
QUEUES = {"bucket": "runs-eu-north-1"}
CLUSTER = {"project": "p", "location": "europe-west1", "name": "batch", "bucket": "runs"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No settings, and no account, of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    return tmp_path


def cloud(**changed: Any) -> Settings:
    compute = {"kind": "cloud", "aws": {STOCKHOLM: QUEUES}, "gke": {BELGIUM: CLUSTER}}
    return load_settings(compute=compute | changed)


async def test_each_region_has_the_backend_of_its_cloud() -> None:
    """As dispatch events and watchers name it; nothing is asked of any cloud for that."""
    site = compute_site(cloud(), [STOCKHOLM, BELGIUM])
    assert site.backend.name_in(STOCKHOLM) == "aws-batch"
    assert site.backend.name_in(BELGIUM) == "gke"
    await site.close()
    local = compute_site(load_settings(), [STOCKHOLM])
    assert local.backend.name_in(STOCKHOLM) == "local"
    await local.close()


def test_a_region_without_queues_or_cluster_stops_the_start() -> None:
    """Jobs would be placed there and never run; each such region is told."""
    with pytest.raises(InvalidSettings, match=r"compute: aws:eu-west-1 .*queues or a cluster"):
        compute_site(cloud(), [STOCKHOLM, BELGIUM, "aws:eu-west-1"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"aws": {STOCKHOLM: {}}},
            "LOWTIDE_COMPUTE__AWS__AWS:EU-NORTH-1__BUCKET: nothing is not allowed",
        ),
        (
            {"aws": {STOCKHOLM: QUEUES | {"fargate": {"spot": "s", "on_demand": "d"}}}},
            "execution_role_arn where fargate is used",
        ),
        (
            {"gke": {BELGIUM: CLUSTER | {"endpoint_url": "https://127.0.0.1"}}},
            "endpoint_url for every cluster and gke_token_file, or neither",
        ),
    ],
)
def test_what_is_missing_is_told(changed: dict[str, Any], told: str) -> None:
    """Before anything starts."""
    with pytest.raises(InvalidSettings, match=told):
        cloud(**changed)
