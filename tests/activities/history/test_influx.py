from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.errors import HistoryFault, SecretMissing
from activities.history.influx import InfluxHistory, line, open_client
from domain.forecast import Signal
from tests.contracts.signal_history import (
    ANY,
    HOUR,
    NOW,
    OpenHistory,
    SignalHistoryContract,
    observed,
    read,
)
from tests.servers.influx import (
    TOKEN,
    Fault,
    InfluxServer,
    NotLineProtocol,
    influx_server,
    parse_line,
)


@pytest.fixture(scope="module")
def running() -> Iterator[InfluxServer]:
    with influx_server() as server:
        yield server


@pytest.fixture
def influx(running: InfluxServer) -> Iterator[InfluxServer]:
    """The simulator, empty; every fault must have been met in the end."""
    running.points.clear()
    running.requests.clear()
    yield running
    assert not running.faults


@pytest.fixture
def open_history(influx: InfluxServer) -> Iterator[OpenHistory]:
    with ExitStack() as opened:

        def open_one(token: str = TOKEN) -> InfluxHistory:
            client = opened.enter_context(open_client(influx.url, backoff_s=0.01))
            return InfluxHistory(client, "lowtide", lambda: token)

        yield open_one


@pytest.fixture
def history(open_history: OpenHistory) -> InfluxHistory:
    return open_history()


class TestContract(SignalHistoryContract):
    pass


def test_a_change_of_provider_is_the_same_point(
    influx: InfluxServer, history: InfluxHistory
) -> None:
    """Identity is zone, signal and start alone, in the server's own count too."""
    for provider in ("electricity-maps", "watttime"):
        history.put_observations([observed(provider=provider)])
    assert len(influx.points) == 1


def test_a_point_is_one_line() -> None:
    """As the published grammar has it; nanoseconds; nothing is an integer."""
    item = observed(zone="a b,c=d", g_per_kwh=1e-7, step_s=300.0, provider='x "y" \\')
    assert line(item) == (
        r"carbon_intensity,signal=average,zone=a\ b\,c\=d"
        r' g_per_kwh=1e-07,provider="x \"y\" \\",step_s=300.0 1795485600000000000'
    )


TEXT = st.text(st.sampled_from("aZ-_,= \"\\'é") | st.characters(), max_size=12)


@given(item=ANY, zone=TEXT, provider=TEXT)
def test_what_can_be_written_is_read_back_and_the_rest_is_told(
    item: object, zone: str, provider: str
) -> None:
    """By the strict grammar, whatever the texts; one point that cannot be written is no line."""
    wanted = replace(item, zone=zone, provider=provider)
    sent = []

    def write(request: httpx.Request) -> httpx.Response:
        sent.extend(request.content.decode().split("\n"))
        return httpx.Response(204)

    with httpx.Client(base_url="http://x", transport=httpx.MockTransport(write)) as client:
        history = InfluxHistory(client, "lowtide", lambda: TOKEN)
        try:
            history.put_observations([wanted])
        except HistoryFault:
            assert sent == []
            assert zone == "" or "\\" in zone or not (zone + provider).isprintable()
            return
    [point] = map(parse_line, sent)
    assert dict(point.tags) == {"zone": zone, "signal": wanted.signal}
    assert point.fields == {
        "g_per_kwh": wanted.g_per_kwh,
        "step_s": wanted.step_s,
        "provider": provider,
    }


def test_what_cannot_be_written_hinders_nothing_else(history: InfluxHistory) -> None:
    """The others are kept, and the fault names the first that is not."""
    strange = [
        observed(zone="A\\", g_per_kwh=1.0),
        observed(zone="B\n"),
        observed(zone=""),
        observed(NOW + HOUR, g_per_kwh=math.nan),
    ]
    with pytest.raises(HistoryFault, match=r"4 of 5 points cannot be written.*'A\\\\'"):
        history.put_observations([*strange, observed()])
    assert read(history) == (observed(),)


def test_points_travel_in_batches(influx: InfluxServer, history: InfluxHistory) -> None:
    """Five thousand a request."""
    history.put_observations([observed(NOW + n * HOUR / 60) for n in range(5001)])
    assert influx.requests == [("POST", "/write")] * 2
    assert len(influx.points) == 5001


@pytest.mark.parametrize("fault", [Fault(503, carried_out=True), Fault(429), Fault(500, "<html>")])
def test_a_passing_failure_is_tried_again(
    influx: InfluxServer, history: InfluxHistory, fault: Fault
) -> None:
    """Also one whose request was carried out: written twice is written once."""
    influx.faults.append(fault)
    history.put_observations([observed()])
    assert influx.requests == [("POST", "/write")] * 2
    influx.faults.append(fault)
    assert read(history) == (observed(),)
    assert len(influx.points) == 1


def test_a_lasting_failure_is_told(influx: InfluxServer, history: InfluxHistory) -> None:
    """After three tries, with what it says."""
    influx.faults.extend([Fault(503, '{"error":"overloaded"}', {"Retry-After": "0"})] * 3)
    with pytest.raises(HistoryFault, match=r'answers 503: \{"error":"overloaded"}'):
        history.put_observations([observed()])


def test_no_answer_is_told() -> None:
    """Nobody listens there."""
    with open_client("http://127.0.0.1:9", backoff_s=0.01) as client:
        history = InfluxHistory(client, "lowtide", lambda: TOKEN)
        with pytest.raises(HistoryFault, match=r"no answer \(ConnectError\)"):
            read(history)


def test_a_refused_token_stands_in_no_error(
    influx: InfluxServer, open_history: OpenHistory
) -> None:
    """Not even where the server repeats it."""
    influx.faults.append(Fault(401, "token wrong-token is unknown"))
    with pytest.raises(HistoryFault) as told:
        read(open_history("wrong-token"))
    assert str(told.value) == "history influxdb: answers 401: token *** is unknown"
    assert told.value.__cause__ is None
    with pytest.raises(HistoryFault, match="answers 401"):
        open_history("wrong-token").put_observations([observed()])


@pytest.mark.parametrize("token", ["", "planted\n", "plantéd"])
def test_a_token_that_no_header_holds_is_not_sent(
    influx: InfluxServer, open_history: OpenHistory, token: str
) -> None:
    """A newline at the end of a secret is told without the secret."""
    with pytest.raises(HistoryFault, match="a newline") as told:
        read(open_history(token))
    assert "plant" not in str(told.value)
    assert influx.requests == []


def test_the_token_is_asked_for_at_each_request(influx: InfluxServer) -> None:
    """A rotated token is used at once, and a missing one is told by who holds it."""
    tokens = iter(["old", TOKEN])

    def rotated() -> str:
        token = next(tokens, None)
        if token is None:
            raise SecretMissing("influxdb-token", "set it")
        return token

    with open_client(influx.url) as client:
        history = InfluxHistory(client, "lowtide", rotated)
        with pytest.raises(HistoryFault, match="401"):
            read(history)
        assert read(history) == ()
        with pytest.raises(SecretMissing):
            read(history)


@pytest.mark.parametrize(
    "body",
    [
        "<html>login</html>",
        "[]",
        '{"results": []}',
        '{"results": [{"series": [{"columns": ["time"], "values": [[1]]}]}]}',
        '{"results": [{"series": [{"columns": ["time"], "values": [[1, 2]]}]}]}',
        '{"results": [{"series": [{"columns": ["time", "step_s", "g_per_kwh", "provider"],'
        ' "values": [["2026-11-24T00:00:00Z", 1, 2, "x"]]}]}]}',
    ],
)
def test_an_answer_of_another_form_is_told(
    influx: InfluxServer, history: InfluxHistory, body: str
) -> None:
    """A proxy's page, or a server of another kind."""
    influx.faults.append(Fault(200, body))
    with pytest.raises(HistoryFault, match="its answer cannot be read"):
        read(history)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ('{"error": "retention policy not found"}', "the query failed: retention policy"),
        ('{"series": [{"columns": [], "values": [], "partial": true}]}', "part of the answer"),
        ('{"series": [], "partial": true}', "part of the answer"),
    ],
)
def test_a_part_is_never_taken_for_the_whole(
    influx: InfluxServer, history: InfluxHistory, result: str, told: str
) -> None:
    """InfluxDB says so with status 200."""
    influx.faults.append(Fault(200, f'{{"results": [{result}]}}'))
    with pytest.raises(HistoryFault, match=told):
        read(history)


def test_a_token_goes_over_no_network_in_the_clear() -> None:
    """Plain HTTP is for this machine."""
    with pytest.raises(HistoryFault, match=r"http://influx.example; allowed: https"):
        open_client("http://user:secret@influx.example:8086")
    open_client("https://influx.example:8086").close()


class TestTheSimulatorItself:
    """A grammar that takes everything proves nothing."""

    @pytest.mark.parametrize(
        "wrong",
        [
            "m f=1 1\n",
            "m f=1",
            "m,t=1 1",
            "m,t= f=1 1",
            "m,=x f=1 1",
            ",t=x f=1 1",
            "m,t=a b f=1 1",
            "m,t=a=b f=1 1",
            "m,t=a\\ f=1 1",
            "m,t=x,t=y f=1 1",
            "m,t=x t=1 1",
            'm f="a"b" 1',
            'm f="a\\" 1',
            'm f="a\\x" 1',
            "m f=nan 1",
            "m f=1e 1",
            "m f=text 1",
            "m f=1,f=2 1",
            "m f=1  1",
            "m f=1 1.5",
            "m f=1, 1",
        ],
    )
    def test_it_refuses_what_the_grammar_does_not_allow(self, wrong: str) -> None:
        """Missing, empty, doubled and unescaped parts; numbers that are none."""
        with pytest.raises(NotLineProtocol):
            parse_line(wrong)

    def test_it_reads_what_the_grammar_allows(self) -> None:
        """Escapes, all kinds of values, a backslash that escapes nothing."""
        point = parse_line(r'm\ 1,a\,b=c\=d,e=\f g=1,h=-2.5e-3,i=3i,j="x, y=\"z\"" -7')
        assert point.measurement == "m 1"
        assert point.tags == (("a,b", "c=d"), ("e", r"\f"))
        assert point.fields == {"g": 1.0, "h": -0.0025, "i": 3, "j": 'x, y="z"'}
        assert point.timestamp_ns == -7

    def test_it_refuses_another_query(self, influx: InfluxServer) -> None:
        """A query that it does not know is an error, never an empty answer."""
        token = f"Token {TOKEN}"
        target = "/query?db=lowtide&epoch=ns&q=SELECT+mean(x)+FROM+y"
        status, _, body = influx.answer("GET", target, token, "")
        assert (status, "error parsing query" in body) == (400, True)


def test_the_two_signals_of_a_zone_are_two_points(
    influx: InfluxServer, history: InfluxHistory
) -> None:
    """The signal is a tag, since it is part of the identity."""
    history.put_observations([observed(signal=signal) for signal in Signal])
    assert len(influx.points) == 2
