"""What goes over a client's wire: counted, and disturbed on purpose.

The disturbance stands where botocore hands a request to the network, so that botocore's own
reading of answers and its own retries are part of what is tested.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import AWSResponse

Disturbance = Callable[[Any], AWSResponse | None]
"""Gets the request; what it returns stands for the service's answer, ``None`` lets it pass."""

_EVENT = "before-send.dynamodb"


class Wire:
    """Requests of one client by operation, retries included."""

    def __init__(self, client: Any) -> None:
        self.sent: Counter[str] = Counter()
        self._client = client
        self._disturbances: dict[str, list[Disturbance]] = defaultdict(list)

    def disturb(self, operation: str, *disturbances: Disturbance) -> None:
        """Disturb the next requests of an operation, one each."""
        self._disturbances[operation] += disturbances

    @property
    def pending(self) -> int:
        """Disturbances that no request has met."""
        return sum(map(len, self._disturbances.values()))

    def lost(self, request: Any) -> AWSResponse:
        """The service does as it is asked, and its answer gets lost."""
        self._client._endpoint.http_session.send(request)
        return _answer(500, {"__type": "InternalServerError"})

    def before_send(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        self.sent[operation] += 1
        waiting = self._disturbances[operation]
        return waiting.pop(0)(request) if waiting else None


@contextmanager
def wire(client: Any) -> Iterator[Wire]:
    """A client's wire while the block runs; every disturbance must have been met by its end."""
    on_it = Wire(client)
    client.meta.events.register_first(_EVENT, on_it.before_send)
    try:
        yield on_it
    finally:
        client.meta.events.unregister(_EVENT, on_it.before_send)
    assert on_it.pending == 0


def throttled(_: Any) -> AWSResponse:
    """The service is over the table's throughput."""
    return _answer(400, {"__type": "x#ProvisionedThroughputExceededException", "message": "slow"})


def conflict(request: Any) -> AWSResponse:
    """Another transaction on the last item is under way."""
    items = len(json.loads(request.body)["TransactItems"])
    reasons = [{"Code": "None"}] * (items - 1) + [{"Code": "TransactionConflict", "Message": "m"}]
    return _answer(
        400, {"__type": "x#TransactionCanceledException", "CancellationReasons": reasons}
    )


def occupied(_: Any) -> AWSResponse:
    """A transaction on an item of the batch is under way."""
    return _answer(400, {"__type": "x#TransactionConflictException", "message": "busy"})


def invalid(request: Any) -> AWSResponse:
    """The service finds an item that it does not take."""
    items = len(json.loads(request.body)["TransactItems"])
    reasons = [{"Code": "ValidationError", "Message": "too large"}] + [{"Code": "None"}] * (
        items - 1
    )
    return _answer(
        400, {"__type": "x#TransactionCanceledException", "CancellationReasons": reasons}
    )


def refused(_: Any) -> AWSResponse:
    """The service refuses, as it would a role that lost its rights."""
    return _answer(400, {"__type": "x#AccessDeniedException", "message": "no"})


def unprocessed(request: Any) -> AWSResponse:
    """The service has no capacity left for any part of a batch."""
    asked = json.loads(request.body)["RequestItems"]
    return _answer(200, {"Responses": {}, "UnprocessedKeys": asked, "UnprocessedItems": asked})


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


def _answer(status: int, body: dict[str, Any]) -> AWSResponse:
    content = json.dumps(body).encode()
    return AWSResponse("http://simulated", status, {}, _Body(content))
