"""The control plane against a server that says what each test tells it to, byte for byte."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import itertools
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ossmount.config import Credentials, SourceConfig
from ossmount.errors import (
    Damaged,
    DeadlineExceeded,
    Denied,
    InvalidArgument,
    NoSuchBucket,
    NotFound,
    OssMountError,
    Throttled,
    Unavailable,
)
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss import buckets
from ossmount.oss.buckets import Bucket
from ossmount.oss.interface import ObjectLister
from ossmount.oss.session import Answer, Question

T = TypeVar("T")

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # oss2, on Python 3.12

HEADERS = {"ETag": '"E1"', "Last-Modified": "Sat, 21 Nov 2026 15:47:04 GMT", "x-oss-hash-crc64ecma": "18446744073709551615"}
EMPTY = b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated></ListBucketResult>"
ONE = (
    b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
    b"<NextContinuationToken>t%2B1</NextContinuationToken><Contents><Key>a/%C3%A9%20%2B</Key><Size>5</Size>"
    b'<LastModified>2026-11-21T15:47:04.000Z</LastModified><ETag>"E1"</ETag></Contents></ListBucketResult>'
)


def refusal(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>no</Message><RequestId>R-1</RequestId></Error>".encode()


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # a false Content-Length
    wait: threading.Event | None = None  # for which the server waits before it answers


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case


class Script:
    """Answers each request with the next reply (the last one again and again) and keeps the requests."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []
        self.url = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        self.requests.append(
            Request(handler.command, parts.path, query, {name.lower(): value for name, value in handler.headers.items()})
        )
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply.wait is not None:
            reply.wait.wait(60)
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        if "Content-Length" not in reply.headers:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(reply.body)
        handler.close_connection = length != len(reply.body)


@contextmanager
def serving(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Script]:
    script = Script(*replies)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_arguments: object) -> None:
            """Nothing on stderr."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # a kept connection is not waited for
    server.block_on_close = False
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        script.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "FIRST_PAUSE", 0.001)


def source(script: Script, **more: object) -> SourceConfig:
    return SourceConfig("data", endpoint=script.url)._replace(**more)  # type: ignore[arg-type]


def ask(config: SourceConfig, question: Callable[[Bucket], Awaitable[T]]) -> T:
    async def main() -> T:
        bucket = Bucket(config)
        try:
            return await question(bucket)
        finally:
            bucket.close()

    return trio.run(main)


def test_list_page_asks_and_parses() -> None:
    with serving(Reply(body=ONE)) as script:
        page = ask(source(script), lambda bucket: bucket.list_page(b"a/", delimiter=b"/", start_after="a/à".encode()))
        assert page == ListPage([ObjectInfo("a/é +".encode(), 5, 1795276024_000_000_000, "E1")], [], "t+1")
        ask(source(script), lambda bucket: bucket.list_page(b"", token="t+0", start_after=b"a", max_keys=7))
    first, second = script.requests
    assert (first.method, first.path) == ("GET", "/data/")
    assert first.query == {
        "list-type": ["2"],
        "encoding-type": ["url"],
        "max-keys": ["1000"],
        "prefix": ["a/"],
        "delimiter": ["/"],
        "start-after": ["a/à"],
    }
    assert second.query == {"list-type": ["2"], "encoding-type": ["url"], "max-keys": ["7"], "continuation-token": ["t+0"]}
    assert "authorization" not in first.headers


def test_head() -> None:
    reply = Reply(headers={**HEADERS, "Content-Length": "12", "x-oss-object-type": "Appendable", "x-oss-storage-class": "IA"})
    with serving(reply) as script:
        info = ask(source(script), lambda bucket: bucket.head(b"a"))
    assert info == ObjectInfo(b"a", 12, 1795276024_000_000_000, "E1", "Appendable", "IA", (1 << 64) - 1)
    assert script.requests[0].method == "HEAD"


@pytest.mark.parametrize("key", ["a/b", "a//b", "/a", "..", "a/../b", "./a", "é+ %2F?#&", "a/"])
def test_every_key_arrives_as_it_is(key: str) -> None:
    with serving(Reply(headers={**HEADERS, "Content-Length": "0"})) as script:
        ask(source(script), lambda bucket: bucket.head(key.encode()))
    assert unquote(script.requests[0].path) == f"/data/{key}"


@pytest.mark.parametrize("region", ["", "cn-hangzhou"])
def test_requests_are_signed(region: str) -> None:
    credentials = Credentials("an-id", "s3cret", "a-token")
    with serving(Reply(body=EMPTY)) as script:
        ask(source(script, region=region, credentials=lambda: credentials), lambda bucket: bucket.list_page(b""))
    headers = script.requests[0].headers
    assert headers["authorization"].startswith("OSS4-HMAC-SHA256 Credential=an-id/" if region else "OSS an-id:")
    assert headers["x-oss-security-token"] == "a-token"


def test_symlink_target() -> None:
    with serving(Reply(headers={"x-oss-symlink-target": "a/%C3%A9"})) as script:
        assert ask(source(script), lambda bucket: bucket.symlink_target(b"link")) == "a/é".encode()
    assert list(script.requests[0].query) == ["symlink"]
    with serving(Reply()) as script, pytest.raises(Damaged, match="names no target"):
        ask(source(script), lambda bucket: bucket.symlink_target(b"link"))


def test_keys_that_no_object_can_have() -> None:
    with serving(Reply(body=EMPTY)) as script:
        with pytest.raises(NotFound, match="not UTF-8"):
            ask(source(script), lambda bucket: bucket.head(b"\xff"))
        with pytest.raises(InvalidArgument, match="key is empty"):
            ask(source(script), lambda bucket: bucket.head(b""))
        with pytest.raises(InvalidArgument, match=r"prefix b'.xff' is not UTF-8"):
            ask(source(script), lambda bucket: bucket.list_page(b"\xff"))
        with pytest.raises(InvalidArgument, match="1001 keys"):
            ask(source(script), lambda bucket: bucket.list_page(b"", max_keys=1001))
    assert script.requests == []


@pytest.mark.parametrize(
    "bad",
    [
        Reply(500, refusal("InternalError")),
        Reply(502, b"<html>"),
        Reply(503, refusal("QpsLimitExceeded")),
        Reply(body=ONE, length=len(ONE) + 10),
        Reply(body=ONE[:-20]),
    ],
    ids=["InternalError", "gateway", "throttled", "cut off", "cut XML"],
)
def test_what_passes_is_tried_again(bad: Reply) -> None:
    async def question(bucket: Bucket) -> dict[str, object]:
        await bucket.list_page(b"")
        return bucket.facts()

    with serving(bad, bad, Reply(body=ONE)) as script:
        facts = ask(source(script), question)
        durations = facts.pop("durations")
        assert facts == {"requests": {"LIST": 3}, "retries": 2, "failures": 0}
        assert isinstance(durations, dict) and durations["list"]["count"] == 1
    assert len(script.requests) == 3


def test_what_stays_damaged_is_given_up_soon() -> None:
    with serving(Reply(body=b"<ListBucketResult>")) as script, pytest.raises(Damaged):
        ask(source(script), lambda bucket: bucket.list_page(b""))
    assert len(script.requests) == buckets.DAMAGED_ATTEMPTS


@pytest.mark.parametrize("kind", [Unavailable, Throttled, DeadlineExceeded])
def test_what_may_pass_is_asked_for_until_the_deadline(kind: type[OssMountError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute without OSS is a pause: a lookup fails no sooner than a read does."""
    times: list[float] = []

    async def at_once(exchange: Callable[[], T], **_options: object) -> T:
        await trio.lowlevel.checkpoint()
        return exchange()

    def request(_question: Question, _deadline: float) -> Answer:
        times.append(trio.current_time() - begin)
        raise kind("not now")

    begin = 0.0

    async def main() -> None:
        nonlocal begin
        bucket = Bucket(SourceConfig("data", endpoint="http://127.0.0.1:1", timeout=60.0))
        monkeypatch.setattr(bucket._session, "request", request)
        begin = trio.current_time()
        with pytest.raises(kind, match="not now"):
            await bucket.list_page(b"")

    monkeypatch.setattr(buckets, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert 56.0 < times[-1] < 60.0
    assert pauses[0] <= 0.2
    assert max(pauses) <= buckets.LONGEST_PAUSE
    assert 30 <= len(times) <= 70


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (Reply(404, refusal("NoSuchBucket")), NoSuchBucket, "NoSuchBucket .*check the bucket's name.*R-1"),
        (Reply(404, b"<html>"), OssMountError, "may not be an endpoint of OSS"),
        (Reply(403, refusal("AccessDenied")), Denied, "AccessDenied .* R-1; no credentials were given: set OSS_ACCESS_KEY_ID"),
        (Reply(307, headers={"Location": "http://127.0.0.1:1/"}), OssMountError, "redirects are not followed"),
        (Reply(200, b"<html><body>Welcome</body></html>"), Damaged, "does not answer like OSS .*check --endpoint"),
        (Reply(200, EMPTY), NotFound, "bucket data has no object below the prefix a/"),
    ],
)
def test_check_explains(reply: Reply, kind: type[OssMountError], message: str) -> None:
    with serving(reply) as script, pytest.raises(kind, match=message) as caught:
        ask(source(script, prefix=b"a/"), lambda bucket: bucket.check())
    assert type(caught.value) is kind
    assert len(script.requests) == (buckets.CHECK_ATTEMPTS if kind is Damaged else 1)


@pytest.mark.parametrize(
    "code",
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "SecurityTokenExpired", "InvalidSecurityToken", "RequestTimeTooSkewed"],
)
def test_check_tells_refused_credentials_apart(code: str) -> None:
    credentials = Credentials("an-id", "s3cret", "a-token")
    with serving(Reply(403, refusal(code))) as script, pytest.raises(Denied, match=code) as caught:
        ask(source(script, credentials=lambda: credentials), lambda bucket: bucket.check())
    assert "no credentials" not in str(caught.value)
    assert "s3cret" not in str(caught.value) and "a-token" not in str(caught.value)


def test_check_of_a_bucket_without_prefix_may_be_empty() -> None:
    with serving(Reply(200, EMPTY)) as script:
        ask(source(script), lambda bucket: bucket.check())
    assert script.requests[0].query["max-keys"] == ["1"]


def test_unreachable_endpoints_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:  # bound but not listening: refused
        listener.bind(("127.0.0.1", 0))
        config = SourceConfig("data", endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Unavailable, match="refuses connections: check --endpoint"):
            ask(config, lambda bucket: bucket.check())
    with serving(Reply(200, EMPTY)) as script, pytest.raises(Unavailable, match=r"TLS with .* failed .*write http://"):
        ask(source(script, endpoint=script.url.replace("http:", "https:")), lambda bucket: bucket.check())

    def resolve(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)  # the machine's own may take long to fail
    with pytest.raises(Unavailable, match=r"cannot be resolved .*: check --endpoint"):
        ask(SourceConfig("data", endpoint="http://no-such-host.invalid"), lambda bucket: bucket.check())


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for 127.0.0.1, and the certificate to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, certificate = self_signed(tmp_path)
    with serving(Reply(200, EMPTY), tls=context) as script:
        with pytest.raises(Denied, match=r"certificate of https://127.0.0.1:\d+ is not valid"):
            ask(source(script), lambda bucket: bucket.check())
        assert script.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        ask(source(script), lambda bucket: bucket.check())
        assert len(script.requests) == 1


def test_proxy_is_used_and_named_when_it_fails() -> None:
    with serving(Reply(200, EMPTY)) as script:
        ask(SourceConfig("data", endpoint="http://no-such-host.invalid", proxy=script.url), lambda bucket: bucket.check())
    assert script.requests[0].headers["host"] == "no-such-host.invalid"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Unavailable, match="proxy cannot be used: check --proxy"):
            ask(SourceConfig("data", endpoint="http://no-such-host.invalid", proxy=proxy), lambda bucket: bucket.check())


def test_silence_ends_at_the_deadline() -> None:
    release = threading.Event()
    with serving(Reply(body=EMPTY, wait=release)) as script:
        try:
            with pytest.raises((DeadlineExceeded, Unavailable), match=r"in time|within 1.5 s"):
                ask(source(script, timeout=1.5), lambda bucket: bucket.list_page(b""))
        finally:
            release.set()


def test_cancelling_does_not_wait_for_the_server() -> None:
    release = threading.Event()

    async def question(bucket: Bucket) -> bool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bucket.list_page, b"")
            with trio.fail_after(30):
                while not script.requests:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        return release.is_set()

    with serving(Reply(body=EMPTY, wait=release)) as script:
        try:
            assert ask(source(script), question) is False
        finally:
            release.set()


def test_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ossmount.oss.session.MAX_BODY", 1000)
    with serving(Reply(body=b"x" * 1001)) as script, pytest.raises(Unavailable, match="more than 1000 bytes"):
        ask(source(script), lambda bucket: bucket.check())


def test_headers_that_no_object_has() -> None:
    whole = {**HEADERS, "Content-Length": "1"}
    for name, value in (("ETag", None), ("Last-Modified", "never"), ("Last-Modified", None)):
        headers = {**whole, name: value} if value else {n: v for n, v in whole.items() if n != name}
        with serving(Reply(headers=headers)) as script, pytest.raises(Damaged, match=f"(?i){name}"):
            ask(source(script), lambda bucket: bucket.head(b"a"))


def test_secrets_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    credentials = Credentials("an-id", "s3cret", "a-token")
    with caplog.at_level(logging.DEBUG), serving(Reply(200, EMPTY)) as script:
        ask(source(script, credentials=lambda: credentials), lambda bucket: bucket.check())
    assert "s3cret" not in caplog.text and "a-token" not in caplog.text


def test_bad_endpoint_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="--endpoint"):
        Bucket(SourceConfig("data", endpoint="ftp://x"))


def test_repr() -> None:
    bucket: ObjectLister = Bucket(SourceConfig("data", endpoint="http://localhost:1"))
    assert repr(bucket) == "<Bucket data at http://localhost:1>"
