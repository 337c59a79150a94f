"""Listings: what a faithful server writes comes back, what no server may write is an error."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes
from xml.sax.saxutils import escape

import hypothesis
import pytest
from hypothesis import strategies as st

from ossmount.errors import Damaged
from ossmount.model import ListPage, ObjectInfo
from ossmount.oss.listing import parse_etag, parse_listing, parse_size

MODIFIED = "2026-11-21T15:47:04.250Z"


def contents(key: bytes, *, size: object = 1, etag: str = '"E1"', modified: str = MODIFIED, more: str = "") -> str:
    return (
        f"<Contents><Key>{quote_from_bytes(key, safe='/')}</Key><LastModified>{modified}</LastModified>"
        f"<ETag>{escape(etag)}</ETag><Type>Normal</Type><Size>{size}</Size><StorageClass>IA</StorageClass>{more}</Contents>"
    )


def document(*entries: str, truncated: str = "false", token: str = "", encoding: str = "url", head: str = "") -> bytes:
    following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<ListBucketResult xmlns="http://doc.oss-cn-hangzhou.aliyuncs.com">'
        f"<Name>data</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><EncodingType>{encoding}</EncodingType>"
        f"<IsTruncated>{truncated}</IsTruncated>{following}{''.join(entries)}<KeyCount>{len(entries)}</KeyCount></ListBucketResult>"
    ).encode()


def common(prefix: bytes) -> str:
    return f"<CommonPrefixes><Prefix>{quote_from_bytes(prefix, safe='/')}</Prefix></CommonPrefixes>"


def expected(key: bytes, size: int = 1) -> ObjectInfo:
    return ObjectInfo(key, size, 1795276024_250_000_000, "E1", "Normal", "IA", None)


KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(str.encode)


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(st.sets(KEYS, max_size=30), st.sets(KEYS, max_size=10), st.integers(0, 1 << 45), st.booleans())
def test_what_is_written_comes_back(keys: set[bytes], folders: set[bytes], size: int, pretty: bool) -> None:
    names = sorted(folder.rstrip(b"/") + b"/" for folder in folders)
    names = sorted(set(names))
    body = document(
        *(contents(key, size=size) for key in sorted(keys)), *map(common, names), truncated="true", token="next%2F1"
    )
    if pretty:
        body = re.sub(rb">(?=<[A-Za-z])", b">\n    ", body)
    page = parse_listing(body, delimiter=b"/")
    assert page == ListPage([expected(key, size) for key in sorted(keys)], names, "next/1")


def test_keys_that_the_server_left_unencoded() -> None:
    body = document(contents(b"x").replace("<Key>x<", "<Key> a%41&amp;é<"), encoding="")
    assert parse_listing(body).objects[0].key == " a%41&é".encode()


def test_fields_of_owners_and_tags_do_not_disturb() -> None:
    body = document(contents(b"a", more="<Owner><ID>7</ID><DisplayName>x</DisplayName></Owner><RestoreInfo/>"), contents(b"b"))
    assert parse_listing(body).objects == [expected(b"a"), expected(b"b")]


def test_declared_encoding_is_not_believed() -> None:
    body = document(contents("é".encode())).replace(b"UTF-8", b"ISO-8859-1").replace(b"%C3%A9", "é".encode())
    assert parse_listing(body).objects[0].key == "é".encode()


def test_namespace_is_optional() -> None:
    body = document(contents(b"a")).replace(b' xmlns="http://doc.oss-cn-hangzhou.aliyuncs.com"', b"")
    assert parse_listing(body) == parse_listing(document(contents(b"a")))


def test_empty_page() -> None:
    assert parse_listing(document()) == ListPage([], [], "")


def test_common_prefix_in_front_of_start_after() -> None:
    page = parse_listing(document(common(b"a/")), delimiter=b"/", start_after=b"a/b")
    assert page.prefixes == [b"a/"]


BOMB = (
    '<!DOCTYPE bomb [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    document(contents(b"x").replace(">x<", ">&b;<"), head='<!DOCTYPE bomb [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>'),
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no XML"),
        (b"<html><body>Welcome</body></html>", "no listing but <html>"),
        (document(contents(b"a"))[:-30], "no XML"),
        (document(contents(b"a")) + b"x", "no XML"),
        (document(head=BOMB[0]), "contains a declaration"),
        (BOMB[1], "contains a declaration"),
        (document(head='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "contains a declaration"),
        (document(contents(b"x").replace(">x<", ">&unknown;<")), "no XML"),
        (BOMB[1].decode().replace("UTF-8", "UTF-16").encode("utf-16"), "contains a declaration"),
        (document(contents(b"a")).replace(b"<Key>a<", b"<Key>\xff<"), "no XML"),
        ((BOMB[0] + "<x/>").encode("cp037"), "no XML"),
        (document("<x/>" * 1000), "more elements than 10 keys can have"),
        (document(contents(b"b"), contents(b"a")), "not in order"),
        (document(contents(b"a"), contents(b"a")), "not in order"),
        (document(contents(b"a" * 1024)), "key of 1024 bytes"),
        (document(contents(b"")), "key of 0 bytes"),
        (document(contents(b"a").replace("<Key>a</Key>", "")), "key of 0 bytes"),
        (document(contents(b"a", size=-1)), "size '-1'"),
        (document(contents(b"a", size="")), "size ''"),
        (document(contents(b"a", size=1 << 60)), "size"),
        (document(contents(b"a", size="9" * 5000)), "size"),
        (document(contents(b"a", size="٣")), "size"),
        (document(contents(b"a").replace("<Size>1</Size>", "")), "without Size"),
        (document(contents(b"a", etag='""')), "ETag"),
        (document(contents(b"a", etag="x\r\nHost: y")), "ETag"),
        (document(contents(b"a", modified="yesterday")), "time 'yesterday'"),
        (document(contents(b"a", modified="2026-02-28T10:11:61.000Z")), "time that ends in ':61.000Z'"),
        (document(contents(b"a", modified="2026-02-28T24:00:00.000Z")), "time '2026-02-28T24:00'"),
        (document(contents(b"a", modified="2026-02-31T00:00:00.000Z")), "time '2026-02-31T00:00'"),
        (document(truncated="true"), "token is missing"),
        (document(truncated="true", token="before"), "the same again"),
        (document(truncated="true", token="%ff"), "token that is no text"),
        (document(truncated="perhaps"), "IsTruncated"),
        (document(contents(b"a", more=contents(b"b"))), "inside another"),
        (document(common(b"folder")), "does not end in the delimiter"),
        (document(*(contents(b"%04d" % number) for number in range(11))), "11 entries where 10"),
    ],
)
def test_what_no_listing_can_be(body: bytes, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        parse_listing(body, delimiter=b"/", token="before", max_keys=10)


def test_keys_outside_of_what_was_asked() -> None:
    with pytest.raises(Damaged, match="listing of b'a/' has the key b'b'"):
        parse_listing(document(contents(b"b")), prefix=b"a/")
    with pytest.raises(Damaged, match="listing of b'a/' has the key b'b/'"):
        parse_listing(document(common(b"b/")), prefix=b"a/", delimiter=b"/")
    with pytest.raises(Damaged, match="listing after b'b' has the key b'b'"):
        parse_listing(document(contents(b"b")), start_after=b"b")
    with pytest.raises(Damaged, match="listing after b'b/' has the common prefix b'a/'"):
        parse_listing(document(common(b"a/")), start_after=b"b/", delimiter=b"/")
    with pytest.raises(Damaged, match="does not end in the delimiter"):
        parse_listing(document(common(b"a/")), prefix=b"a/", delimiter=b"/")
    with pytest.raises(Damaged, match="does not end in the delimiter"):
        parse_listing(document(common(b"a/")))


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(st.data())
def test_damage_anywhere_is_an_error_or_still_a_good_page(data: st.DataObject) -> None:
    body = bytearray(
        document(*(contents(b"a/%d" % number) for number in range(5)), common(b"a/b/"), truncated="true", token="t")
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=6))
        hypothesis.assume(body)
    try:
        page = parse_listing(bytes(body), prefix=b"a/", delimiter=b"/")
    except Damaged:
        return
    keys = [entry.key for entry in page.objects]
    assert keys == sorted(set(keys)) and all(key.startswith(b"a/") for key in keys + page.prefixes)
    assert all(entry.size >= 0 and entry.etag.isascii() for entry in page.objects)


def test_parts_on_their_own() -> None:
    assert parse_etag('"ABC-3"') == "ABC-3"
    assert parse_size("0") == 0
