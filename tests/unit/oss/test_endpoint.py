from __future__ import annotations

from urllib.parse import unquote_to_bytes

import hypothesis
import pytest
from hypothesis import strategies as st

from ossmount.config import SourceConfig
from ossmount.oss.endpoint import endpoint_of, parse_endpoint, quote_key

REGION, INTERNAL, ACCELERATOR = (
    "oss-cn-hangzhou.aliyuncs.com",
    "oss-cn-hangzhou-internal.aliyuncs.com",
    "cn-hangzhou.oss-data-acc.aliyuncs.com",
)


@pytest.mark.parametrize(
    ("text", "host", "port", "tls", "base"),
    [
        (REGION, f"data.{REGION}", 443, True, "/"),
        (f"http://{INTERNAL}/", f"data.{INTERNAL}", 80, False, "/"),
        (f"data.{REGION}", f"data.{REGION}", 443, True, "/"),
        (ACCELERATOR, f"data.{ACCELERATOR}", 443, True, "/"),
        ("HTTPS://Static.Example.com:8443", "static.example.com", 8443, True, "/"),
        ("http://data.localhost:9000", "data.localhost", 9000, False, "/"),
        ("http://127.0.0.1:9000", "127.0.0.1", 9000, False, "/data/"),
        ("http://localhost:80", "localhost", 80, False, "/data/"),
        ("http://store:9000", "store", 9000, False, "/data/"),
        ("https://[::1]:9000", "::1", 9000, True, "/data/"),
    ],
)
def test_forms_of_endpoint(text: str, host: str, port: int, tls: bool, base: str) -> None:
    found = parse_endpoint(text, "data")
    assert (found.host, found.port, found.tls, found.base) == (host, port, tls, base)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("http://store:9000", "store:9000"),
        ("https://[::1]:9000", "[::1]:9000"),
        ("http://[::1]", "[::1]"),
        ("localhost", "localhost"),
    ],
)
def test_host_header(text: str, header: str) -> None:
    assert parse_endpoint(text, "data").host_header == header


def test_path_style_can_be_forced() -> None:
    assert parse_endpoint("https://gateway.example.com", "data", path_style=True).path(b"a/b") == "/data/a/b"


def test_region_alone_names_the_public_endpoint() -> None:
    for region in ("cn-hangzhou", "oss-cn-hangzhou"):
        assert endpoint_of(SourceConfig("data", region=region)).origin == "https://data.oss-cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give --endpoint .* or --region"),
        ("ftp://oss-cn-hangzhou.aliyuncs.com", "unknown scheme 'ftp', write https:// or http://"),
        ("http://", "no host name"),
        ("http://host name:80", "no host name"),
        ("http://a..b", "no host name"),
        ("http://host:http", "Port could not be cast"),
        ("http://host:70000", "Port out of range"),
        ("http://host:0", "port 0"),
        ("http://host:", "port after ':' is missing"),
        ("http://[::1", "--endpoint"),
        ("http://id:secret@host", "must not contain a user name or password"),
        ("https://oss-cn-hangzhou.aliyuncs.com/data", "more than a host and a port"),
        ("https://oss-cn-hangzhou.aliyuncs.com?x", "more than a host and a port"),
        (
            "https://other.oss-cn-hangzhou.aliyuncs.com",
            "domain of bucket 'other', .* write --endpoint oss-cn-hangzhou",
        ),
    ],
)
def test_what_is_no_endpoint_names_the_option(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_endpoint(text, "data")
    assert "--endpoint" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("bucket", ["", "ab", "Data", "data-", "a.b.c", "data/x", "x" * 64])
def test_what_is_no_bucket(bucket: str) -> None:
    with pytest.raises(ValueError, match="is no bucket name"):
        parse_endpoint("oss-cn-hangzhou.aliyuncs.com", bucket)


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(st.one_of(st.binary(min_size=1, max_size=30), st.text("./ab%?#+", min_size=1).map(str.encode)))
def test_quoted_keys_are_one_path_and_decode_to_themselves(key: bytes) -> None:
    quoted = quote_key(key)
    assert unquote_to_bytes(quoted) == key
    assert not {".", ".."} & set(quoted.split("/"))
    assert quoted.isascii() and not set(quoted) & set("?#+ \r\n")


def test_query_keeps_its_order_and_subresources_stand_alone() -> None:
    endpoint = parse_endpoint("http://127.0.0.1:9000", "data")
    assert endpoint.path(b"", {"list-type": "2", "prefix": "a b/+"}) == "/data/?list-type=2&prefix=a%20b%2F%2B"
    assert endpoint.path(b"k", {"symlink": ""}) == "/data/k?symlink"
