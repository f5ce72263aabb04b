"""A simulator of InfluxDB's ``/write`` and ``/query``, in a thread, on loopback.

It shows our understanding of the published grammar and API (version 1, as 2.x and 3 serve it), not
how InfluxDB behaves. Line protocol is read strictly, and a request with one wrong line is refused
whole. Of InfluxQL it knows what a read of one series needs: columns of one measurement, tags equal
to strings, bounds of time, nanoseconds.

A point's identity is its measurement, tags and timestamp; a point written again keeps the fields
that the later one does not have.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-a-test"  # noqa: S105 - of a server that lives for one test

Value = float | int | bool | str
Tags = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Point:
    """One line, read."""

    measurement: str
    tags: Tags
    fields: dict[str, Value]
    timestamp_ns: int


class NotLineProtocol(ValueError):
    """A line that the grammar does not allow."""


def parse_line(line: str) -> Point:
    """``measurement[,tag=value...] field=value[,field=value...] timestamp``, nothing else."""
    rest = Rest(line)
    measurement = rest.name(", ")
    tags = []
    while rest.take(","):
        key = rest.name("=")
        rest.need("=")
        tags.append((key, rest.name(", ")))
    rest.need(" ")
    fields: dict[str, Value] = {}
    while True:
        key = rest.name("=")
        rest.need("=")
        if key in fields or key in dict(tags):
            raise NotLineProtocol(f"{key!r} stands twice in {line!r}")
        fields[key] = rest.value()
        if not rest.take(","):
            break
    rest.need(" ")
    timestamp = rest.match(r"-?[0-9]+\Z")
    if len(dict(tags)) < len(tags):
        raise NotLineProtocol(f"a tag stands twice in {line!r}")
    return Point(measurement, tuple(sorted(tags)), fields, int(timestamp))


class Rest:
    """What is left of a line."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._at = 0

    def take(self, mark: str) -> bool:
        found = self._line.startswith(mark, self._at)
        self._at += len(mark) * found
        return found

    def need(self, mark: str) -> None:
        if not self.take(mark):
            raise NotLineProtocol(f"expected {mark!r} at {self._at} of {self._line!r}")

    def match(self, pattern: str) -> str:
        found = re.compile(pattern).match(self._line, self._at)
        if not found:
            raise NotLineProtocol(f"expected {pattern} at {self._at} of {self._line!r}")
        self._at = found.end()
        return found[0]

    def name(self, ends: str) -> str:
        """Up to an unescaped mark; a backslash is one only before a comma, an equals or a space."""
        read = []
        while self._at < len(self._line) and self._line[self._at] not in ends:
            char, following = self._line[self._at], self._line[self._at + 1 : self._at + 2]
            escaped = char == "\\" and following != "" and following in ",= "
            if not escaped and char in ",= ":
                raise NotLineProtocol(f"a bare {char!r} at {self._at} of {self._line!r}")
            read.append(following if escaped else char)
            self._at += 1 + escaped
        if not read:
            raise NotLineProtocol(f"an empty name at {self._at} of {self._line!r}")
        return "".join(read)

    def value(self) -> Value:
        if self.take('"'):
            text = self.match(r'(?:[^"\\]|\\["\\])*"')[:-1]
            return re.sub(r'\\(["\\])', r"\1", text)
        number = self.match(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?i?(?=[, ])")
        return int(number[:-1]) if number.endswith("i") else float(number)


@dataclass(frozen=True)
class Fault:
    """An answer given in place of the server's own."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    carried_out: bool = False
    """Whether the request is carried out all the same."""


class InfluxServer:
    """One database, what was asked of it, and faults to inject."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, Tags, int], dict[str, Value]] = {}
        self.faults: deque[Fault] = deque()
        """Met by the next requests, one each."""
        self.requests: list[tuple[str, str]] = []
        """(method, path) of each request, in order."""
        self.url = ""
        self._lock = threading.Lock()

    def answer(
        self, method: str, target: str, token: str | None, body: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body."""
        with self._lock:
            path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
            self.requests.append((method, path))
            fault = self.faults.popleft() if self.faults else None
            if fault is None or fault.carried_out:
                status, document = self._carry_out(method, path, query, token, body)
            if fault is not None:
                return fault.status, fault.headers, fault.body
            return status, {"Content-Type": "application/json"}, document

    def _carry_out(
        self, method: str, path: str, query: dict[str, list[str]], token: str | None, body: str
    ) -> tuple[int, str]:
        if token != f"Token {TOKEN}":
            return 401, json.dumps({"error": "unauthorized access"})
        if query.get("db") != ["lowtide"]:
            return 404, json.dumps({"error": "database not found"})
        try:
            if (method, path) == ("POST", "/write"):
                for point in [parse_line(line) for line in body.split("\n") if line]:
                    identity = (point.measurement, point.tags, point.timestamp_ns)
                    self.points.setdefault(identity, {}).update(point.fields)
                return 204, ""
            if (method, path, query.get("epoch")) == ("GET", "/query", ["ns"]):
                [statement] = query["q"]
                return 200, json.dumps({"results": [self._select(statement)]})
        except ValueError as error:
            return 400, json.dumps({"error": str(error)})
        return 404, json.dumps({"error": "not simulated"})

    def _select(self, statement: str) -> dict[str, Any]:
        columns, measurement, wanted, after, before = parse_select(statement)
        rows = [
            [timestamp, *(fields.get(name) for name in columns)]
            for (of, tags, timestamp), fields in sorted(self.points.items(), key=lambda i: i[0][2])
            if of == measurement and wanted.items() <= dict(tags).items()
            if after < timestamp < before
        ]
        if not rows:
            return {"statement_id": 0}
        series = {"name": measurement, "columns": ["time", *columns], "values": rows}
        return {"statement_id": 0, "series": [series]}


IDENTIFIER = r'"((?:[^"\\\n]|\\["\\])*)"'
STRING = r"'((?:[^'\\\n]|\\['\\n])*)'"
SELECT = re.compile(
    r"SELECT (?P<columns>"  # noqa: S608 - read here, not written
    rf"{IDENTIFIER}(?:, {IDENTIFIER})*) FROM (?P<measurement>{IDENTIFIER})"
    rf" WHERE (?P<tags>(?:{IDENTIFIER} = {STRING} AND )*)"
    r"time > (?P<after>-?[0-9]+) AND time < (?P<before>-?[0-9]+)"
)


def parse_select(statement: str) -> tuple[list[str], str, dict[str, str], int, int]:
    """Columns, measurement, tags and bounds (both excluded) of a query of one series."""
    found = SELECT.fullmatch(statement)
    if not found:
        raise ValueError(f"error parsing query: {statement}")
    tags = re.findall(f"{IDENTIFIER} = {STRING} AND ", found["tags"])
    return (
        re.findall(IDENTIFIER, found["columns"]),
        re.findall(IDENTIFIER, found["measurement"])[0],
        {name: re.sub(r"\\(['\\])", r"\1", text) for name, text in tags},
        int(found["after"]),
        int(found["before"]),
    )


@contextmanager
def influx_server() -> Iterator[InfluxServer]:
    """A running server while the block runs."""
    influx = InfluxServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            token = self.headers["Authorization"]
            status, headers, document = influx.answer(self.command, self.path, token, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            content = document.encode()
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        influx.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield influx
        finally:
            server.shutdown()
            thread.join()
