"""Manifests that must be refused: each with the field, the value and the remedy its error names."""

from __future__ import annotations

from dataclasses import dataclass

LINES = {
    "name": "nightly",
    "image": "registry.example/genomics/align:1.0",
    "resources": "{vcpus: 4, memory_gib: 8}",
    "deadline": "+8h",
    "runtime": "40m",
    "p95_runtime": "55m",
    "max_runtime": "2h",
    "residency": "eu",
    "home_region": "aws:eu-central-1",
}
"""A manifest that is as it should be, a line a field."""


def manifest_text(**changed: str | None) -> str:
    """The manifest with some lines changed; ``None`` leaves a line out."""
    lines = LINES | changed
    return "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and what the one error must say."""

    text: str
    field: str
    value: str
    remedy: str


def changed(field: str, value: str, remedy: str, **lines: str | None) -> Fault:
    return Fault(manifest_text(**lines), field, value, remedy)


NESTED = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
LAUGHS = f"a0: &a0 [lol, lol, lol]\n{NESTED}command: *a19\n"
MERGES = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
)

IN_THE_TEXT = {
    "deadline without a zone": changed(
        "deadline", "2030-01-01T00:00:00", "with a time zone", deadline="2030-01-01T00:00:00"
    ),
    "deadline that is no instant": changed(
        "deadline",
        "2030-02-30T00:00:00Z",
        "as 2026-11-25T06:00:00Z",
        deadline="2030-02-30T00:00:00Z",
    ),
    "deadline beyond the calendar": changed(
        "deadline", "9999-12-31", "up to the year 2200", deadline="9999-12-31T23:59:59Z"
    ),
    "wait beyond the calendar": changed(
        "deadline", "+99999999999d", "or +8h from now", deadline="+99999999999d"
    ),
    "no vCPUs": changed(
        "resources.vcpus", "0", "greater than 0", resources="{vcpus: 0, memory_gib: 8}"
    ),
    "vCPUs without an end": changed(
        "resources.vcpus", ".inf", "a valid number", resources="{vcpus: .inf, memory_gib: 8}"
    ),
    "a number over every float": changed(
        "max_cost_usd", "inf", "a finite number", max_cost_usd="1.0e999"
    ),
    "p95 below runtime": changed(
        "p95_runtime", "30m", "at least runtime, which is 0:40:00", p95_runtime="30m"
    ),
    "max below p95": changed(
        "max_runtime", "50m", "at least p95_runtime, which is 0:55:00", max_runtime="50m"
    ),
    "runtime of nothing": changed("runtime", "0s", "above zero, as 40m", runtime="0s"),
    "runtime that overflows": changed(
        "runtime", "99999999999999d", "a duration, as 90s", runtime="99999999999999d"
    ),
    "max_runtime of years": changed(
        "max_runtime", "4000d", "366 days at most", max_runtime="4000d"
    ),
    "no image": changed("image", "nothing", "this field is required", image=None),
    "empty image": changed("image", "''", "at least 1 character", image='""'),
    "GPUs without a model": changed(
        "resources.gpu_model",
        "nothing",
        "as t4 or a100-80",
        resources="{vcpus: 4, memory_gib: 8, gpus: 1}",
    ),
    "a variable of ours": changed(
        "environment.LOWTIDE_JOB",
        "LOWTIDE_JOB",
        "without LOWTIDE_",
        environment='{LOWTIDE_JOB: "x"}',
    ),
    "a variable with NUL": changed(
        "environment.A", r"\x00", "text without NUL", environment='{A: "x\\0"}'
    ),
    "a number as a variable's value": changed(
        "environment.A", "17", "a valid string", environment="{A: 17}"
    ),
    "unknown field": changed(
        "imagge", "'x'", "examples/manifest.yaml documents, perhaps image", imagge="x"
    ),
    "unknown field within": changed(
        "resources.vcpu",
        "4",
        "perhaps vcpus",
        resources="{vcpu: 4, vcpus: 4, memory_gib: 8}",
    ),
    "a name with capitals": changed("name", "Nightly", "lower-case letters", name="Nightly"),
    "a name like a full id": changed("name", "job-a-b", "marks a full id", name="job-a-b"),
    "a tenant with a hyphen": changed("tenant", "gen-omics", "32 at most", tenant="gen-omics"),
    "unknown flexibility": changed(
        "flexibility", "maybe", "'flexible' or 'urgent'", flexibility="maybe"
    ),
    "a field twice": Fault(
        manifest_text() + "image: another\n", "manifest", "line 10, column 1", "'image' twice"
    ),
    "malformed YAML": Fault(
        manifest_text(image="[x"), "manifest", "line 3, column 10", "well-formed YAML or JSON"
    ),
    "two documents": Fault(
        f"{manifest_text()}---\n{manifest_text()}", "manifest", "line 10", "another document"
    ),
    "a list": Fault("- nightly\n", "manifest", "a list", "fields, as in examples/manifest.yaml"),
    "nothing at all": Fault("", "manifest", "nothing", "fields, as in examples/manifest.yaml"),
    "a tag": Fault("!!python/name:os.system\n", "manifest", "line 1", "tags are not taken"),
    "a billion laughs": Fault(LAUGHS, "manifest", "line 2", "aliases are not taken"),
    "merges that double": Fault(MERGES, "manifest", "line 2", "aliases are not taken"),
    "brackets without an end": Fault("[" * 100_000, "manifest", "line 1", "nested too deeply"),
    "over 24 KiB": changed(
        "manifest",
        "bytes in canonical form",
        "at most 24576 bytes",
        environment=f'{{A: "{"x" * 24_600}"}}',
    ),
    "10 MB": Fault("#" * 10_000_000, "manifest", "over 131072 bytes", "at most 131072 bytes"),
}
"""Found by reading alone, wherever a manifest is read."""

LATE = changed(
    "deadline", "2020-01-01T00:00:00+00:00", "an instant after now", deadline="2020-01-01T00:00:00Z"
)
"""Found by the client."""

AT_ADMISSION = {
    "unknown residency class": changed(
        "residency", "moon", "a class of the policy: eu", residency="moon"
    ),
    "unknown home region": changed(
        "home_region",
        "aws:eu-centrl-1",
        "perhaps aws:eu-central-1",
        home_region="aws:eu-centrl-1",
    ),
    "home region outside the class": changed(
        "home_region",
        "aws:eu-west-3",
        "a region that residency 'germany' allows: aws:eu-central-1",
        residency="germany",
        home_region="aws:eu-west-3",
    ),
    "unknown region of an input": changed(
        "inputs.0.region",
        "aws:eu-nowhere-1",
        "`lowtide regions` lists",
        inputs='[{uri: "s3://x", region: "aws:eu-nowhere-1", gib: 1}]',
    ),
    "unknown GPU model": changed(
        "resources.gpu_model",
        "z9",
        "one of a100, a100-80",
        resources="{vcpus: 4, memory_gib: 8, gpus: 1, gpu_model: z9}",
    ),
    "more than any region can run": changed(
        "residency",
        "germany",
        "can run 90000 vCPUs, 8 GiB and 0 GPUs (none); legal are aws:eu-central-1",
        residency="germany",
        resources="{vcpus: 90000, memory_gib: 8}",
    ),
    "a GPU that no legal region has": changed(
        "residency",
        "germany",
        "4 vCPUs, 8 GiB and 1 GPUs (h100)",
        residency="germany",
        resources="{vcpus: 4, memory_gib: 8, gpus: 1, gpu_model: h100}",
    ),
}
"""Found by the worker, which knows policy and catalogue."""
