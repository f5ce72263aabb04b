"""The process behind ``aws_server``: moto with two changes.

moto's transactions copy a table, and put the copy back when a condition fails. So requests are
served one at a time, since one that is served meanwhile would be undone with them; DynamoDB
isolates transactions, so this is nearer to it. And a table is copied once for each transaction
instead of once for each of its items, which only takes less time.

It prints its URL, and ends when its standard input does.
"""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.dynamodb import models
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server


class OneAtATime:
    """A WSGI application that answers each request whole before it looks at the next."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with self._lock:
            return list(self._application(environ, start_response))


class OneCopyATransaction:
    """Stands for the module ``copy`` in moto's backend: a table is copied once a transaction."""

    def __init__(self) -> None:
        self._backups: dict[str, Any] = {}

    def begin(self) -> None:
        self._backups.clear()

    def deepcopy(self, value: Any) -> Any:
        if not isinstance(value, models.Table):
            return copy.deepcopy(value)
        if value.name not in self._backups:
            self._backups[value.name] = copy.deepcopy(value)
        return self._backups[value.name]


class QuietHandler(MotoRequestHandler):
    """Keeps connections open, as AWS does, and writes no line for each request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        pass


def _copy_tables_once() -> None:
    copies = OneCopyATransaction()
    transact = models.DynamoDBBackend.transact_write_items

    def transact_once(backend: models.DynamoDBBackend, items: list[dict[str, Any]]) -> None:
        copies.begin()
        transact(backend, items)

    models.copy = copies
    models.DynamoDBBackend.transact_write_items = transact_once


def _end_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    _copy_tables_once()
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    application = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    print(f"http://127.0.0.1:{server.port}", flush=True)  # noqa: T201 - read by the test
    server.serve_forever()


if __name__ == "__main__":
    main()
