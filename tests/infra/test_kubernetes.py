"""The CronJob, read as the API server would, and against the settings that it is given."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from kubernetes import client
from typer.testing import CliRunner

from clients.cli import app
from workers.settings import load_settings

KUBERNETES = Path(__file__).parents[2] / "infra" / "kubernetes"
MODELS = {"CronJob": client.V1CronJob, "ServiceAccount": client.V1ServiceAccount}


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """By kind."""
    documents = yaml.safe_load_all((KUBERNETES / "refresh-cronjob.yaml").read_text())
    return {item["kind"]: item for item in documents}


@pytest.fixture(scope="module")
def cron_job(objects: dict[str, Any]) -> Any:
    return client.V1CronJob.from_dict(objects["CronJob"])


@pytest.fixture(scope="module")
def pod(cron_job: Any) -> Any:
    return cron_job.spec.job_template.spec.template.spec


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    [found] = pod.containers
    return found


@pytest.fixture(scope="module")
def kustomization() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    return found


def as_understood(model: Any, document: dict[str, Any]) -> Any:
    """A document without what its model does not know; raises where the model does not hold."""
    with client.ApiClient() as api:
        return api.sanitize_for_serialization(model.from_dict(document))


@pytest.mark.parametrize("kind", MODELS)
def test_it_is_an_object_of_its_kind(objects: dict[str, Any], kind: str) -> None:
    """Types and required fields hold; no field is unknown, as a misspelt one would be."""
    assert as_understood(MODELS[kind], objects[kind]) == objects[kind]


def test_a_misspelt_field_would_be_seen(objects: dict[str, Any]) -> None:
    """The check itself can fail."""
    spec = {**objects["CronJob"]["spec"], "concurencyPolicy": "Forbid"}
    misspelt = {**objects["CronJob"], "spec": spec}
    assert as_understood(client.V1CronJob, misspelt) != misspelt


def test_it_never_runs_into_itself(cron_job: Any, settings: Any) -> None:
    """A refresh that hangs is ended before the next; one that failed is left to the next."""
    minutes, *rest = cron_job.spec.schedule.split()
    assert rest == ["*"] * 4
    every = timedelta(minutes=int(minutes.removeprefix("*/")))
    assert every == settings.refresh_every
    job = cron_job.spec.job_template.spec
    assert timedelta(seconds=job.active_deadline_seconds) < every
    assert timedelta(seconds=cron_job.spec.starting_deadline_seconds) < every
    assert cron_job.spec.concurrency_policy == "Forbid"
    assert job.backoff_limit == 0
    assert job.template.spec.restart_policy == "Never"


def test_it_can_write_nothing_and_be_nobody_else(pod: Any, container: Any) -> None:
    """No root, no writable place, no token but those of two audiences."""
    assert pod.security_context.run_as_non_root
    assert pod.security_context.run_as_user > 0
    own = container.security_context
    assert own.read_only_root_filesystem
    assert own.allow_privilege_escalation is False
    assert own.capabilities.drop == ["ALL"]
    assert all(mount.read_only for mount in container.volume_mounts)
    assert not any(volume.empty_dir or volume.host_path for volume in pod.volumes)
    assert pod.automount_service_account_token is False


@pytest.fixture
def settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, container: Any, kustomization: dict[str, Any]
) -> Any:
    """The settings that the container reads, as its ConfigMap brings them."""
    monkeypatch.chdir(tmp_path)
    [generated] = kustomization["configMapGenerator"]
    read = PurePosixPath(variables(container)["LOWTIDE_CONFIG"])
    assert read.name in generated["files"]
    monkeypatch.setenv("LOWTIDE_CONFIG", str(KUBERNETES / read.name))
    return load_settings()


def variables(container: Any) -> dict[str, str]:
    return {item.name: item.value for item in container.env}


def test_settings_of_production_hold(settings: Any) -> None:
    """Live signals, DynamoDB, history on S3, keys from Vault by the pod's own identity."""
    assert (settings.signals.source, settings.store.kind) == ("live", "dynamodb")
    assert settings.history.kind == "s3"
    assert (settings.secrets.kind, settings.secrets.login) == ("vault", "kubernetes")


def test_what_settings_name_is_where_they_say(
    settings: Any, pod: Any, container: Any, kustomization: dict[str, Any]
) -> None:
    """The ConfigMap is mounted under its file; each token lies where its reader looks."""
    volumes = {volume.name: volume for volume in pod.volumes}
    mounted = {mount.mount_path: volumes[mount.name] for mount in container.volume_mounts}
    told = variables(container)

    def folder_of(path: object) -> Any:
        return mounted[str(PurePosixPath(str(path)).parent)]

    [generated] = kustomization["configMapGenerator"]
    assert folder_of(told["LOWTIDE_CONFIG"]).config_map.name == generated["name"]
    for path, audience in (
        (settings.secrets.credential_file, "vault"),
        (told["AWS_WEB_IDENTITY_TOKEN_FILE"], "sts.amazonaws.com"),
    ):
        tokens = {
            source.service_account_token.path: source.service_account_token.audience
            for source in folder_of(path).projected.sources
        }
        assert tokens[PurePosixPath(str(path)).name] == audience


def test_it_runs_a_command_that_there_is(
    container: Any, pod: Any, objects: dict[str, Any], kustomization: dict[str, Any]
) -> None:
    """With its options, in the image that the kustomization names, as its own account."""
    assert CliRunner().invoke(app, [*container.args, "--help"]).exit_code == 0
    assert [image["name"] for image in kustomization["images"]] == [container.image]
    assert pod.service_account_name == objects["ServiceAccount"]["metadata"]["name"]
