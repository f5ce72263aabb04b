from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import structlog

from workers.logs import configure
from workers.settings import Settings


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def fails() -> None:
    secret = "a local that no log shows"  # noqa: F841, S105
    raise ValueError("in two\nlines")


def say() -> None:
    """A line of each kind that the product and Temporal's SDK write."""
    log = logging.getLogger("lowtide.test")
    log.debug("not shown")
    log.info("plain %s", "text")
    log.warning('quotes " and\nlines', extra={"job": "job-default-x"})
    with structlog.contextvars.bound_contextvars(region="aws:eu-north-1"):
        log.info("bound")
    try:
        fails()
    except ValueError:
        log.exception("failed")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a record holds, a collector reads level, logger, time and text of each line."""
    configure(Settings(log_format="json"))
    say()
    out, err = capsys.readouterr()
    assert out == ""
    plain, quoted, bound, failed = map(json.loads, err.splitlines())
    assert (plain["event"], plain["level"], plain["logger"]) == (
        "plain text",
        "info",
        "lowtide.test",
    )
    assert datetime.fromisoformat(plain["timestamp"]).utcoffset() == timedelta(0)
    assert (quoted["event"], quoted["job"]) == ('quotes " and\nlines', "job-default-x")
    assert bound["region"] == "aws:eu-north-1"
    assert "ValueError: in two\nlines" in failed["exception"]


def test_people_read_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure is a short traceback: no frames' locals, no boxes."""
    configure(Settings(log_format="console"))
    say()
    err = capsys.readouterr().err
    assert "plain text" in err
    assert "job=job-default-x" in err
    assert "ValueError: in two" in err
    assert "a local that no log shows" not in err.replace('secret = "', "")
    assert len(err.splitlines()) < 20


def test_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """Below it nothing is written."""
    configure(Settings(log_level="error"))
    say()
    assert [line for line in capsys.readouterr().err.splitlines() if "[info" in line] == []


def test_debug_is_ours_and_temporals(capsys: pytest.CaptureFixture[str]) -> None:
    """Libraries that show headers at that level are heard from the next one on."""
    configure(Settings(log_level="debug"))
    for name in ("activities.refresh", "temporalio.worker", "httpcore.http11", "botocore.auth"):
        logging.getLogger(name).debug("debug of %s", name)
        logging.getLogger(name).info("info of %s", name)
    err = capsys.readouterr().err
    assert "debug of activities" in err
    assert "debug of temporalio" in err
    assert "debug of httpcore" not in err
    assert "debug of botocore" not in err
    assert err.count("info of") == 4
