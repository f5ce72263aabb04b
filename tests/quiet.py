"""Silence for programs that print a report of their own."""

from __future__ import annotations

import logging

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter


def hush() -> None:
    """Let neither the SDK nor our own logs say anything below an error; call before connecting."""
    logging.disable(logging.ERROR)
    quiet = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=quiet))),
        error_if_already_set=False,
    )
