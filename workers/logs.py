"""Structured logs: one line an event, for people on a terminal or as JSON for a collector."""

from __future__ import annotations

import logging
import sys

import structlog

from workers.settings import Settings

TALKATIVE = frozenset({"activities", "clients", "domain", "temporalio", "workers", "workflows"})
"""Whose debug lines are written: our packages and Temporal's. Those of HTTP and cloud libraries
show headers (httpcore an answer's, botocore a request's with its session token), which may hold
what nobody should read; the next library may show more."""


def configure(settings: Settings) -> None:
    """Send the standard library's records, Temporal's included, through structlog."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if settings.log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default prints every frame's locals: hundreds of lines for one failed attempt.
            exception_formatter=structlog.dev.plain_traceback,
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_is_fit_to_read)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # A line for each request would drown what a refresh has to say.
    for chatty in ("httpx", "botocore.credentials"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _is_fit_to_read(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG or record.name.partition(".")[0] in TALKATIVE
