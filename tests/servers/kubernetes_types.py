"""What the simulated API server takes: the published types, and some of the API's own rules.

The types are the official client's models, which are generated from the published OpenAPI and
forbid what it does not know. A real server would warn of an unknown field and drop it unless asked
to be strict; this one always refuses, so that no mistake goes unseen.
"""

from __future__ import annotations

import re
from typing import Any

from kubernetes.aio import client
from pydantic import BaseModel, ValidationError

from tests.servers.kubernetes_store import Failure, Object, copied

MODELS: dict[str, type[BaseModel]] = {"jobs": client.V1Job, "pods": client.V1Pod}

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([\w.-]{0,61}\w)?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_VARIABLE = re.compile(r"[ -<>-~]+")
"""Printable ASCII but ``=``, as since Kubernetes 1.34."""

MAX_ANNOTATIONS_BYTES = 256 * 1024
FIXED = ("selector", "template", "completions", "completionMode", "podFailurePolicy")
"""Parts of a Job that cannot be changed."""


def require_typed(resource: str, item: Object) -> None:
    """Raise ``Failure`` 422 unless an object is of its published type."""
    try:
        model: Any = MODELS[resource].model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Failure(422, f"{where}: {first['msg']}") from None
    # The models also take Python's names of fields, which are none on the wire.
    unknown = _names(item) - _names(model.to_dict(serialize=True))
    if unknown:
        raise Failure(422, f"unknown fields: {', '.join(sorted(unknown))}")


def _names(item: Any) -> set[str]:
    if isinstance(item, dict):
        return {key for key, value in item.items() if value is not None}.union(
            *(_names(value) for value in item.values())
        )
    if isinstance(item, list):
        return set[str]().union(*(_names(value) for value in item))
    return set()


def require_valid_job(job: Object) -> None:
    """Raise ``Failure`` 422 where a Job breaks a rule that types do not tell."""
    _require_metadata(job["metadata"])
    spec = job.get("spec") or {}
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    _require_labels(template.get("metadata") or {})
    _require(
        pod.get("restartPolicy") in {"Never", "OnFailure"},
        'spec.template.spec.restartPolicy: Unsupported value: supported values: "OnFailure",'
        ' "Never"',
    )
    for name in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "parallelism"):
        _require(spec.get(name, 0) >= 0, f"spec.{name}: must be greater than or equal to 0")
    if spec.get("podFailurePolicy"):
        _require(
            pod["restartPolicy"] == "Never",
            "spec.template.spec.restartPolicy: only Never when podFailurePolicy is used",
        )
        _require(
            spec.get("podReplacementPolicy", "Failed") == "Failed",
            "spec.podReplacementPolicy: only Failed when podFailurePolicy is used",
        )
        for rule in spec["podFailurePolicy"]["rules"]:
            _require_rule(rule)
    _require_pod(pod)


def _require_rule(rule: Object) -> None:
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
    _require(
        bool(codes) != bool(conditions), "rules: one of onExitCodes and onPodConditions is required"
    )
    if codes and codes["operator"] == "In":
        _require(0 not in codes["values"], "onExitCodes.values: must not be 0 for the In operator")


def _require_pod(pod: Object) -> None:
    containers = pod.get("containers") or []
    _require(bool(containers), "spec.template.spec.containers: Required value")
    limit_s = pod.get("activeDeadlineSeconds", 1)
    _require(limit_s >= 1, "spec.template.spec.activeDeadlineSeconds: must be 1 or more")
    for container in containers:
        _require(bool(container.get("image")), "containers[0].image: Required value")
        for variable in container.get("env") or ():
            _require(
                _VARIABLE.fullmatch(variable["name"]) is not None,
                f"env: Invalid value: {variable['name']!r}",
            )
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for quantity in [*requests.values(), *limits.values()]:
            _require(_QUANTITY.fullmatch(quantity) is not None, f"quantity: {quantity!r}")
        for name, quantity in requests.items():
            if "/" in name:
                _require(limits.get(name) == quantity, f"limits: must equal requests of {name}")


def require_same_job(before: Object, after: Object) -> None:
    """Raise ``Failure`` 422 where a change touches what is fixed."""
    for name in FIXED:
        _require(
            before["spec"].get(name) == after["spec"].get(name),
            f"spec.{name}: Invalid value: field is immutable",
        )


def _require_metadata(metadata: Object) -> None:
    name = metadata.get("name", "")
    _require(
        _NAME.fullmatch(name) is not None, f"metadata.name: Invalid value: {name!r}: RFC 1123 label"
    )
    _require_labels(metadata)


def _require_labels(metadata: Object) -> None:
    annotations = metadata.get("annotations") or {}
    for key, value in (metadata.get("labels") or {}).items():
        _require(_LABEL_KEY.fullmatch(key) is not None, f"metadata.labels: Invalid key {key!r}")
        _require(_LABEL_VALUE.fullmatch(value) is not None, f"metadata.labels: Invalid: {value!r}")
    size = sum(len(key) + len(value) for key, value in annotations.items())
    _require(size <= MAX_ANNOTATIONS_BYTES, "metadata.annotations: Too long")


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise Failure(422, message)


# ── patches ──────────────────────────────────────────────────────────────────────────────────

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def patched(item: Object, patch: Any, content_type: str) -> Object:
    """An object with a patch applied, of one of the three types that clients send.

    Of strategic merge only what a Job's own fields need: maps merge, lists are replaced.
    """
    after = copied(item)
    if content_type == JSON_PATCH:
        for operation in patch:
            _operate(after, operation)
        return after
    if content_type not in {MERGE, STRATEGIC}:
        raise Failure(415, f"the body of the request was in an unknown format: {content_type}")
    _merge(after, patch)
    return after


def _merge(into: Object, patch: Object) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            below = into.get(key)
            into[key] = below if isinstance(below, dict) else {}
            _merge(into[key], value)
        else:
            into[key] = value


def _operate(item: Any, operation: Object) -> None:
    *path, last = [
        part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
    ]
    holder = item
    for part in path:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    match operation["op"]:
        case "test" if holder.get(last) != operation["value"]:
            raise Failure(422, f"the test of {operation['path']} failed")
        case "remove":
            del holder[last]
        case "add" | "replace":
            holder[last] = operation["value"]
