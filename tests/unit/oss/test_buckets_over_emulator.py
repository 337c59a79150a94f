"""The control plane, and signatures of the data plane, against the embedded server."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import hypothesis
import pytest
import trio
from hypothesis import strategies as st

from ossmount.config import Credentials, SourceConfig
from ossmount.emulator.faults import Fault
from ossmount.emulator.server import EmulatedServer
from ossmount.errors import DeadlineExceeded, Denied, NoSuchBucket, NotFound, OssMountError, Throttled, Unavailable
from ossmount.model import ObjectInfo
from ossmount.oss import buckets
from ossmount.oss.buckets import Bucket
from ossmount.oss.endpoint import endpoint_of
from ossmount.oss.signing import Signer

T = TypeVar("T")
Names = tuple[list[bytes], list[bytes]]

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # oss2, on Python 3.12

#: Every shape of key that has gone wrong somewhere.
KEYS = sorted(
    [
        *(b"a", b"a/", b"a/b", b"a/b/c", b"a//b", b"a-b", b"a.b", b"b//", b".", b"..", b"../a", b"a/../b", b"./a"),
        *("é 中+%2F&=?#.jpg".encode(), b"tab\tnew\nline", b'"quoted"<&>', b"x" * 1023, "😀/".encode(), b"train/0001.jpg"),
    ]
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedServer]:
    with EmulatedServer(tmp_path_factory.mktemp("store")) as running:
        for key in KEYS:
            running.store.put("odd", key, key, mtime=1_700_000_000)
        running.store.create_bucket("empty-bucket")
        yield running


@pytest.fixture(autouse=True)
def fresh(server: EmulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "FIRST_PAUSE", 0.001)
    server.faults.clear()
    server.requests.clear()


def source(server: EmulatedServer, bucket: str = "odd", *, region: str = "", prefix: bytes = b"", **wrong: str) -> SourceConfig:
    credentials = Credentials(server.access_key_id, server.access_key_secret)._replace(**wrong)
    return SourceConfig(bucket, prefix=prefix, endpoint=server.url, region=region, credentials=lambda: credentials)


def ask(config: SourceConfig, question: Callable[[Bucket], Awaitable[T]]) -> T:
    async def main() -> T:
        bucket = Bucket(config)
        try:
            return await question(bucket)
        finally:
            bucket.close()

    return trio.run(main)


async def listing(bucket: Bucket, prefix: bytes, delimiter: bytes, start_after: bytes, size: int) -> Names:
    """All keys and common prefixes, page by page."""
    keys: list[bytes] = []
    prefixes: list[bytes] = []
    token = ""
    while True:
        page = await bucket.list_page(prefix, delimiter=delimiter, start_after=start_after, token=token, max_keys=size)
        keys += [entry.key for entry in page.objects]
        prefixes += page.prefixes
        token = page.next_token
        if not token:
            return keys, prefixes


def expected(prefix: bytes, delimiter: bytes, start_after: bytes) -> Names:
    """What ListObjectsV2 answers, from its definition."""
    keys: list[bytes] = []
    prefixes: set[bytes] = set()
    for key in KEYS:
        if not key.startswith(prefix) or key <= start_after:
            continue
        place = key.find(delimiter, len(prefix)) if delimiter else -1
        if place < 0:
            keys.append(key)
        else:
            prefixes.add(key[: place + len(delimiter)])
    return keys, sorted(prefixes)


@pytest.mark.parametrize("region", ["", "cn-hangzhou"], ids=["V1", "V4"])
@hypothesis.settings(deadline=None, max_examples=15, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    prefix=st.sampled_from([b"", b"a", b"a/", b"b/", "é".encode(), b"none"]),
    delimiter=st.sampled_from([b"", b"/"]),
    start_after=st.sampled_from([b"", b"a", b"a/b", b"b", "é 中".encode()]),
    size=st.sampled_from([1, 3, 1000]),
)
def test_listing_page_by_page(
    server: EmulatedServer, region: str, prefix: bytes, delimiter: bytes, start_after: bytes, size: int
) -> None:
    config = source(server, region=region)
    keys, prefixes = ask(config, lambda bucket: listing(bucket, prefix, delimiter, start_after, size))
    wanted = expected(prefix, delimiter, start_after)
    assert keys == wanted[0]
    # a page may begin inside a common prefix that start_after lies in: the server decides whether it is told once more
    assert [name for name in prefixes if not start_after.startswith(name)] == [
        name for name in wanted[1] if not start_after.startswith(name)
    ]


@pytest.mark.parametrize("region", ["", "cn-hangzhou"], ids=["V1", "V4"])
def test_head_of_every_key(server: EmulatedServer, region: str) -> None:
    async def heads(bucket: Bucket) -> list[ObjectInfo]:
        return [await bucket.head(key) for key in KEYS]

    for key, info in zip(KEYS, ask(source(server, region=region), heads), strict=True):
        record = server.store.find("odd", key)
        assert record is not None
        assert info == ObjectInfo(key, len(key), 1_700_000_000 * 10**9, record.etag, "Normal", "Standard", record.crc64)


@pytest.mark.parametrize("region", ["", "cn-hangzhou"], ids=["V1", "V4"])
@pytest.mark.parametrize("token", ["", "a-token"])
def test_signer_and_path_serve_the_data_plane(server: EmulatedServer, region: str, token: str) -> None:
    server.accounts.add("data-id", "data-secret", token)
    config = source(server, region=region, access_key_id="data-id", access_key_secret="data-secret", security_token=token)
    signer, endpoint = Signer(config), endpoint_of(config)
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=30)
    try:
        for key in KEYS:
            record = server.store.find("odd", key)
            assert record is not None
            extra = {"Range": f"bytes=0-{len(key) - 1}", "If-Match": f'"{record.etag}"', "x-oss-range-behavior": "standard"}
            connection.putrequest("GET", endpoint.path(key), skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", endpoint.host_header)
            for name, value in signer.headers("GET", key, extra):
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (206, key), key
    finally:
        connection.close()


def test_virtual_host(server: EmulatedServer) -> None:
    port = urlsplit(server.url).port
    config = source(server)._replace(endpoint=f"http://odd.localhost:{port}")
    endpoint = endpoint_of(config)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = dict(Signer(config).headers("GET", b"a/b", {"Host": endpoint.host_header}))
        connection.request("GET", endpoint.path(b"a/b"), headers=headers)
        assert connection.getresponse().read() == b"a/b"
    finally:
        connection.close()


def test_symlinks(server: EmulatedServer) -> None:
    target = "a/é +%".encode()
    server.store.put_symlink("links", b"link", target)
    assert ask(source(server, "links"), lambda bucket: bucket.symlink_target(b"link")) == target
    page = ask(source(server, "links"), lambda bucket: bucket.list_page(b""))
    assert page.objects[0].object_type == "Symlink"
    with pytest.raises(NotFound):
        ask(source(server, "links"), lambda bucket: bucket.symlink_target(b"none"))


def test_missing_object_and_missing_bucket_differ(server: EmulatedServer) -> None:
    with pytest.raises(NotFound, match="HEAD none"):
        ask(source(server), lambda bucket: bucket.head(b"none"))
    with pytest.raises(NoSuchBucket):
        ask(source(server, "no-such-bucket"), lambda bucket: bucket.head(b"none"))
    assert server.requests.count("HEAD") == 2  # definite answers are not asked for again


def test_check_accepts(server: EmulatedServer) -> None:
    for config in (source(server), source(server, "empty-bucket"), source(server, prefix=b"a/b/"), source(server, region="x")):
        ask(config, lambda bucket: bucket.check())
    assert server.requests.count("LIST") == len(server.requests) == 4


def test_check_explains(server: EmulatedServer) -> None:
    server.accounts.add("sts-1", "sts-secret", "sts-token", expires=time.time() - 1)
    server.accounts.add("sts-2", "sts-secret", "sts-token")
    for config, message in (
        (source(server, "no-such-bucket"), "NoSuchBucket .*check the bucket's name"),
        (source(server, access_key_id="wrong"), "InvalidAccessKeyId .*check OSS_ACCESS_KEY_ID"),
        (source(server, access_key_secret="wrong"), "SignatureDoesNotMatch .*check OSS_ACCESS_KEY_SECRET"),
        (source(server, access_key_secret="wrong", region="cn-hangzhou"), "SignatureDoesNotMatch .*--region"),
        (source(server, access_key_id="sts-1", access_key_secret="sts-secret", security_token="sts-token"), "Expired"),
        (
            source(server, access_key_id="sts-2", access_key_secret="sts-secret", security_token="no"),
            "InvalidSecurityToken",
        ),
        (source(server, access_key_id=""), "AccessDenied .*no credentials were given"),
        (source(server, prefix=b"nothing/here/"), "no object below the prefix nothing/here/"),
    ):
        with pytest.raises(OssMountError, match=message) as caught:
            ask(config, lambda bucket: bucket.check())
        assert not isinstance(caught.value, (Unavailable, Throttled))


@pytest.mark.parametrize("region", ["", "cn-hangzhou"])
@pytest.mark.parametrize("ahead", [-86_400.0 * 400, 3600.0])
def test_a_wrong_clock_is_put_right_by_the_first_refusal(
    server: EmulatedServer, region: str, ahead: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def twice(bucket: Bucket) -> None:
        await bucket.check()
        await bucket.check()

    monkeypatch.setattr(server.accounts, "ahead", ahead)
    ask(source(server, region=region), twice)
    assert server.requests.count("LIST") == 3
    assert caplog.text.count("set the clock") == 1


def test_a_refusal_that_tells_no_time_is_explained(server: EmulatedServer) -> None:
    """And one that goes on although it was told OSS's own time is not repeated for ever."""
    server.faults.add(Fault(code="RequestTimeTooSkewed"))
    with pytest.raises(Denied, match=r"RequestTimeTooSkewed .*clock of this machine"):
        ask(source(server), lambda bucket: bucket.check())
    assert server.requests.count("LIST") == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(code="InternalError", count=3),
        Fault(code="QpsLimitExceeded", count=3),
        Fault(reset=True, count=3),
        Fault(reset_after=40, count=3),
        Fault(truncate_after=100, count=3),
    ],
    ids=["5xx", "throttled", "reset", "reset in the body", "cut off"],
)
def test_faults_that_pass_are_not_seen(server: EmulatedServer, fault: Fault) -> None:
    server.faults.add(fault)
    keys, _ = ask(source(server), lambda bucket: listing(bucket, b"", b"", b"", 1000))
    assert keys == KEYS
    assert server.requests.count("LIST") == 4


def test_faults_that_stay_have_an_end(server: EmulatedServer) -> None:
    for fault, kind in ((Fault(code="InternalError"), Unavailable), (Fault(code="QpsLimitExceeded"), Throttled)):
        server.faults.clear()
        server.faults.add(fault)
        with pytest.raises(kind):
            ask(source(server)._replace(timeout=1.5), lambda bucket: bucket.head(b"a"))
    server.faults.clear()
    server.faults.add(Fault(hang=True))
    with pytest.raises((DeadlineExceeded, Unavailable)):
        ask(source(server)._replace(timeout=1.5), lambda bucket: bucket.head(b"a"))


def test_connections_that_were_cut_are_made_again(server: EmulatedServer) -> None:
    async def question(bucket: Bucket) -> int:
        await bucket.head(b"a")
        await trio.to_thread.run_sync(server.drop_connections)
        return (await bucket.head(b"a")).size

    assert ask(source(server), question) == 1


def test_many_at_once(server: EmulatedServer) -> None:
    keys = [random.Random(7).choice(KEYS) for _ in range(100)]

    async def question(bucket: Bucket) -> dict[str, object]:
        async def one(key: bytes) -> None:
            assert (await bucket.head(key)).key == key

        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(one, key)
        return bucket.facts()

    assert ask(source(server), question)["requests"] == {"HEAD": 100}
    assert server.requests.peak <= buckets.CONNECTIONS
