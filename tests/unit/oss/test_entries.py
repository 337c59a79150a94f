"""The quick reading of a listing: it takes the shape that OSS writes, and never says what the XML parser would not say."""

from __future__ import annotations

import re
from unittest import mock

import hypothesis
import pytest
from hypothesis import strategies as st

from ossmount.errors import Damaged
from ossmount.model import ListPage
from ossmount.oss import listing
from ossmount.oss.entries import decode_keys, read_plain
from ossmount.oss.listing import parse_listing
from tests.unit.oss.test_listing import KEYS, common, contents, document, expected


def by_parser(body: bytes, **request: object) -> ListPage:
    with mock.patch.object(listing, "read_plain", lambda body: None):
        return parse_listing(body, **request)  # type: ignore[arg-type]


def outcome(read: object, body: bytes, **request: object) -> ListPage | None:
    """The page, or None for a refusal."""
    try:
        return read(body, **request)  # type: ignore[operator, no-any-return]
    except Damaged:
        return None


def pretty(body: bytes) -> bytes:
    return re.sub(rb">(?=<[A-Za-z])", b">\n    ", body)


PAGE = document(*(contents(b"a/%d" % number) for number in range(5)), common(b"a/b/"), truncated="true", token="t")


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(st.sets(KEYS, min_size=1, max_size=30), st.booleans(), st.sampled_from(("/", "")))
def test_every_key_that_oss_can_write_takes_the_quick_way(keys: set[bytes], indented: bool, safe: str) -> None:
    ordered = sorted(keys)
    body = document(*map(contents, ordered))
    body = body if safe else re.sub(rb"<Key>.*?</Key>", lambda key: key[0].replace(b"/", b"%2F").replace(b"<%2F", b"</"), body)
    body = pretty(body) if indented else body
    assert read_plain(body) is not None
    assert parse_listing(body).objects == by_parser(body).objects == [expected(key) for key in ordered]


@hypothesis.settings(deadline=None, max_examples=500)
@hypothesis.given(st.data(), st.booleans())
def test_damage_anywhere_has_the_outcome_that_it_has_with_the_parser(data: st.DataObject, indented: bool) -> None:
    body = bytearray(pretty(PAGE) if indented else PAGE)
    pieces = st.binary(max_size=6) | st.sampled_from(
        (
            b"<",
            b">",
            b"/",
            b"&amp;",
            b"<?x ",
            b"?>",
            b"<x>",
            b"</x>",
            b"<Contents>",
            b"</Contents>",
            b"<Key>",
            b"%00",
            b"%2F",
            b'"',
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        body[place : place + data.draw(st.integers(0, 30))] = data.draw(pieces)
    request = {"prefix": b"a/", "delimiter": b"/"}
    assert outcome(parse_listing, bytes(body), **request) == outcome(by_parser, bytes(body), **request)


ENTRY = contents(b"a")


@pytest.mark.parametrize(
    "body",
    [
        document(ENTRY).replace(b"<Contents>", b"<?x <Contents>").replace(b"</Contents>", b"</Contents>?>"),
        document(ENTRY).replace(b"<Contents>", b"<Owner><Contents>").replace(b"</Contents>", b"</Contents></Owner>"),
        document(ENTRY).replace(b"<Contents>", b'<Owner name="<Contents>').replace(b"</Contents>", b'</Contents>"/>'),
        document(ENTRY).replace(b"<Contents>", b'<x xmlns="urn:other"/><Contents>'),
        document(ENTRY).replace(b"<Contents>", b'<Contents xmlns="urn:other">'),
        document(ENTRY, contents(b"b").replace("<Contents>", "<Contents >")),
        document(ENTRY, contents(b"b").replace("<Contents>", '<Contents x="1">')),
        document(ENTRY, "stray text", contents(b"b")),
        document(ENTRY, "&stray;", contents(b"b")),
        document(ENTRY, "\x01", contents(b"b")),
        document(ENTRY, "<x></x>", contents(b"b")),
        document(ENTRY, contents(b"b").replace("<Size>", "<Size>1</Size><Size>")),
        document(contents(b"a\0b", etag="&#34;E1&#34;"), contents(b"b")),
        document(contents(b"a").replace("<Key>a</Key>", "<Key>a\rb</Key>")),
        document(contents(b"a").replace("<Key>a</Key>", "<Key>a]]></Key>")),
        document(contents(b"a"), encoding="").replace(b"<Key>a</Key>", b"<Key>%00</Key>"),
        document(contents(b"a", etag='"E')),
        document(contents(b"a", etag='""E""')),
        document(contents(b"a", size=(1 << 53) + 1)),
        document(contents(b"a" * 1024)),
        document(contents(b"\0" * 1023)),
        document(contents(b"a", modified="2026-02-31T00:00:00.000Z")),
        document(contents(b"a", modified="2026-02-28T10:11:12.000Z0")),
        document(contents(b"b"), contents(b"a")),
        document(contents(b"b"), contents(b"a/"), contents(b"b")),
        document(*(contents(b"%04d" % number) for number in range(1001))),
        document(ENTRY)[: document(ENTRY).index(b"</Contents>") + 5],
        b"<Contents></Contents>",
        b"</Contents><Contents>",
    ],
)
def test_what_only_looks_like_an_object_of_the_listing(body: bytes) -> None:
    assert outcome(parse_listing, body) == outcome(by_parser, body)


def test_names_of_directories_stand_behind_and_are_the_parsers() -> None:
    plain = read_plain(PAGE)
    assert plain is not None and plain.columns.keys == tuple(b"a/%d" % number for number in range(5))
    assert plain.around == document(common(b"a/b/"), truncated="true", token="t").replace(b">1</KeyCount>", b">6</KeyCount>")


def test_keys_with_the_byte_that_separates_them() -> None:
    assert decode_keys((b"a%00b", b"c%2Fd", b"%C3%A9", b"plain")) == [b"a\0b", b"c/d", "é".encode(), b"plain"]
