"""What the SDKs hide: headers, XML, errors, odd requests; on a plain HTTP client."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import oss2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount.emulator.server import EmulatedServer

LIMIT = 30.0  # seconds, against hangs only


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        return ElementTree.fromstring(self.body).findtext("Code", "")


class Client:
    """One connection to a server that lets everyone in."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=LIMIT)

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, sent)
        answer = self.connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


@pytest.fixture
def client(server: EmulatedServer) -> Iterator[Client]:
    server.accounts.anonymous = True
    made = Client(server.url)
    yield made
    made.connection.close()
    server.accounts.anonymous = False


def test_headers_of_an_object(client: Client, server: EmulatedServer) -> None:
    data = b"data"
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    put = client(
        "PUT", "/bucket/key", data, Content_MD5=md5, Content_Type="a/b", x_oss_meta_name="value", Cache_Control="no-cache"
    )
    assert (put.status, put.body) == (200, b"")
    for method in ("GET", "HEAD"):
        answer = client(method, "/bucket/key")
        headers = dict(answer.headers)
        assert answer.body == (data if method == "GET" else b"")
        assert re.fullmatch("[0-9A-F]{24}", headers.pop("x-oss-request-id"))
        assert headers.pop("date") and headers.pop("last-modified").endswith("GMT")
        assert headers == {
            "accept-ranges": "bytes",
            "cache-control": "no-cache",
            "content-length": "4",
            "content-type": "a/b",
            "etag": f'"{hashlib.md5(data).hexdigest().upper()}"',
            "server": "AliyunOSS",
            "x-oss-hash-crc64ecma": str(server.store.put("other", b"key", data).crc64),
            "x-oss-meta-name": "value",
            "x-oss-object-type": "Normal",
            "x-oss-storage-class": "Standard",
        }


def test_the_crc_is_that_of_the_ecma_polynomial(server: EmulatedServer) -> None:
    assert server.store.put("bucket", b"key", b"123456789").crc64 == 0x995DC9BBDF1939FA


def test_an_error_document(client: Client, server: EmulatedServer) -> None:
    answer = client("GET", "/bucket/missing%20%3C%26%3E")
    tree = ElementTree.fromstring(answer.body)
    assert (answer.status, tree.tag, answer.headers["Content-Type"]) == (404, "Error", "application/xml")
    assert {element.tag: element.text for element in tree} == {
        "Code": "NoSuchKey",
        "Message": "The specified key does not exist.",
        "RequestId": answer.headers["x-oss-request-id"],
        "HostId": server.url.removeprefix("http://"),
        "Key": "missing <&>",
    }
    head = client("HEAD", "/bucket/missing")
    assert (head.status, head.body) == (404, b"")
    assert b"<Code>NoSuchKey</Code>" in base64.b64decode(head.headers["x-oss-err"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/missing/key", 404, "NoSuchBucket"),
        ("GET", "/missing?list-type=2", 404, "NoSuchBucket"),
        ("PUT", "/Wrong_Name", 400, "InvalidBucketName"),
        ("PUT", "/bucket/%FF", 400, "InvalidObjectName"),
        ("PUT", "/bucket/" + "x" * 1024, 400, "InvalidObjectName"),
        ("PUT", "/bucket//leading", 400, "InvalidObjectName"),
        ("GET", "/bucket?max-keys=1001", 400, "InvalidArgument"),
        ("GET", "/bucket?max-keys=none", 400, "InvalidArgument"),
        ("GET", "/bucket?list-type=2&continuation-token=%21", 400, "InvalidArgument"),
        ("GET", "/bucket?encoding-type=rot13", 400, "InvalidArgument"),
        ("GET", "/bucket?lifecycle", 501, "NotImplemented"),
        ("GET", "/bucket/key?x-oss-process=image", 501, "NotImplemented"),
        ("PATCH", "/bucket/key", 405, "MethodNotAllowed"),
        ("POST", "/bucket/key", 405, "MethodNotAllowed"),
        ("DELETE", "/", 405, "MethodNotAllowed"),
        ("POST", "/bucket?delete", 400, "MalformedXML"),
        ("POST", "/bucket/key?append&position=x", 400, "InvalidArgument"),
        ("PUT", "/bucket/key?symlink", 400, "InvalidArgument"),
        ("PUT", "/bucket/key?partNumber=0&uploadId=x", 400, "InvalidArgument"),
        ("PUT", "/bucket/key?partNumber=1&uploadId=x", 404, "NoSuchUpload"),
        ("POST", "/bucket/key?restore", 404, "NoSuchKey"),
    ],
)
def test_refusals(client: Client, method: str, path: str, status: int, code: str) -> None:
    answer = client(method, path)
    assert (answer.status, answer.code) == (status, code)


def test_content_md5(client: Client, server: EmulatedServer) -> None:
    other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    answer = client("PUT", "/bucket/key", b"data", Content_MD5=other)
    assert (answer.status, answer.code) == (400, "BadDigest")
    answer = client("PUT", "/bucket/key", b"data", Content_MD5="???")
    assert (answer.status, answer.code) == (400, "InvalidDigest")
    assert server.store.keys("bucket") == []
    assert list(server.store.writable("bucket").folder.glob("data/*/*")) == []


def test_an_upload_that_breaks_off_leaves_nothing(client: Client, server: EmulatedServer) -> None:
    server.store.put("bucket", b"key", b"before")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT) as connection:
        connection.sendall(b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    limit = time.monotonic() + LIMIT
    while not len(server.requests) or server.requests.in_flight:
        assert time.monotonic() < limit
        time.sleep(0.005)
    assert client("GET", "/bucket/key").body == b"before"
    assert len(list(server.store.writable("bucket").folder.glob("data/*/*"))) == 1


def test_small_parts_are_refused(client: Client) -> None:
    begun = client("POST", "/bucket/key?uploads").body
    upload = ElementTree.fromstring(begun).findtext("UploadId")
    for number in (1, 2):
        assert client("PUT", f"/bucket/key?partNumber={number}&uploadId={upload}", b"data").status == 200
    answer = client("POST", f"/bucket/key?uploadId={upload}", x_oss_complete_all="yes")
    assert (answer.status, answer.code) == (400, "EntityTooSmall")


def test_virtual_host_style(client: Client, server: EmulatedServer) -> None:
    port = server.url.rpartition(":")[2]
    assert client("PUT", "/folder/key", b"data", Host=f"bucket.localhost:{port}").status == 200
    assert client("GET", "/bucket/folder/key", Host=f"localhost:{port}").body == b"data"
    listed = client("GET", "/?list-type=2", Host="bucket.oss-cn-hangzhou-internal.aliyuncs.com")
    assert b"<Key>folder/key</Key>" in listed.body
    assert server.requests[-1].bucket == "bucket"


def test_a_range_of_nothing_and_an_empty_object(client: Client, server: EmulatedServer) -> None:
    server.store.put("bucket", b"empty", b"")
    answer = client("GET", "/bucket/empty")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    answer = client("GET", "/bucket/empty", Range="bytes=0-", x_oss_range_behavior="standard")
    assert (answer.status, answer.code, answer.headers["Content-Range"]) == (416, "InvalidRange", "bytes */0")
    server.store.put("bucket", b"key", b"0123456789")
    for text in ("bytes=4-2", "bytes=-", "bytes=x-", "lines=1-2", "bytes=0-1,3-4"):
        answer = client("GET", "/bucket/key", Range=text, x_oss_range_behavior="standard")
        assert (answer.status, answer.body) == (200, b"0123456789")
    answer = client("GET", "/bucket/key", Range="bytes=-100", x_oss_range_behavior="standard")
    assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, b"0123456789", "bytes 0-9/10")


def test_listings_without_encoding_keep_what_xml_can_hold(client: Client, server: EmulatedServer) -> None:
    keys = ["\t tab", "\n line", "\r return", "<&>\"'", "ü 日"]
    for key in keys:
        server.store.put("bucket", key.encode(), b"")
    tree = ElementTree.fromstring(client("GET", "/bucket?prefix=").body)
    assert [element.text for element in tree.iterfind("Contents/Key")] == keys
    assert tree.findtext("MaxKeys") == "100" and tree.findtext("IsTruncated") == "false"


def test_aws_chunked_bodies(client: Client, server: EmulatedServer) -> None:
    first, second = b"x" * 70_000, b"second"
    body = b"".join(b"%x;chunk-signature=00\r\n%b\r\n" % (len(data), data) for data in (first, second, b""))
    server.accounts.anonymous = True
    answer = client(
        "PUT",
        "/bucket/key",
        body,
        x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        x_amz_decoded_content_length=str(len(first + second)),
        Content_Encoding="aws-chunked",
        x_amz_meta_name="value",
    )
    assert answer.status == 200 and server.store.get("bucket", b"key") == first + second
    record = server.store.find("bucket", b"key")
    assert record is not None and record.headers == {"x-oss-meta-name": "value"}
    wrong = client("PUT", "/bucket/bad", b"zz\r\n", x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert (wrong.status, wrong.code) == (400, "InvalidArgument")
    assert server.store.find("bucket", b"bad") is None


def test_entities_in_xml_are_refused(client: Client) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>'
    assert client("POST", "/bucket?delete", bomb).code == "MalformedXML"


def test_a_large_body_in_both_directions(client: Client, server: EmulatedServer) -> None:
    data = bytes(range(256)) * (20 << 10)  # 5 MiB
    assert client("PUT", "/bucket/large", data).status == 200
    assert client("GET", "/bucket/large").body == data
    answer = client("GET", "/bucket/large", Range="bytes=1000000-3999999")
    assert (answer.status, answer.body) == (206, data[1_000_000:4_000_000])


def test_a_plain_folder_over_http(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "cats" / "one.jpg").write_bytes(b"cat")
    with EmulatedServer(tmp_path, plain=True, anonymous=True) as server:
        client = Client(server.url)
        got = client("GET", "/photos/cats/one.jpg")
        assert (got.status, got.body) == (200, b"cat")
        assert client("GET", "/photos/cats/one.jpg", If_Match=got.headers["ETag"]).status == 200
        assert b"<Key>cats/one.jpg</Key>" in client("GET", "/photos?list-type=2").body
        assert b"<Name>photos</Name>" in client("GET", "/").body
        for method in ("PUT", "DELETE"):
            answer = client(method, "/photos/new", b"")
            assert (answer.status, answer.code) == (403, "AccessDenied")
        (tmp_path / "photos" / "cats" / "one.jpg").write_bytes(b"another cat")
        assert client("GET", "/photos/cats/one.jpg", If_Match=got.headers["ETag"]).status == 412
        client.connection.close()


def test_a_plain_file_that_is_cut_short_is_not_sent_as_if_whole(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").touch()
    os.truncate(tmp_path / "photos" / "cat", 1 << 30)  # more than the sockets hold
    with EmulatedServer(tmp_path, plain=True, anonymous=True) as server:
        client = Client(server.url)
        client.connection.request("GET", "/photos/cat")
        answer = client.connection.getresponse()
        os.truncate(tmp_path / "photos" / "cat", 1000)
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            answer.read()
        client.connection.close()


def test_objects_survive_a_restart(tmp_path: Path) -> None:
    with EmulatedServer(tmp_path, anonymous=True) as server:
        first = Client(server.url)
        first("PUT", "/bucket")
        put = first("PUT", "/bucket/a%2F%2Fb", b"data", x_oss_meta_name="value")
        first.connection.close()
    with EmulatedServer(tmp_path, anonymous=True) as server:
        again = Client(server.url)
        got = again("GET", "/bucket/a//b")
        again.connection.close()
    assert (got.body, got.headers["ETag"], got.headers["x-oss-meta-name"]) == (b"data", put.headers["ETag"], "value")


def test_an_answer_is_one_version_while_the_object_is_replaced(client: Client, server: EmulatedServer) -> None:
    def version(number: int) -> bytes:
        return b"%04d" % number * (50_000 + number)

    server.store.put("bucket", b"key", version(0))
    done = threading.Event()
    mixed: list[Answer] = []
    read = [0, 0, 0]

    def reader(index: int) -> None:
        mine = Client(server.url)
        while not done.is_set() or not read[index]:
            answer = mine("GET", "/bucket/key")
            md5 = hashlib.md5(answer.body).hexdigest().upper()
            if answer.status != 200 or answer.headers["ETag"] != f'"{md5}"' or answer.body != version(int(answer.body[:4])):
                mixed.append(answer)
            read[index] += 1
        mine.connection.close()

    threads = [threading.Thread(target=reader, args=(index,)) for index in range(len(read))]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 201):
            server.store.put("bucket", b"key", version(number))
    finally:
        done.set()
        for thread in threads:
            thread.join(LIMIT)
    assert mixed == [] and min(read) > 0
    assert client("GET", "/bucket/key").body == version(200)


odd_keys = st.text(
    st.sampled_from("a/. %+&=?#\\\u00e9\u65e5\U0001f642\x00\x01\n\r\x7f'\"<>;:@") | st.characters(codec="utf-8"),
    min_size=1,
    max_size=30,
).filter(lambda key: key[0] not in "/\\")


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(odd_keys, min_size=1, max_size=4, unique=True))
def test_any_key_goes_through_http_unchanged(client: Client, server: EmulatedServer, keys: list[str]) -> None:
    for key in keys:
        assert client("PUT", "/bucket/" + quote(key), key.encode()).status == 200
    assert server.store.keys("bucket") == sorted(key.encode() for key in keys)
    for key in keys:
        assert client("GET", "/bucket/" + quote(key, safe="")).body == key.encode()
    prefix = quote(keys[0], safe="")
    listed = client("GET", f"/bucket?list-type=2&encoding-type=url&prefix={prefix}")
    tree = ElementTree.fromstring(listed.body)
    expected = sorted(key.encode() for key in keys if key.startswith(keys[0]))
    assert [element.text for element in tree.iterfind("Contents/Key")] == [quote(key, safe="") for key in expected]
    for key in keys:
        assert client("DELETE", "/bucket/" + quote(key)).status == 204
    assert server.store.keys("bucket") == []


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=odd_keys.filter(lambda key: not {".", ".."} & set(key.split("/"))))  # which oss2's HTTP client resolves
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_any_key_is_signed_rightly(server: EmulatedServer, session: Any, key: str) -> None:
    for version in ("v1", "v4"):
        auth = oss2.make_auth("test-id", "test-secret", version)
        bucket = oss2.Bucket(auth, server.url, "bucket", region="cn-hangzhou", session=session)
        bucket.put_object(key, b"data")
        assert [found.key for found in bucket.list_objects_v2(prefix=key).object_list] == [key]
        assert bucket.get_object(key).read() == b"data"
        bucket.delete_object(key)
