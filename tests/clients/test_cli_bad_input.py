"""Bad input through the command: exit code 2, one line, nothing half done."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.cli import app
from tests.clients.site import Site
from tests.domain.faults import AT_ADMISSION, IN_THE_TEXT, LATE, Fault

Done = subprocess.CompletedProcess[str]

AS_A_PROCESS = (
    "deadline without a zone",
    "no vCPUs",
    "p95 below runtime",
    "max below p95",
    "no image",
    "malformed YAML",
    "a billion laughs",
    "10 MB",
)


def assert_told(done: Done, *told: str) -> None:
    """One line on standard error with these words in it, and nothing on standard output."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    for words in told:
        assert words in line


@pytest.mark.parametrize("fault", IN_THE_TEXT.values(), ids=IN_THE_TEXT)
@pytest.mark.parametrize("command", ["submit", "explain"])
def test_a_faulty_manifest_is_told_in_one_line(fault: Fault, command: str) -> None:
    """From standard input, before any server or store is asked."""
    done = CliRunner().invoke(app, [command, "-"], input=fault.text)
    assert done.exit_code == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {fault.field}: ")
    assert fault.value in line
    assert fault.remedy in line


@pytest.fixture(scope="module")
def refused(idle: Site, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Done]:
    """Commands on a machine where no server runs, each with something wrong."""
    files = tmp_path_factory.mktemp("files")
    for name in AS_A_PROCESS:
        (files / name).write_text(IN_THE_TEXT[name].text)
    (files / "binary").write_bytes(bytes(range(256)) * 8)
    (files / "markup").write_text('"[/red]": "[bold]"\n')
    names = (*AS_A_PROCESS, "absent", "folder", "binary", "markup")
    (files / "folder").mkdir()
    done = idle.together(*(("submit", str(files / name)) for name in names))
    return dict(zip(names, done, strict=True))


@pytest.mark.parametrize("name", AS_A_PROCESS)
def test_the_process_ends_with_two_and_one_line(refused: Mapping[str, Done], name: str) -> None:
    """Field, value and remedy; no traceback, no half-written output."""
    fault = IN_THE_TEXT[name]
    assert_told(refused[name], f"{fault.field}: ", fault.value, fault.remedy)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("absent", "a readable file (No such file or directory)"),
        ("folder", "a readable file (Is a directory)"),
        ("binary", "UTF-8 text in YAML or JSON"),
    ],
)
def test_an_unreadable_file_is_told(refused: Mapping[str, Done], file: str, told: str) -> None:
    """By its name, with the system's reason."""
    assert_told(refused[file], "FILE: ", f"{file} is not allowed; expected {told}")


def test_what_a_user_wrote_is_shown_as_it_is(refused: Mapping[str, Done]) -> None:
    """Brackets are no markup: they neither vanish nor break the message."""
    done = refused["markup"]
    assert done.returncode == 2
    assert "[/red]: '[bold]' is not allowed" in done.stderr


def test_bad_settings_are_told(idle: Site) -> None:
    """By the names that they have in the environment, all at once."""
    done = idle.run("regions", LOWTIDE_POLCY="x", LOWTIDE_PRICES="absent")
    assert done.returncode == 2
    lines = sorted(done.stderr.splitlines())
    assert lines[0].startswith(
        "error: LOWTIDE_POLCY: what it holds is not allowed; expected a field"
    )
    assert lines[1] == (
        "error: LOWTIDE_PRICES: 'absent' is not allowed; expected a file that is there"
    )
    assert len(lines) == 2


def test_a_folder_that_cannot_be_made_is_told(idle: Site) -> None:
    """With the system's reason."""
    assert_told(
        idle.run("regions", LOWTIDE_STATE_DIR="/proc/nowhere"),
        "/proc/nowhere: No such file or directory",
    )


def test_the_demo_empties_no_folder_that_it_did_not_make(idle: Site, tmp_path: Path) -> None:
    """A mistyped ``--state`` costs nothing, be it a thesis or the folder of ``lowtide dev``."""
    for name in ("thesis.tex", "temporal.db"):
        precious = tmp_path / name
        precious.write_text("x")
        assert_told(idle.call("demo", "--state", str(tmp_path)), "--state: ", "an earlier demo's")
        assert precious.exists()
        precious.unlink()


class TestWithAServer:
    """What only client and worker together can tell; ``test_sdk.py`` has the rest."""

    @pytest.mark.parametrize("name", ["unknown residency class", "more than any region can run"])
    def test_a_refusal_by_the_worker(self, site: Site, name: str) -> None:
        """It reaches the person who submits, as one line."""
        fault = AT_ADMISSION[name]
        (site.folder / "refused.yaml").write_text(fault.text.replace("nightly", "cli-refused"))
        assert_told(
            site.run("submit", "refused.yaml"), f"{fault.field}: {fault.value}", fault.remedy
        )

    def test_a_deadline_in_the_past(self, site: Site) -> None:
        """Nothing is started for it."""
        (site.folder / "late.yaml").write_text(LATE.text.replace("nightly", "cli-late"))
        assert_told(
            site.call("submit", str(site.folder / "late.yaml")),
            f"{LATE.field}: {LATE.value}",
            LATE.remedy,
        )
        assert site.json("list", "--query", 'WorkflowId="job-default-cli-late"') == []

    def test_a_second_manifest_under_a_name(self, site: Site) -> None:
        """It is refused, whatever differs; the first one goes on."""
        assert site.json("submit", site.file("cli-twice"))["phase"] == "Deferred"
        (site.folder / "other.yaml").write_text(site.text("cli-twice", retries="3"))
        assert_told(
            site.call("submit", str(site.folder / "other.yaml")),
            "name: job-default-cli-twice",
            "taken by a manifest with another content",
        )
        assert site.json("show", "cli-twice")["phase"] == "Deferred"

    def test_questions_that_make_no_sense(self, site: Site) -> None:
        """An unknown job, a filter that Temporal cannot read, a deadline that is none."""
        unknown = site.call("show", "no-such-job")
        filtered = site.call("list", "--query", "Phase==")
        deadline = site.call("change-deadline", "cli-twice", "tomorrow", "--reason", "x")
        assert_told(unknown, "name: no job job-default-no-such-job", "`lowtide list` shows")
        assert_told(filtered, "Temporal: ")
        assert_told(deadline, "deadline: tomorrow", "2026-11-25T06:00:00Z, or +8h from now")
