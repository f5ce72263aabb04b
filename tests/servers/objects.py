"""Object storage that misbehaves when told to: what jobs ask of S3 and of Google Cloud Storage.

It shows our understanding of both wire formats, not how the clouds behave: writing an object, if
there is none of its name, and reading it. Beside it stands a metadata server as pods of GKE have
one, whose tokens the Google side demands when told to.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

METADATA = "/computeMetadata/v1"


class Fault(Enum):
    """What befalls the next write."""

    UNAVAILABLE = auto()
    """503, nothing written."""
    LOST = auto()
    """Written, and the connection closed instead of an answer."""
    CONFLICT = auto()
    """409 as S3 has it while another conditional write is under way; nothing written."""
    HELD = auto()
    """Served as usual, but not before ``let_go`` is set."""


class ObjectServer(ThreadingHTTPServer):
    """Buckets and their objects, in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        """By ``bucket/name``."""
        self.faults: deque[Fault] = deque()
        self.writes = 0
        """Requests to write, whatever became of them."""
        self.tokens = 0
        """How many the metadata server gave out. The last of them is good."""
        self.wants_token = False
        self.lock = threading.Lock()
        self.let_go = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def expire_token(self) -> None:
        """Let no token given out so far be good."""
        self.tokens += 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(METADATA) or path == "/":
            self._tell_metadata(path.removeprefix(METADATA))
        elif path.startswith("/storage/v1/b/"):
            bucket, _, name = path.removeprefix("/storage/v1/b/").partition("/o/")
            self._read(f"{bucket}/{unquote(name)}", "No such object")
        else:
            missing = "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
            self._read(unquote(path[1:]), missing)

    def do_PUT(self) -> None:
        """As S3 has it."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        only_new = self.headers.get("If-None-Match") == "*"
        self._write(unquote(urlsplit(self.path).path[1:]), data, b"", only_new=only_new)

    def do_POST(self) -> None:
        """A multipart upload, as Google has it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        assert query["uploadType"] == ["multipart"]
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        about, content = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
        name = json.loads(about.get_content())["name"]
        bucket = parts.path.removeprefix("/upload/storage/v1/b/").removesuffix("/o")
        only_new = query.get("ifGenerationMatch") == ["0"]
        data = content.get_payload(decode=True)
        self._write(f"{bucket}/{name}", data, b"{}", only_new=only_new)

    def _read(self, key: str, missing: str) -> None:
        if self._is_let_in():
            data = self.server.objects.get(key)
            self._answer(*((404, missing.encode()) if data is None else (200, data)))

    def _write(self, key: str, data: bytes, done: bytes, *, only_new: bool) -> None:
        if not self._is_let_in():
            return
        with self.server.lock:
            self.server.writes += 1
            fault = self.server.faults.popleft() if self.server.faults else None
        if fault is Fault.HELD:
            self.server.let_go.wait()
        with self.server.lock:
            refused = only_new and key in self.server.objects
            if fault not in {Fault.UNAVAILABLE, Fault.CONFLICT} and not refused:
                self.server.objects[key] = data
        match fault:
            case Fault.UNAVAILABLE:
                self._answer(503, _error("SlowDown"))
            case Fault.CONFLICT:
                self._answer(409, _error("ConditionalRequestConflict"))
            case Fault.LOST:
                self.close_connection = True
            case _:
                self._answer(*((412, _error("PreconditionFailed")) if refused else (200, done)))

    def _is_let_in(self) -> bool:
        good = f"Bearer token-{self.server.tokens}"
        if self.server.wants_token and self.headers.get("Authorization") != good:
            self._answer(401, b"{}")
            return False
        return True

    def _tell_metadata(self, what: str) -> None:
        data: object = "lowtide-test"
        if what.endswith("/token"):
            self.server.tokens += 1
            token = f"token-{self.server.tokens}"
            data = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
        elif "recursive=true" in self.path:
            data = {"email": "job@lowtide-test", "scopes": [], "aliases": ["default"]}
        elif what.endswith("universe-domain"):
            data = "googleapis.com"
        body = data if isinstance(data, str) else json.dumps(data)
        self._answer(200, body.encode(), **{"Metadata-Flavor": "Google"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        kind = "application/json" if body.startswith(b"{") else "text/plain"
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>as a test wants it</Message></Error>".encode()


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """A running server, in a thread."""
    with ObjectServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.let_go.set()
            server.shutdown()
            thread.join()
