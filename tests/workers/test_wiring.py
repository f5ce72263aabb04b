from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.errors import DomainError, InvalidPolicy, TraceUnreadable
from domain.forecast import Signal
from workers.settings import POLICIES
from workers.wiring import Parts, load_parts

COLUMNS = "time,DE,FR,SE-SE3\n"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of whoever runs the tests, and the root logger as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def parts(state: Path, **settings: object) -> Parts:
    return load_parts(state_dir=state, log_level="error", **settings)


def kept(state: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((state / "replay.json").read_text())
    return found


def pace(found: Parts) -> float:
    """Accounted seconds a second, as decisions see it."""
    return found.world.read(datetime.now(UTC)).time_scale


def test_a_restart_goes_on_in_the_same_trace_hour(tmp_path: Path) -> None:
    """How the trace lies on the clock is decided once for a state folder."""
    parts(tmp_path, trace={"hour_s": 2})
    first = kept(tmp_path)
    assert pace(parts(tmp_path, trace={"hour_s": 2})) == 1800
    assert kept(tmp_path) == first


def test_a_command_that_is_told_no_pace_follows_the_folders(tmp_path: Path) -> None:
    """It would account an hour for two seconds, and move the replay under a worker's feet."""
    parts(tmp_path, trace={"hour_s": 2})
    first = kept(tmp_path)
    assert pace(parts(tmp_path)) == 1800
    assert kept(tmp_path) == first


def test_another_pace_begins_another_replay(tmp_path: Path) -> None:
    """Whoever asks for it gets it."""
    parts(tmp_path, trace={"hour_s": 2})
    assert pace(parts(tmp_path, trace={"hour_s": 4})) == 900
    assert kept(tmp_path)["hour_s"] == 4


async def test_another_trace_may_be_named(tmp_path: Path) -> None:
    """A CSV of averages alone, of another year and shorter than one: it goes round."""
    trace = tmp_path / "trace.csv"
    hours = [f"2022-01-{1 + n // 24:02}T{n % 24:02}:00Z,400,50,{n}\n" for n in range(24 * 14)]
    trace.write_text(COLUMNS + "".join(hours))
    found = parts(tmp_path / "state", trace={"average": trace, "marginal": ""})
    await found.refresher.refresh(datetime.now(UTC))
    assert {item.signal for item in found.signals.forecasts()} == {Signal.AVERAGE}
    assert {item.zone for item in found.signals.forecasts()} == {"DE", "FR", "SE-SE3"}


@pytest.mark.parametrize(
    ("setting", "text", "error"),
    [
        ("policy", "version: [", InvalidPolicy),
        ("regions", "id,location\n", DomainError),
        ("prices", "region\n", DomainError),
        ("egress", "source_region\n", DomainError),
        ("trace", "time,DE\n2022-01-01T00:00Z,dirty\n", TraceUnreadable),
    ],
)
def test_a_bad_file_stops_the_start(
    tmp_path: Path, setting: str, text: str, error: type[Exception]
) -> None:
    """With an error of ours that names the place, not with a traceback of the parser's."""
    file = tmp_path / "bad"
    file.write_text(text)
    with pytest.raises(error, match=r"bad|line 1|policy"):
        parts(tmp_path / "state", **{setting: {"average": file} if setting == "trace" else file})


async def test_zones_are_those_of_enabled_regions(tmp_path: Path) -> None:
    """Each once, though two clouds may stand on one grid."""
    found = parts(tmp_path, policy=POLICIES / "default.yaml")
    report = await found.refresher.refresh(datetime.now(UTC))
    average = {item.zone for item in found.signals.forecasts() if item.signal is Signal.AVERAGE}
    assert average == set(found.catalogue.zones(Signal.AVERAGE, found.policy.regions))
    assert report.forecasts == len(found.signals.forecasts())
