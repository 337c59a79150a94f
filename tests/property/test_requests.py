"""Whatever a key and an ETag hold, one GET is one GET: nothing of them gets out of its place in the request."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ossmount.config import Credentials, SourceConfig
from ossmount.oss.endpoint import endpoint_of
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.exchange import RequestWriter
from ossmount.oss.fetch.job import Job
from ossmount.oss.fetch.trouble import Trouble
from ossmount.oss.signing import Signer

HOSTILE = b"x HTTP/1.1\r\nHost: elsewhere\r\n\r\nGET /secret"


def job_of(key: bytes, etag: str = "E1") -> Job:
    return Job((wire.START, 1, key, etag, 10, 2, 5, ((0, 5),), True, False, 0.0, False), memoryview(bytearray(10)))


def writer(url: str) -> RequestWriter:
    source = SourceConfig("bucket", endpoint=url, credentials=lambda: Credentials("id", "secret"))
    return RequestWriter(endpoint_of(source), Signer(source, lambda: 1_700_000_000.0))


@pytest.mark.parametrize("url", ["https://oss-cn-hangzhou.aliyuncs.com", "http://127.0.0.1:9000"])
@given(key=st.binary(min_size=1, max_size=60))
@example(key=HOSTILE)
@example(key=b"../../etc/passwd")
@example(key=b"/etc//passwd\0")
@example(key=b"a/./../\r\nX: y")
def test_no_key_leaves_the_path_of_its_request(url: str, key: bytes) -> None:
    head = writer(url).get(job_of(key)).decode("ascii")
    line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
    method, path, version = line.split(" ")
    base = "/" if "aliyuncs" in url else "/bucket/"
    assert (method, version) == ("GET", "HTTP/1.1") and path.startswith(base)
    assert unquote_to_bytes(path[len(base) :]) == key
    assert not {"..", "."} & set(path.split("/")) and "?" not in path and "#" not in path
    names = [field.partition(": ")[0].lower() for field in fields]
    assert len(set(names)) == len(names)
    assert set(names) <= {"host", "accept-encoding", "if-match", "range", "x-oss-range-behavior", "date", "authorization"}


@given(etag=st.text(min_size=1, max_size=20))
@example(etag='"\r\nX-Injected: yes')
def test_an_etag_that_no_header_can_carry_is_not_asked_for(etag: str) -> None:
    try:
        head = writer("http://127.0.0.1:9000").get(job_of(b"key", etag)).decode("ascii")
    except Trouble:
        return
    assert f'If-Match: "{etag}"\r\n' in head and head.count("\r\n\r\n") == 1


def test_credentials_that_no_header_can_carry_are_refused() -> None:
    source = SourceConfig(
        "bucket", endpoint="http://127.0.0.1:9000", credentials=lambda: Credentials("id\r\nX: y", "secret", "token")
    )
    asked: Job = job_of(b"key")
    with pytest.raises(Trouble, match="HTTP forbids"):
        RequestWriter(endpoint_of(source), Signer(source, lambda: 0.0)).get(asked)
