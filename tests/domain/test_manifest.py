from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.errors import (
    DeadlinePassed,
    DomainError,
    InvalidFields,
    InvalidManifest,
    ManifestTooLarge,
)
from domain.manifest import (
    MAX_CANONICAL_BYTES,
    Flexibility,
    JobManifest,
    parse_duration,
    parse_manifest,
    read_manifest,
)
from domain.problems import MAX_PROBLEMS
from tests.domain.faults import IN_THE_TEXT, Fault, manifest_text

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)

FIXED = {
    "name": "align-sample-17",
    "image": "registry.example/genomics/align:1.4.2",
    "command": ["align", "--sample", "17"],
    "environment": {"SAMPLE": "17", "Ä": "ö"},
    "resources": {"vcpus": 4, "memory_gib": 8.5},
    "deadline": "2026-11-25T06:00:00Z",
    "runtime": "40m",
    "p95_runtime": "55m",
    "max_runtime": "2h",
    "residency": "eu",
    "home_region": "aws:eu-central-1",
    "inputs": [{"uri": "s3://genomes/17", "region": "aws:eu-central-1", "gib": 0.2}],
    "retries": 1,
}


def read(text: str, deadline: str | None = None) -> JobManifest:
    return read_manifest(text, now=NOW, deadline=deadline)


def taken_or_told(data: object) -> JobManifest | DomainError:
    try:
        return parse_manifest(data)
    except DomainError as error:
        return error


class TestFaults:
    @pytest.mark.parametrize("fault", IN_THE_TEXT.values(), ids=IN_THE_TEXT)
    def test_one_error_names_field_value_and_remedy(self, fault: Fault) -> None:
        """Whatever is wrong, there is one problem, and it says all three."""
        with pytest.raises(DomainError) as raised:
            read(fault.text)
        if isinstance(raised.value, InvalidFields):
            [problem] = raised.value.problems
        else:
            problem = raised.value.problem  # type: ignore[attr-defined]
        assert fault.field == problem.field
        assert fault.value in problem.value
        assert fault.remedy in problem.allowed
        assert len(str(raised.value)) < 400

    def test_each_faulty_field_has_its_problem(self) -> None:
        """Two faults are told at once, not one after the other."""
        with pytest.raises(InvalidManifest) as raised:
            read(manifest_text(image=None, residency=None))
        assert {"image", "residency"} == {item.field for item in raised.value.problems}

    def test_a_thousand_faults_are_told_in_part(self) -> None:
        """An error is read by people: it stays short."""
        with pytest.raises(InvalidManifest) as raised:
            read(manifest_text() + "".join(f"unknown{n}: 1\n" for n in range(1000)))
        assert len(raised.value.problems) == MAX_PROBLEMS

    @pytest.mark.parametrize("name", ["a billion laughs", "merges that double"])
    def test_a_bomb_takes_no_memory(self, name: str) -> None:
        """A few hundred bytes of aliases that stand for gigabytes are refused before they do."""
        tracemalloc.start()
        try:
            with pytest.raises(InvalidManifest):
                read(IN_THE_TEXT[name].text)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10_000_000

    def test_the_constructor_refuses_as_well(self) -> None:
        """A program that builds a manifest field by field meets the same walls, as Pydantic's."""
        with pytest.raises(ValidationError, match="at least runtime"):
            JobManifest.model_validate(FIXED | {"p95_runtime": "30m"})
        with pytest.raises(ValidationError, match="finite number"):
            JobManifest.model_validate(FIXED | {"max_cost_usd": float("inf")})

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*FIXED, "x"]), inner, max_size=8)
            ),
            max_leaves=20,
        )
    )
    def test_any_data_is_a_manifest_or_a_told_error(self, data: object) -> None:
        """No input makes anything but a manifest or a ``DomainError``."""
        found = taken_or_told(data)
        assert isinstance(found, JobManifest) or 0 < len(str(found)) < 10_000

    @given(st.text(alphabet="ab:{}[],&*!|>-?%@#\"'\n\t 01.~", max_size=60))
    def test_any_text_is_a_manifest_or_a_told_error(self, text: str) -> None:
        """No text makes the reader fail in another way."""
        with pytest.raises(DomainError):
            read(text)

    @given(st.sampled_from(sorted(FIXED)), st.text(max_size=30))
    def test_any_value_of_any_field_is_taken_or_told(self, field: str, value: str) -> None:
        """One field with any text in it."""
        found = taken_or_told(FIXED | {field: value})
        if isinstance(found, InvalidFields):
            assert {field} == {item.field.partition(".")[0] for item in found.problems}


class TestReading:
    def test_yaml_and_json_are_the_same_manifest(self) -> None:
        """Also JSON that a program indented by tabs."""
        as_yaml = (
            "image: registry.example/genomics/align:1.4.2\nname: align-sample-17\n"
            "command: [align, --sample, '17']\nenvironment: {SAMPLE: '17', Ä: ö}\n"
            "resources: {vcpus: 4, memory_gib: 8.5}\ndeadline: 2026-11-25T06:00:00Z\n"
            "runtime: 40m\np95_runtime: 55m\nmax_runtime: 2h\nresidency: eu\nretries: 1\n"
            "home_region: aws:eu-central-1\n"
            "inputs:\n  - {uri: s3://genomes/17, region: aws:eu-central-1, gib: 0.2}\n"
        )
        expected = parse_manifest(FIXED)
        assert expected == read(as_yaml)
        assert expected == read(json.dumps(FIXED))
        assert expected == read(json.dumps(FIXED, indent="\t"))

    def test_words_that_old_yaml_takes_for_something_else_stay_words(self) -> None:
        """Norway is a country, 010 a sample, 1:30 no number of seconds."""
        manifest = read(manifest_text(environment="{COUNTRY: NO, DEBUG: on, S: 010, T: 1:30}"))
        assert manifest.environment == {"COUNTRY": "NO", "DEBUG": "on", "S": "010", "T": "1:30"}

    def test_a_relative_deadline_becomes_an_instant(self) -> None:
        """Counted from now; the option outranks the file."""
        assert read(manifest_text(deadline="+8h")).deadline == NOW + timedelta(hours=8)
        assert read(manifest_text(), deadline="+90m").deadline == NOW + timedelta(minutes=90)
        assert read(manifest_text(deadline=None), deadline="+1h").deadline == NOW + timedelta(
            hours=1
        )

    def test_defaults(self) -> None:
        """What may be left out."""
        manifest = read(manifest_text())
        assert manifest.workflow_id == "job-default-nightly"
        assert manifest.flexibility is Flexibility.FLEXIBLE
        assert manifest.retries == 0
        assert manifest.max_cost_usd is None

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90s", 90), ("40m", 2400), ("1h30m", 5400), ("2d", 172_800), ("0.5s", 0.5), (" 1m ", 60)],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        """Days to seconds, in that order."""
        assert parse_duration(text) == timedelta(seconds=seconds)

    @pytest.mark.parametrize("text", ["", "h", "1h2d", "-5m", "five", "1w"])
    def test_what_is_no_duration_is_left_for_the_model(self, text: str) -> None:
        """The model then says what is allowed."""
        assert parse_duration(text) == text


class TestIdentity:
    def test_the_hash_of_a_manifest_never_changes(self) -> None:
        """A ledger chain begins with it: the canonical form must stay what it was."""
        manifest = parse_manifest(FIXED)
        assert (
            manifest.canonical()
            == (
                '{"command":["align","--sample","17"],"deadline":"2026-11-25T06:00:00Z",'
                '"environment":{"SAMPLE":"17","Ä":"ö"},"flexibility":"flexible",'
                '"home_region":"aws:eu-central-1","image":"registry.example/genomics/align:1.4.2",'
                '"inputs":[{"gib":0.2,"region":"aws:eu-central-1","uri":"s3://genomes/17"}],'
                '"job_class":"batch","max_runtime":"PT2H","name":"align-sample-17",'
                '"p95_runtime":"PT55M","residency":"eu","resources":{"gpus":0,"memory_gib":8.5,'
                '"vcpus":4},"retries":1,"runtime":"PT40M","tenant":"default"}'
            ).encode()
        )
        assert manifest.sha256 == (
            "8977ba8c5fc130352117e58af287c71254a94e090d3d7353fbeb964cb376c8ca"
        )

    def test_the_canonical_form_is_a_manifest_again(self) -> None:
        """A step that finds it by its hash reads the same manifest."""
        manifest = parse_manifest(FIXED)
        assert JobManifest.model_validate_json(manifest.canonical()) == manifest

    @given(st.permutations(sorted(FIXED)))
    def test_the_order_of_fields_does_not_matter(self, fields: list[str]) -> None:
        """The same manifest in another order is the same manifest."""
        assert parse_manifest({name: FIXED[name] for name in fields}).sha256 == (
            parse_manifest(FIXED).sha256
        )

    def test_a_deadline_must_lie_ahead(self) -> None:
        """An instant, whatever zone it is told in."""
        berlin = timezone(timedelta(hours=1))
        manifest = parse_manifest(
            FIXED | {"deadline": datetime(2026, 11, 24, 3, 0, 1, tzinfo=berlin)}
        )
        manifest.require_deadline_after(NOW)
        with pytest.raises(DeadlinePassed, match="an instant after now"):
            manifest.require_deadline_after(NOW + timedelta(seconds=1))

    def test_the_size_is_the_canonical_forms(self) -> None:
        """Comments and layout of a file do not count, and 24 KiB exactly are taken."""
        room = MAX_CANONICAL_BYTES - len(parse_manifest(FIXED | {"command": [""]}).canonical())
        assert parse_manifest(FIXED | {"command": ["x" * room]})
        with pytest.raises(ManifestTooLarge, match="24577 bytes in canonical form"):
            parse_manifest(FIXED | {"command": ["x" * (room + 1)]})
        assert read("# a comment\n" * 5000 + manifest_text())
