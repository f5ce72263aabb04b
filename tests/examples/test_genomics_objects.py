"""Storage: the same three methods on a folder, on S3 and on Google's."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.genomics import objects_gs
from examples.genomics.analysis import Parameters
from examples.genomics.objects import Location, ObjectsUnavailable, UnknownLocation, location
from examples.genomics.results import OtherResult, Results
from tests.examples.conftest import BUCKET
from tests.servers.aws import CREDENTIALS
from tests.servers.objects import Fault, ObjectServer

WORK = Parameters().work
BY = {"attempt": 2, "region": "aws:eu-central-1"}
MANY_FAULTS = 50


@pytest.fixture(params=["file", "s3-moto", "s3", "gs"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of the test's own on each kind of storage."""
    match request.param:
        case "file":
            return (tmp_path / "a folder").as_uri()
        case "s3-moto":
            request.getfixturevalue("moto")
            return f"s3://{BUCKET}/{tmp_path.name}"
        case kind:
            request.getfixturevalue(kind)
            return f"{kind}://bucket/job-default-x/output"


@pytest.fixture
def here(uri: str) -> Location:
    return location(uri, "aws:eu-central-1")


def test_an_object_is_read_as_it_was_last_written(here: Location) -> None:
    """And none is none."""
    assert here.read("x") is None
    here.replace("x", b"one")
    here.replace("x", b"two")
    assert here.read("x") == b"two"
    assert here.read("y") is None


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_any_bytes_are_kept(here: Location, data: bytes) -> None:
    """Line ends and what looks like a boundary too."""
    here.replace("x", data)
    assert here.read("x") == data


def test_an_object_is_created_once(here: Location) -> None:
    """What stands is not replaced."""
    assert here.create("x", b"one") is True
    assert here.create("x", b"two") is False
    assert here.read("x") == b"one"


def test_of_several_that_create_at_once_one_does(uri: str) -> None:
    """And what stands is whole and its own."""
    places = [location(uri, "aws:eu-central-1") for _ in range(4)]
    together = threading.Barrier(len(places))
    created = [False] * len(places)

    def create(number: int) -> None:
        together.wait()
        created[number] = places[number].create("x", f"of {number}".encode())

    threads = [threading.Thread(target=create, args=(number,)) for number in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created.count(True) == 1
    assert places[0].read("x") == f"of {created.index(True)}".encode()


def test_a_folder_holds_nothing_but_the_objects(tmp_path: Path) -> None:
    """What they were written to first is gone."""
    here = location(tmp_path.as_uri())
    here.replace("x", b"one")
    here.create("x", b"two")
    here.create("y", b"two")
    assert {"x", "y"} == {entry.name for entry in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "uri", ["ftp://host/x", "/a/path", "file://elsewhere/x", "file:///", "s3:///x", "gs:", ""]
)
def test_an_unknown_place_is_refused(uri: str) -> None:
    """The error says what is known."""
    with pytest.raises(UnknownLocation, match="file, s3, gs"):
        location(uri)


# ── what a storage does on bad days ──────────────────────────────────────────────────────────────


@pytest.fixture(params=["s3", "gs"])
def results(request: pytest.FixtureRequest) -> Results:
    request.getfixturevalue(request.param)
    return Results(location(f"{request.param}://bucket/job", "aws:eu-central-1"), WORK)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNAVAILABLE])
def test_a_commit_whose_answer_is_lost_counts(
    results: Results, storage: ObjectServer, fault: Fault
) -> None:
    """Asked again, the storage says that a result stands: it is this attempt's own."""
    storage.faults.append(fault)
    standing = results.commit({"variants": []}, BY)
    assert standing.attempt == 2
    assert storage.writes == 2
    assert len(storage.objects) == 1


def test_a_write_that_met_another_one_is_tried_again(s3: ObjectServer) -> None:
    """S3 does not say which of the two came through."""
    s3.faults += [Fault.CONFLICT, Fault.CONFLICT]
    assert location("s3://bucket/job").create("x", b"one") is True
    assert s3.writes == 3


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.CONFLICT])
def test_a_storage_that_stays_away_is_told(
    results: Results, storage: ObjectServer, fault: Fault
) -> None:
    """After some tries; nothing is claimed to stand."""
    storage.faults += [fault] * MANY_FAULTS
    with pytest.raises(ObjectsUnavailable):
        results.commit({"variants": []}, BY)
    storage.faults.clear()
    assert results.standing() is None


def test_a_storage_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that refuses."""
    nobody = "http://127.0.0.1:9"
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": nobody}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", nobody)
    for uri in ("s3://bucket/job", "gs://bucket/job"):
        with pytest.raises(ObjectsUnavailable):
            location(uri).read("x")


def test_google_tokens_come_from_the_metadata_server(
    storage: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Workload Identity gives them; one that is refused is renewed."""
    storage.wants_token = True
    monkeypatch.setenv("GCE_METADATA_HOST", storage.address)
    monkeypatch.setenv("GCE_METADATA_IP", storage.address)
    monkeypatch.setenv("HOME", "/nowhere")  # no credentials of the developer's own
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setattr(objects_gs, "HOST", storage.url)
    here = location("gs://bucket/job")
    assert here.create("x", b"one") is True
    storage.expire_token()
    assert here.create("x", b"two") is False
    assert here.read("x") == b"one"


# ── results ──────────────────────────────────────────────────────────────────────────────────────


def test_a_late_lower_attempt_never_replaces(here: Location) -> None:
    """What is told is whose result stands."""
    results = Results(here, WORK)
    first = results.commit({"variants": [1]}, BY)
    late = results.commit({"variants": [2]}, BY | {"attempt": 1})
    assert first == late
    assert late.attempt == 2


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"work":1}'])
def test_what_is_no_result_is_left_alone(tmp_path: Path, data: bytes) -> None:
    """Nothing is put in its place."""
    here = location(tmp_path.as_uri())
    here.replace("result.json", data)
    with pytest.raises(OtherResult):
        Results(here, WORK).commit({"variants": []}, BY)
    assert here.read("result.json") == data


def test_a_result_of_other_parameters_is_told(tmp_path: Path) -> None:
    """Not taken for one's own."""
    here = location(tmp_path.as_uri())
    Results(here, Parameters(seed=1).work).commit({"variants": []}, BY)
    with pytest.raises(OtherResult, match="other parameters"):
        Results(here, Parameters(seed=2).work).standing()
