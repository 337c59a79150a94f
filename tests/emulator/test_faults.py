"""Each injected fault as a client meets it, on a plain HTTP client that hides nothing."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from ossmount.emulator.faults import Fault, Faults
from ossmount.emulator.server import EmulatedServer

DATA = bytes(range(256)) * 1024  # 256 KiB
LIMIT = 30.0  # seconds, against hangs only


@pytest.fixture
def open_server(server: EmulatedServer) -> Iterator[EmulatedServer]:
    """The server, open to everyone, with the objects "key" and "other"."""
    server.accounts.anonymous = True
    server.store.put("bucket", b"key", DATA)
    server.store.put("bucket", b"other", b"other")
    yield server
    server.accounts.anonymous = False
    server.faults.clear()
    server.drop_connections()


class Client:
    """One connection."""

    def __init__(self, server: EmulatedServer) -> None:
        self.connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=LIMIT)

    def request(
        self, path: str = "/bucket/key", method: str = "GET", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        self.connection.request(method, path, headers=headers or {})
        return self.connection.getresponse()

    def get(self, path: str = "/bucket/key", **headers: str) -> bytes:
        answer = self.request(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        assert answer.status in (200, 206), answer.read()
        return answer.read()


@pytest.fixture
def client(open_server: EmulatedServer) -> Iterator[Client]:
    made = Client(open_server)
    yield made
    made.connection.close()


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_without_faults(open_server: EmulatedServer, client: Client) -> None:
    assert client.get() == DATA
    entry = open_server.requests[-1]
    assert (entry.kind, entry.operation, entry.key, entry.status, entry.sent) == ("GET", "GetObject", b"key", 200, len(DATA))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InternalError", 500),
        ("ServiceUnavailable", 503),
        ("QpsLimitExceeded", 503),
        ("DownloadTrafficRateLimitExceeded", 503),
        ("SecurityTokenExpired", 403),
    ],
)
def test_error_answers(open_server: EmulatedServer, client: Client, code: str, status: int) -> None:
    open_server.faults.add(Fault(code=code, count=1))
    answer = client.request()
    assert answer.status == status and f"<Code>{code}</Code>" in answer.read().decode()
    assert open_server.requests[-1].code == code
    assert client.get() == DATA  # on the same connection


def test_a_status_of_ones_own(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(status=502))
    answer = client.request()
    assert answer.status == 502
    answer.read()


def test_reset_before_the_answer(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(reset=True, count=1))
    with pytest.raises(ConnectionResetError):
        client.get()
    client.connection.close()
    assert client.get() == DATA
    assert [entry.status for entry in open_server.requests] == [0, 200]


def test_reset_in_the_middle_of_a_body(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(reset_after=1000, count=1))
    answer = client.request()
    assert answer.status == 200
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        answer.read()
    assert open_server.requests[-1].sent == 1000


def test_a_truncated_body(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(truncate_after=1000, count=1))
    answer = client.request()
    assert answer.headers["Content-Length"] == str(len(DATA))
    with pytest.raises(http.client.IncompleteRead) as failure:
        answer.read()
    assert failure.value.partial == DATA[:1000]


def test_a_corrupted_byte(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(corrupt_at=200_000, count=1))
    answer = client.request()
    data = answer.read()
    assert [offset for offset, (got, meant) in enumerate(zip(data, DATA, strict=True)) if got != meant] == [200_000]
    true = open_server.store.find("bucket", b"key")
    assert true is not None and answer.headers["x-oss-hash-crc64ecma"] == str(true.crc64)
    assert client.get() == DATA


def test_a_byte_of_the_object_that_is_wrong_in_every_range(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(flip_at=200_000))
    wrong = DATA[:200_000] + bytes([DATA[200_000] ^ 1]) + DATA[200_001:]
    assert client.get() == wrong
    assert client.get(Range="bytes=199999-200001") == wrong[199_999:200_002]
    assert client.get(Range="bytes=0-99") == DATA[:100]


def test_another_body_under_the_same_headers(open_server: EmulatedServer, client: Client) -> None:
    stale = bytes(reversed(DATA))
    open_server.faults.add(Fault(body=stale))
    true = open_server.store.find("bucket", b"key")
    answer = client.request(headers={"Range": "bytes=10-19"})
    assert answer.read() == stale[10:20]
    assert true is not None and answer.headers["ETag"] == f'"{true.etag}"'
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"


def test_another_checksum_or_none(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(crc64=17, count=1))
    open_server.faults.add(Fault(no_crc64=True, skip=1, count=1))
    answers = []
    for _ in range(3):
        answer = client.request()
        assert answer.read() == DATA
        answers.append(answer)
    true = open_server.store.find("bucket", b"key")
    assert true is not None
    told = [answer.headers["x-oss-hash-crc64ecma"] for answer in answers]
    assert told == ["17", None, str(true.crc64)]


@pytest.mark.parametrize("more", [5, -5])
def test_another_length(open_server: EmulatedServer, client: Client, more: int) -> None:
    open_server.faults.add(Fault(longer=more, count=1))
    answer = client.request()
    assert answer.headers["Content-Length"] == str(len(DATA) + more)
    if more > 0:
        with pytest.raises(http.client.IncompleteRead) as failure:
            answer.read()
        assert failure.value.partial == DATA
    else:
        assert answer.read() == DATA[:more]
        assert client.get() == DATA  # on the same connection


def test_another_range(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(range_shift=4096))
    answer = client.request(headers={"Range": "bytes=0-99"})
    assert answer.read() == DATA[:100]
    assert answer.headers["Content-Range"] == f"bytes 4096-4195/{len(DATA)}"


def test_a_connection_that_hangs(open_server: EmulatedServer) -> None:
    hanging = open_server.faults.add(Fault(hang=True))
    address = open_server.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=LIMIT) as connection:
        connection.sendall(b"GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: hanging.hits == 1)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert open_server.requests[-1].status == 0


def test_a_body_that_hangs(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(hang_after=1000))
    answer = client.request()
    assert answer.read(1000) == DATA[:1000]
    assert client.connection.sock is not None
    client.connection.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        answer.read(1)


def test_a_server_with_hanging_connections_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    with EmulatedServer(tmp_path_factory.mktemp("hanging"), anonymous=True) as server:
        hanging = server.faults.add(Fault(hang=True))
        client = Client(server)
        client.connection.request("GET", "/bucket/key")
        until(lambda: hanging.hits == 1)
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        client.connection.getresponse()
    client.connection.close()


def test_latency_and_first_byte_delay(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(latency=0.05, count=1))
    open_server.faults.add(Fault(first_byte_delay=0.05, count=1))
    began = time.monotonic()
    assert client.get() == DATA
    assert time.monotonic() - began >= 0.09


def test_requests_are_answered_side_by_side(open_server: EmulatedServer) -> None:
    open_server.faults.add(Fault(hang=True))
    clients = [Client(open_server) for _ in range(4)]
    for made in clients:
        made.connection.request("GET", "/bucket/key")
    until(lambda: open_server.requests.peak == 4)
    assert len({entry.client for entry in open_server.requests}) == 4
    for made in clients:
        made.connection.close()


def test_a_pause_ends_with_its_connection(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(latency=10 * LIMIT))
    client.connection.request("GET", "/bucket/key")
    until(lambda: len(open_server.requests) == 1)
    client.connection.close()
    until(lambda: open_server.requests.in_flight == 0)


def test_a_bandwidth_limit(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(bandwidth=1 << 20, count=1))
    began = time.monotonic()
    assert client.get() == DATA
    assert time.monotonic() - began >= 0.2  # 256 KiB at 1 MiB/s


def test_a_changed_etag(open_server: EmulatedServer, client: Client) -> None:
    record = open_server.store.find("bucket", b"key")
    assert record is not None
    open_server.faults.add(Fault(etag="NEW", count=3))
    answer = client.request()
    assert answer.read() == DATA and answer.headers["ETag"] == '"NEW"'
    refused = client.request(headers={"If-Match": f'"{record.etag}"'})
    assert refused.status == 412 and b"<Condition>If-Match</Condition>" in refused.read()
    assert client.get(If_Match='"NEW"') == DATA
    assert client.get(If_Match=f'"{record.etag}"') == DATA


def test_a_server_that_ignores_conditions(open_server: EmulatedServer, client: Client) -> None:
    open_server.faults.add(Fault(ignore_conditions=True))
    assert client.get(If_Match='"old"') == DATA


def test_which_requests_are_meant(open_server: EmulatedServer, client: Client) -> None:
    def status(method: str, path: str) -> int:
        answer = client.request(path, method)
        answer.read()
        return answer.status

    def statuses() -> list[int]:
        return [
            status("GET", "/bucket/key"),
            status("HEAD", "/bucket/key"),
            status("GET", "/bucket/other"),
            status("GET", "/bucket?list-type=2&prefix=k"),
        ]

    for fault, expected in {
        Fault(code="InternalError"): [500, 500, 500, 500],
        Fault(code="InternalError", keys="k*"): [500, 500, 200, 500],
        Fault(code="InternalError", keys="other"): [200, 200, 500, 200],
        Fault(code="InternalError", operations=("GET",)): [500, 200, 500, 200],
        Fault(code="InternalError", operations=("HEAD", "LIST")): [200, 500, 200, 500],
        Fault(code="InternalError", operations=("ListObjectsV2",)): [200, 200, 200, 500],
        Fault(code="InternalError", bucket="elsewhere"): [200, 200, 200, 200],
        Fault(code="InternalError", count=2): [500, 500, 200, 200],
        Fault(code="InternalError", skip=1, count=1): [200, 500, 200, 200],
    }.items():
        injection = open_server.faults.add(fault)
        assert statuses() == expected, fault
        open_server.faults.remove(injection)
    assert statuses() == [200, 200, 200, 200]


def test_a_rate_lets_through_what_it_allows_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ossmount.emulator.faults.time.monotonic", lambda: now)
    faults = Faults()
    injection = faults.add(Fault(code="QpsLimitExceeded", rate=500))
    for _ in range(4000):  # 1,000 a second
        now += 0.001
        faults.choose("GET", "GetObject", "bucket", b"key")
    assert injection.matched - injection.hits == pytest.approx(500 * 4, abs=51)


def test_probability_is_seeded() -> None:
    def pattern(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(code="InternalError", probability=0.5))
        return [faults.choose("GET", "GetObject", "bucket", b"key").error is not None for _ in range(200)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 50 < sum(pattern(1)) < 150


def test_several_faults_of_one_request() -> None:
    faults = Faults()
    faults.add(Fault(latency=1, bandwidth=10))
    faults.add(Fault(latency=2, bandwidth=5, truncate_after=7))
    faults.add(Fault(reset_after=3))
    plan = faults.choose("GET", "GetObject", "bucket", b"key")
    assert (plan.latency, plan.bandwidth, plan.ends_at, plan.error) == (3, 5, 3, None)


def test_the_network_fails(open_server: EmulatedServer, client: Client) -> None:
    assert client.get() == DATA
    until(lambda: open_server.connections >= 1)
    open_server.drop_connections()
    until(lambda: open_server.connections == 0)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.get()
