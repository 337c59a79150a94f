"""Hostile and failing servers: every byte position, every malformed answer. Through a real fetch process."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from typing import cast

import pytest
from fastcrc import crc64

from ossmount.errors import (
    Archived,
    Changed,
    Damaged,
    DeadlineExceeded,
    Denied,
    NoSuchBucket,
    OssMountError,
    Throttled,
    Unavailable,
)
from tests.unit.oss.fetch.scripted import (
    CLOSE,
    HANG,
    RESET,
    Action,
    Request,
    Wanted,
    cancel_after_retries,
    fetch_all,
    head,
    honest,
    serving,
    source,
)

DATA = bytes(range(48, 88))
OK = f'ETag: "E1"\r\nx-oss-hash-crc64ecma: {crc64.xz(DATA)}'


def _body(*lines: str, status: str = "200 OK", body: bytes = DATA) -> bytes:
    return head(status, *lines) + body


def losing(data: bytes, end: str) -> Callable[[Request], list[Action]]:
    """A server that ends the first answer for each key after as many bytes as the key says."""

    def script(request: Request) -> list[Action]:
        answer = honest(data, "E1", request)
        return [answer] if request.nth else [answer[: int(request.key)], end]

    return script


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_connection_lost_at_every_byte_is_resumed(end: str) -> None:
    whole = honest(DATA, "E1", Request(0, "GET", "", {"if-match": '"E1"'}, 0))
    positions = range(len(whole))

    with serving(losing(DATA, end)) as server:
        wanted = [Wanted(b"%d" % position, DATA, pieces=3) for position in positions]
        facts = fetch_all(source(server.url), wanted, connections=32)
        assert [item.key for item in wanted if not item.right] == []
        assert facts["requests"] == len(server.requests) == 2 * len(wanted)
        ranges = {request.key: request.headers.get("range") for request in server.requests if request.nth == 1}
    assert facts["restarts"] == 0
    assert ranges.keys() == {b"%d" % position for position in positions}
    if end == CLOSE:  # a reset throws away what was not read yet
        assert ranges[b"%d" % (len(whole) - 1)] == "bytes=39-39"
    assert ranges[b"0"] is None


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_connection_lost_at_every_byte_of_a_larger_answer(end: str) -> None:
    """Larger than what is received together with the head, so that the body comes straight into the slab."""
    data = random.Random(1).randbytes(20_000)
    length = len(honest(data, "E1", Request(0, "GET", "", {"if-match": '"E1"'}, 0)))
    for first in range(0, length, 200):
        with serving(losing(data, end)) as server:  # a new one each time: it looks through all requests that it ever had
            wanted = [Wanted(b"%d" % position, data, pieces=3) for position in range(first, min(first + 200, length))]
            facts = fetch_all(source(server.url, timeout=120.0), wanted, connections=32)
            assert [(item.key, item.failure) for item in wanted if not item.right] == []
            assert facts["restarts"] == 0


def test_a_stall_at_any_byte_is_resumed() -> None:
    length = len(honest(DATA, "E1", Request(0, "GET", "", {"if-match": '"E1"'}, 0)))

    def script(request: Request) -> list[Action]:
        answer = honest(DATA, "E1", request)
        return [answer] if request.nth else [answer[: int(request.key)], HANG]

    with serving(script) as server:
        wanted = [Wanted(b"%d" % position, DATA) for position in range(0, length, 5)]
        facts = fetch_all(source(server.url, timeout=12.0), wanted, connections=64)
        assert [item.key for item in wanted if not item.right] == []
    assert cast(int, facts["timeouts"]) >= len(wanted)


#: Answers that must be refused, and are right when asked for again.
MALFORMED = {
    "no http": b"hello world\r\n\r\n",
    "http/2": _body(OK, "Content-Length: 40").replace(b"HTTP/1.1", b"HTTP/2.0"),
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "no status": head("", OK) + DATA,
    "status 99": head("99 Low", OK) + DATA,
    "status text": head("2x0 OK", OK) + DATA,
    "long status": head("2000 OK", OK) + DATA,
    "two lengths": _body(OK, "Content-Length: 40", "Content-Length: 40"),
    "two different lengths": _body(OK, "Content-Length: 40", "content-length: 41"),
    "length list": _body(OK, "Content-Length: 40, 40"),
    "signed length": _body(OK, "Content-Length: +40"),
    "negative length": _body(OK, "Content-Length: -40"),
    "hex length": _body(OK, "Content-Length: 0x28"),
    "empty length": _body(OK, "Content-Length:"),
    "huge length": _body(OK, "Content-Length: " + "9" * 30),
    "short length": _body(OK, "Content-Length: 39"),
    "long length": _body(OK, "Content-Length: 41"),
    "length and chunks": _body(OK, "Content-Length: 40", "Transfer-Encoding: chunked"),
    "gzip, chunked": _body(OK, "Transfer-Encoding: gzip, chunked"),
    "two etags": _body(OK, 'ETag: "E1"', "Content-Length: 40"),
    "no length": _body(OK),
    "no etag": _body("Content-Length: 40"),
    "bad crc": _body('ETag: "E1"', "x-oss-hash-crc64ecma: -1", "Content-Length: 40"),
    "wrong crc": _body('ETag: "E1"', "x-oss-hash-crc64ecma: 17", "Content-Length: 40"),
    "folded": _body(OK, "X-A: 1\r\n 2", "Content-Length: 40"),
    "space before colon": _body(OK, "Content-Length : 40"),
    "no colon": _body(OK, "Content-Length 40"),
    "no name": _body(OK, ": 40"),
    "nul": _body(OK, "X-A: a\0b", "Content-Length: 40"),
    "bare lf": _body(OK, "X-A: a\nX-B: b", "Content-Length: 40"),
    "bare cr": _body(OK, "X-A: a\rX-B: b", "Content-Length: 40"),
    "bad chunk size": _body(OK, "Transfer-Encoding: chunked", body=b"zz\r\n"),
    "negative chunk": _body(OK, "Transfer-Encoding: chunked", body=b"-1\r\n"),
    "empty chunk size": _body(OK, "Transfer-Encoding: chunked", body=b"\r\n"),
    "huge chunk": _body(OK, "Transfer-Encoding: chunked", body=b"f" * 17 + b"\r\n"),
    "chunk overrun": _body(OK, "Transfer-Encoding: chunked", body=b"1\r\nab\r\n"),
    "too many chunks": _body(OK, "Transfer-Encoding: chunked", body=b"28\r\n" + DATA + b"\r\n1\r\na\r\n0\r\n\r\n"),
    "too few chunks": _body(OK, "Transfer-Encoding: chunked", body=b"1\r\n0\r\n0\r\n\r\n"),
    "endless chunk line": _body(OK, "Transfer-Encoding: chunked", body=b"1;" + b"a" * 3000),
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000,
    "interim without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "206 without range": _body(OK, "Content-Length: 40", "Content-Range: bytes 0-39/40", status="206 Partial"),
}


def test_a_malformed_answer_is_asked_for_once_more() -> None:
    with serving(lambda request: [honest(DATA, "E1", request) if request.nth else MALFORMED[request.key.decode()]]) as server:
        wanted = [Wanted(name.encode(), DATA) for name in MALFORMED]
        facts = fetch_all(source(server.url), wanted)
        assert [item.key for item in wanted if not item.right] == []
    assert facts["damaged"] == len(MALFORMED)
    assert facts["restarts"] == 0


def test_an_answer_that_stays_malformed_is_damaged() -> None:
    with serving(lambda request: [MALFORMED[request.key.decode()]]) as server:
        wanted = [Wanted(name.encode(), DATA) for name in MALFORMED]
        fetch_all(source(server.url), wanted)
        assert {item.key: type(item.failure) for item in wanted if not isinstance(item.failure, Damaged)} == {}
        assert len(server.requests) == 2 * len(MALFORMED)


#: Good answers in other forms.
UNUSUAL = {
    "chunks": _body(
        OK, "Transfer-Encoding: chunked", body=b"5;x=y\r\n" + DATA[:5] + b"\r\n23\r\n" + DATA[5:] + b"\r\n0\r\nT: 1\r\n\r\n"
    ),
    "continue first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    + _body(OK, "Content-Length: 40"),
    "odd case": _body(OK.replace("ETag", "ETAG").replace("x-oss", "X-Oss"), "CONTENT-length:40"),
    "no reason": _body(OK, "Content-Length: 40", status="200"),
    "close": _body(OK, "Content-Length: 40", "Connection: Close"),
    "http/1.0": _body(OK, "Content-Length: 40").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "many headers": _body(OK, *[f"X-{number}: {'v' * 100}" for number in range(500)], "Content-Length: 40"),
    "no crc": _body('ETag: "E1"', "Content-Length: 40"),
}


@pytest.mark.parametrize("slice_size", [1, 7, 100_000])
def test_unusual_answers_are_taken(slice_size: int) -> None:
    def script(request: Request) -> list[Action]:
        answer = UNUSUAL[request.key.decode()]
        if len(answer) > 5000 and slice_size < 100:
            return [answer]
        return [answer[at : at + slice_size] for at in range(0, len(answer), slice_size)]

    with serving(script) as server:
        wanted = [Wanted(name.encode(), DATA) for name in UNUSUAL]
        facts = fetch_all(source(server.url), wanted, connections=4)
        assert {item.key: item.failure for item in wanted if not item.right} == {}
        assert len(server.requests) >= len(UNUSUAL)
    assert facts["damaged"] == 0


def test_bytes_after_the_body_harm_nobody() -> None:
    """They may come when the next request is out already and look like its answer, which then is asked for once more."""
    surplus = _body(OK, "Content-Length: 40", body=DATA + b"HTTP/1.1 200 OK\r\n\r\n")
    with serving(lambda request: [surplus[:-9], surplus[-9:]]) as server:
        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url), wanted)
        assert wanted[0].right


RANGE = "Content-Range: bytes 10-19/40"
#: Answers to bytes 10-19, and what comes of them.
RANGES: list[tuple[bytes, type[OssMountError] | None]] = [
    (head("206 X", 'ETag: "E1"', "Content-Range: bytes 11-20/40", "Content-Length: 10") + DATA[11:21], Damaged),
    (head("206 X", 'ETag: "E1"', "Content-Range: bytes 10-20/40", "Content-Length: 11") + DATA[10:21], Damaged),
    (head("206 X", 'ETag: "E1"', "Content-Range: bytes 10-19", "Content-Length: 10") + DATA[10:20], Damaged),
    (head("206 X", 'ETag: "E1"', "Content-Range: 10-19/40", "Content-Length: 10") + DATA[10:20], Damaged),
    (head("206 X", 'ETag: "E1"', "Content-Length: 10") + DATA[10:20], Damaged),
    (head("206 X", 'ETag: "E1"', RANGE, RANGE, "Content-Length: 10") + DATA[10:20], Damaged),
    (head("200 X", 'ETag: "E1"', "Content-Length: 40") + DATA, Damaged),
    (head("206 X", 'ETag: "E1"', "Content-Range: bytes 10-19/41", "Content-Length: 10") + DATA[10:20], Changed),
    (head("206 X", 'ETag: "E2"', RANGE, "Content-Length: 10") + DATA[10:20], Changed),
    (head("206 X", 'ETag: W/"E1"', RANGE, "Content-Length: 10") + DATA[10:20], Changed),
    (head("206 X", 'ETag: "E1"', "Content-Range: bytes 10-19/*", "Content-Length: 10") + DATA[10:20], None),
    (head("206 X", 'ETag: "E1"', RANGE, "Content-Length: 10") + DATA[10:20], None),
]


def test_a_range_must_be_the_one_asked_for() -> None:
    with serving(lambda request: [RANGES[int(request.key)][0], CLOSE]) as server:
        wanted = [Wanted(b"%d" % number, DATA, start=10, length=10) for number in range(len(RANGES))]
        fetch_all(source(server.url), wanted)
    outcomes = [type(item.failure) if item.failure or not item.right else None for item in wanted]
    assert outcomes == [expected for _, expected in RANGES]


def _error(status: str, code: str, *lines: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><RequestId>5C3D</RequestId></Error>".encode()
    return head(status, f"Content-Length: {len(body)}", "x-oss-request-id: 5C3D", *lines) + body


FINAL: list[tuple[bytes, type[OssMountError]]] = [
    (_error("403 Forbidden", "AccessDenied"), Denied),
    (_error("403 Forbidden", "InvalidObjectState"), Archived),
    (_error("404 Not Found", "NoSuchKey"), Changed),
    (head("404 Not Found", "Content-Length: 0"), Changed),
    (_error("404 Not Found", "NoSuchBucket"), NoSuchBucket),
    (_error("412 Precondition Failed", "PreconditionFailed"), Changed),
    (_error("416 Range", "InvalidRange"), Changed),
    (_error("400 Bad Request", "InvalidArgument"), OssMountError),
    (_error("301 Moved", "AccessDenied", "Location: http://169.254.169.254/"), OssMountError),
    (head("307 Moved", "Location: /elsewhere", "Content-Length: 0"), OssMountError),
    (head("204 No Content"), OssMountError),
    (head("304 Not Modified"), OssMountError),
    (head("403 Forbidden", "Transfer-Encoding: chunked") + b"3\r\n<Er\r\n0\r\n\r\n", Denied),
    (head("403 Forbidden") + b"x" * 200_000, Denied),
]
PASSING: list[tuple[bytes, type[OssMountError]]] = [
    (_error("500 Internal", "InternalError"), Unavailable),
    (_error("502 Bad Gateway", ""), Unavailable),
    (_error("503 Busy", "QpsLimitExceeded"), Throttled),
    (_error("503 Busy", "DownloadTrafficRateLimitExceeded", "Connection: close"), Throttled),
]


def test_final_answers_are_not_repeated() -> None:
    with serving(lambda request: [FINAL[int(request.key)][0]]) as server:
        wanted = [Wanted(b"%d" % number, DATA) for number in range(len(FINAL))]
        fetch_all(source(server.url), wanted)
        assert len(server.requests) == len(FINAL)
    assert [type(item.failure) for item in wanted] == [expected for _, expected in FINAL]
    assert {item.calls for item in wanted} == {1}


def test_passing_errors_are_repeated() -> None:
    with serving(lambda request: [honest(DATA, "E1", request) if request.nth > 1 else PASSING[int(request.key)][0]]) as server:
        wanted = [Wanted(b"%d" % number, DATA) for number in range(len(PASSING))]
        fetch_all(source(server.url), wanted)
        assert all(item.right for item in wanted)
        assert len(server.requests) == 3 * len(PASSING)


def test_passing_errors_are_repeated_until_the_deadline() -> None:
    with serving(lambda request: [PASSING[int(request.key)][0]]) as server:
        wanted = [Wanted(b"%d" % number, DATA) for number in range(len(PASSING))]
        fetch_all(source(server.url, timeout=5.0), wanted)
        assert len(server.requests) > len(PASSING)
    assert [type(item.failure) for item in wanted] == [expected for _, expected in PASSING]


def test_silence_ends_at_the_deadline() -> None:
    with serving(lambda request: [HANG]) as server:
        wanted = [Wanted(b"%d" % number, DATA, demand=number < 2) for number in range(4)]
        fetch_all(source(server.url, timeout=1.0), wanted, connections=2)
        assert {type(item.failure) for item in wanted} == {DeadlineExceeded}


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        wanted = [Wanted(b"a", DATA)]
        facts = fetch_all(source(f"http://127.0.0.1:{bound.getsockname()[1]}"), wanted, during=cancel_after_retries)
    assert isinstance(wanted[0].failure, Unavailable)
    assert facts["requests"] == 0
    assert facts["restarts"] == 0


def test_a_kept_connection_that_the_server_closed_costs_nothing() -> None:
    """Without a back-off: the server closes each connection when the second request comes."""

    def script(request: Request) -> list[Action]:
        with lock:
            seen[request.connection] = seen.get(request.connection, 0) + 1
            if seen[request.connection] == 2:
                return [CLOSE]
        return [honest(DATA, "E1", request)]

    lock = threading.Lock()
    seen: dict[int, int] = {}
    with serving(script) as server:
        wanted = [Wanted(b"%d" % number, DATA) for number in range(30)]
        facts = fetch_all(source(server.url), wanted, connections=2)
        assert all(item.right for item in wanted)
    assert facts["reused_closed"] == facts["retries"] != 0


def test_an_object_that_changes_between_two_attempts() -> None:
    """The bytes of two versions never meet: the resumed range asks for the first version."""

    def script(request: Request) -> list[Action]:
        if request.nth == 0:
            return [honest(DATA, "E1", request)[:-7], CLOSE]
        return [honest(DATA[::-1], "E2", request)]

    with serving(script) as server:
        wanted = [Wanted(b"a", DATA)]
        fetch_all(source(server.url), wanted)
        assert isinstance(wanted[0].failure, Changed)
        assert server.requests[1].headers["if-match"] == '"E1"'


def test_random_damage_never_gives_wrong_bytes() -> None:
    """300 answers with bytes replaced, removed or added in one place: right bytes or an error, and no process dies."""
    good = honest(DATA, "E1", Request(0, "GET", "", {"if-match": '"E1"'}, 0))

    def script(request: Request) -> list[Action]:
        chance = random.Random(int(request.key))
        answer = bytearray(good)
        at = chance.randrange(len(answer))
        answer[at : at + chance.randint(0, 2)] = chance.choice([b"", b"\r\n", b"\0", b"\xff", b":", b"0", chance.randbytes(1)])
        return [bytes(answer), CLOSE]

    with serving(script) as server:
        wanted = [Wanted(b"%d" % number, DATA) for number in range(300)]
        facts = fetch_all(source(server.url, timeout=2.0), wanted, connections=64)
    assert [item for item in wanted if item.failure is None and not item.right] == []
    assert {item.calls for item in wanted} == {1}
    assert facts["restarts"] == 0
