"""History in InfluxDB: Amazon Timestream for InfluxDB, or any other.

Spoken through ``/write`` and ``/query``, the API of InfluxDB 1 that 2.x and 3 still serve with
``Authorization: Token``, since Timestream for InfluxDB sells both of these and they share no native
way to read: 3 has no Flux and 2 has no SQL. In InfluxDB 2 the bucket must be mapped for InfluxQL
(a bucket made there is mapped under its name already).

One point of line protocol for each observation:

    carbon_intensity,signal=average,zone=DE g_per_kwh=371.5,provider="p",step_s=300.0 TIMESTAMP

A point's identity is its measurement, its tags and its timestamp, and a later writing of all of its
fields replaces it. So the provider is a field: as a tag, a change of provider would double points.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
from httpx_retries import Retry, RetryTransport

from activities.errors import HistoryFault
from activities.history.points import (
    EPOCH,
    LONGEST_STEP,
    MICROSECOND,
    batches,
    last_of_each,
    micros,
    overlapping,
    readable,
)
from activities.masks import masked
from domain.forecast import Observation, Signal

LINES_A_REQUEST = 5_000
"""What InfluxDB's makers recommend for one writing."""

MEASUREMENT = "carbon_intensity"

_NANOSECONDS = 1000
"""In a microsecond. Nanoseconds are line protocol's own unit; no parameter names them alike in all
versions."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_EXCERPT_LENGTH = 160


def open_client(
    url: str, *, connect_s: float = 2.0, answer_s: float = 10.0, backoff_s: float = 0.5
) -> httpx.Client:
    """A client for ``InfluxHistory``, at most four connections; close it in the end.

    429 and 5xx, time-outs and broken connections are tried again twice, ``Retry-After`` honoured up
    to 5 s: a writing that came twice is as one. Redirects are not followed: a token is for the host
    that it was given for.

    Raises:
        HistoryFault: the address would send the token over a network in the clear.
    """
    address = httpx.URL(url)
    if address.scheme != "https" and address.host not in _LOOPBACK:
        where = f"{address.scheme}://{address.host}"
        raise HistoryFault(InfluxHistory.name, f"its url is {where}; allowed: https, or loopback")
    retry = Retry(
        total=2,
        allowed_methods=["GET", "POST"],
        status_forcelist=[429, 500, 502, 503, 504],
        backoff_factor=backoff_s,
        max_backoff_wait=5.0,
    )
    pool = httpx.HTTPTransport(limits=httpx.Limits(max_connections=4))
    return httpx.Client(
        base_url=address,
        transport=RetryTransport(pool, retry),
        timeout=httpx.Timeout(answer_s, connect=connect_s),
        headers={"User-Agent": "lowtide"},
    )


class InfluxHistory:
    """A ``SignalHistory`` in one database (a bucket, in InfluxDB 2)."""

    name = "influxdb"

    def __init__(self, client: httpx.Client, database: str, token: Callable[[], str]) -> None:
        """Hold the client; the token is asked for at each request, since it may be rotated."""
        self._client = client
        self._database = database
        self._token = token

    def put_observations(self, observations: Sequence[Observation]) -> None:
        """Keep each observation; the same (zone, signal, start) again replaces it.

        One request for 5,000 of them.

        Raises:
            HistoryFault: InfluxDB failed, or line protocol cannot write some of them; the others
                are kept.
        """
        points = last_of_each(observations)
        writable = [item for item in points if _writable(item)]
        for batch in batches(writable, LINES_A_REQUEST):
            body = "\n".join(map(line, batch)).encode()
            self._send("POST", "/write", {"db": self._database}, body)
        if len(writable) < len(points):
            strange = next(item for item in points if not _writable(item))
            what = f"{len(points) - len(writable)} of {len(points)} points cannot be written"
            raise HistoryFault(self.name, f"{what}, the first of zone {strange.zone!r}")

    def observations(
        self, zone: str, signal: Signal, start: datetime, end: datetime
    ) -> tuple[Observation, ...]:
        """Observations whose step overlaps [start, end), ordered by start. One request.

        Raises:
            HistoryFault: InfluxDB failed, or gave part of the answer only.
        """
        query = (
            f'SELECT "step_s", "g_per_kwh", "provider" FROM "{MEASUREMENT}"'  # noqa: S608 - quoted
            f' WHERE "zone" = {_text(zone)} AND "signal" = {_text(signal.value)}'
            f" AND time > {micros(start - LONGEST_STEP) * _NANOSECONDS}"
            f" AND time < {micros(end) * _NANOSECONDS}"
        )
        answer = self._send("GET", "/query", {"db": self._database, "epoch": "ns", "q": query})
        with readable(self.name, "its answer"):
            found = [
                Observation(
                    zone=zone,
                    signal=signal,
                    start=EPOCH + row["time"] // _NANOSECONDS * MICROSECOND,
                    step_s=float(row["step_s"]),
                    g_per_kwh=float(row["g_per_kwh"]),
                    provider=row["provider"],
                )
                for row in self._rows(json.loads(answer))
            ]
        return overlapping(found, start, end)

    def _rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows by column of a query's one result."""
        [result] = answer["results"]
        if "error" in result:
            raise HistoryFault(self.name, f"the query failed{_said(result['error'])}")
        series = result.get("series", [])
        if any(part.get("partial") for part in (result, *series)):
            raise HistoryFault(self.name, "it gave part of the answer only (a limit on rows?)")
        return [
            dict(zip(part["columns"], values, strict=True))
            for part in series
            for values in part["values"]
        ]

    def _send(
        self, method: str, path: str, params: Mapping[str, str], body: bytes | None = None
    ) -> str:
        """What it answers, the token masked."""
        token = self._token()
        if not token or not token.isascii() or not token.isprintable():
            raise HistoryFault(self.name, "its token holds characters that none has (a newline?)")
        try:
            answer = self._client.request(
                method,
                path,
                params=params,
                content=body,
                headers={"Authorization": f"Token {token}"},
            )
        except httpx.HTTPError as error:
            raise HistoryFault(self.name, f"no answer ({type(error).__name__})") from None
        said = masked(answer.text, [token])
        if not answer.is_success:
            raise HistoryFault(self.name, f"answers {answer.status_code}{_said(said)}")
        return said


def line(item: Observation) -> str:
    """One point in line protocol; tags and fields in the order of their keys."""
    return (
        f"{MEASUREMENT},signal={_tag(item.signal.value)},zone={_tag(item.zone)}"
        f" g_per_kwh={item.g_per_kwh!r},provider={_field(item.provider)},step_s={item.step_s!r}"
        f" {micros(item.start) * _NANOSECONDS}"
    )


def _writable(item: Observation) -> bool:
    """Whether line protocol can write it so that it is read back as it was.

    It knows no newlines, no empty tags, no backslash in a tag that stands for itself everywhere,
    and neither infinity nor NaN.
    """
    return (
        item.zone != ""
        and "\\" not in item.zone
        and item.zone.isprintable()
        and item.provider.isprintable()
        and math.isfinite(item.g_per_kwh)
    )


def _said(text: str) -> str:
    """``: ...``: what it says, short; nothing where that is HTML."""
    text = " ".join(text.split())
    return "" if not text or text.startswith("<") else f": {text[:_EXCERPT_LENGTH]}"


def _tag(value: str) -> str:
    for special in (",", "=", " "):
        value = value.replace(special, f"\\{special}")
    return value


def _field(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(value: str) -> str:
    """A string of InfluxQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
