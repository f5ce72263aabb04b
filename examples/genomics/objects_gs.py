"""Objects in Google Cloud Storage, by its JSON API. Credentials are those of the pod's service
account (Workload Identity), found as all Google clients find them.

The account needs ``storage.objects.get``, ``create`` and ``delete``: replacing counts as deleting.
https://cloud.google.com/storage/docs/json_api/v1/objects/insert
"""

from __future__ import annotations

import json
import os
import secrets
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from examples.genomics.objects import ObjectsUnavailable

HOST = "https://storage.googleapis.com"
EMULATOR = "STORAGE_EMULATOR_HOST"
"""As Google's clients know it: another host, which is asked without credentials."""
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
CONNECT_S, READ_S, TRIES = 2, 4, 4
"""Of each request. Short: after SIGTERM there are seconds."""
NEVER_THERE = "0"
"""Generation of an object that does not exist."""


class GsLocation:
    """A prefix in a bucket."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Find credentials.

        Raises:
            ObjectsUnavailable: there are none.
        """
        self._bucket = quote(bucket, safe="")
        self._prefix = prefix
        self._host = os.environ.get(EMULATOR, HOST).rstrip("/")
        self._session = requests.Session() if EMULATOR in os.environ else _authorized()
        retries = Retry(
            total=TRIES - 1,
            backoff_factor=0.2,
            status_forcelist=(408, 429, 500, 502, 503, 504),
            allowed_methods=None,  # all that is asked here may be asked twice
            raise_on_status=False,
        )
        self._session.mount(self._host, HTTPAdapter(max_retries=retries))

    def read(self, name: str) -> bytes | None:
        """An object's bytes; ``None`` where there is none."""
        path = f"/storage/v1/b/{self._bucket}/o/{quote(self._key(name), safe='')}?alt=media"
        answer = self._request("GET", path, HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        data: bytes = answer.content
        return data if answer.status_code == HTTPStatus.OK else None

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        self._upload(name, data, "", HTTPStatus.OK)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, whole or not at all; whether there was none."""
        only_new = f"&ifGenerationMatch={NEVER_THERE}"
        expected = (HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED)
        answer = self._upload(name, data, only_new, *expected)
        return bool(answer.status_code == HTTPStatus.OK)

    def _upload(
        self, name: str, data: bytes, condition: str, *expected: HTTPStatus
    ) -> requests.Response:
        """Send an object and its name in one request, as Google's own clients do."""
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
            f"{json.dumps({'name': self._key(name)})}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        path = f"/upload/storage/v1/b/{self._bucket}/o?uploadType=multipart{condition}"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        return self._request("POST", path, *expected, data=body, headers=headers)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _request(
        self, method: str, path: str, *expected: HTTPStatus, **request: Any
    ) -> requests.Response:
        url, timeout = self._host + path, (CONNECT_S, READ_S)
        try:
            answer = self._session.request(method, url, timeout=timeout, **request)
        except (requests.RequestException, GoogleAuthError) as error:
            raise ObjectsUnavailable(str(error)) from error
        if answer.status_code not in expected:
            raise ObjectsUnavailable(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer


def _authorized() -> AuthorizedSession:
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
    except GoogleAuthError as error:
        raise ObjectsUnavailable(str(error)) from error
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
