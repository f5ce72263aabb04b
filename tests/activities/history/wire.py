"""What goes over a client's wire: noted, and disturbed on purpose.

The disturbance stands where botocore hands a request to the network, so that its reading of answers
and its own retries are part of what is tested.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import AWSResponse

Disturbance = Callable[[Any], AWSResponse | None]
"""Gets the request; what it returns stands for the service's answer, ``None`` lets it pass."""


class Wire:
    """Requests of one client, botocore's retries included."""

    def __init__(self, client: Any) -> None:
        self.sent: list[tuple[str, Any]] = []
        """(operation, body) of each request."""
        self._client = client
        self._disturbances: dict[str, deque[Disturbance]] = {}

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.sent]

    def disturb(self, operation: str, *disturbances: Disturbance) -> None:
        """Disturb the next requests of an operation, one each."""
        self._disturbances.setdefault(operation, deque()).extend(disturbances)

    @property
    def pending(self) -> int:
        """Disturbances that no request has met."""
        return sum(map(len, self._disturbances.values()))

    def lost(self, request: Any) -> AWSResponse:
        """The service does as it is asked, and its answer gets lost."""
        self._client._endpoint.http_session.send(request)
        return answer(500)

    def before_send(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        self.sent.append((operation, request.body))
        waiting = self._disturbances.get(operation)
        return waiting.popleft()(request) if waiting else None


@contextmanager
def wire(client: Any) -> Iterator[Wire]:
    """A client's wire while the block runs; every disturbance must have been met by its end."""
    on_it = Wire(client)
    event = f"before-send.{client.meta.service_model.service_id.hyphenize()}"
    client.meta.events.register_first(event, on_it.before_send)
    try:
        yield on_it
    finally:
        client.meta.events.unregister(event, on_it.before_send)
    assert on_it.pending == 0


def answer(status: int, body: bytes = b"") -> AWSResponse:
    """An answer that stands for the service's own."""
    return AWSResponse("http://simulated", status, {}, _Body(body))


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content
