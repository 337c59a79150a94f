"""Heads and chunks: no input may do more than raise Malformed, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossmount.oss.fetch.answer import Chunks, Head, HeadReader, Malformed, content_range, parse_head

HTTPISH = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK",
                b"\r\n",
                b"\r",
                b"\n",
                b"\0",
                b": ",
                b"Content-Length",
                b"5",
                b"Transfer-Encoding",
                b"chunked",
                b" ",
            ]
        ),
        st.binary(max_size=8),
    ),
    max_size=30,
).map(b"".join)


def test_parses_a_head() -> None:
    head = parse_head(b'HTTP/1.1 206 Partial Content\r\nETag: "A"\r\ncontent-LENGTH:  7 \r\nX-Empty:\r\nVia: a\r\nVia: b')
    assert head == Head(206, {b"etag": b'"A"', b"content-length": b"7", b"x-empty": b"", b"via": b"b"}, 7, False, False)


@pytest.mark.parametrize(
    ("version", "connection", "close"),
    [(b"1.1", b"", False), (b"1.1", b"keep-alive, Close", True), (b"1.0", b"", True), (b"1.0", b"Keep-Alive", False)],
)
def test_knows_whether_the_connection_lasts(version: bytes, connection: bytes, close: bool) -> None:
    head = parse_head(b"HTTP/%b 200 OK\r\nContent-Length: 0\r\nConnection: %b" % (version, connection))
    assert head.close is close


def test_chunks_of_http_1_0_are_refused() -> None:
    with pytest.raises(Malformed):
        parse_head(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(HTTPISH)
def test_any_head_is_parsed_or_malformed(raw: bytes) -> None:
    try:
        head = parse_head(raw)
    except Malformed:
        return
    assert 100 <= head.status <= 599
    assert head.length is None or (head.length >= 0 and not head.chunked)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
@given(st.lists(st.integers(1, 40), max_size=30), st.binary(max_size=50))
def test_heads_are_found_however_they_are_cut(sizes: list[int], after: bytes) -> None:
    raw = b'HTTP/1.1 200 OK\r\nETag: "A"\r\nContent-Length: 5\r\n\r\n'
    reader, at, rest = HeadReader(), 0, after
    for size in [*sizes, len(raw)]:
        end = min(at + size, len(raw))
        piece = raw[at:end] + (after if end == len(raw) else b"")
        found = reader.feed(memoryview(piece))
        at = end
        if found:
            break
        assert reader.begun
    assert found is not None
    assert found[0].length == 5
    assert bytes(found[1]) == rest


def test_a_head_that_does_not_end_is_malformed() -> None:
    reader = HeadReader()
    with pytest.raises(Malformed, match="64 KiB"):
        for _ in range(100):
            reader.feed(memoryview(b"X-A: b\r\n" * 128))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"bytes 0-0/1", (0, 1, 1)), (b"bytes 10-19/*", (10, 20, None)), (b"Bytes 5-9/100", (5, 10, 100))],
)
def test_content_range(value: bytes, expected: tuple[int, int, int | None]) -> None:
    assert content_range(value) == expected


@pytest.mark.parametrize("value", [b"", b"bytes", b"bytes */5", b"bytes 1-2", b"items 1-2/3", b"bytes -1-2/3", b"bytes 1-+2/3"])
def test_no_content_range(value: bytes) -> None:
    with pytest.raises(Malformed):
        content_range(value)


def _decode(raw: bytes, sizes: list[int]) -> tuple[bytes, bytes, bool]:
    """(body, what follows it, done) of a chunked body fed in pieces of these sizes."""
    chunks, body, at = Chunks(), b"", 0
    for size in [*sizes, len(raw)]:
        piece = raw[at : at + size]
        pieces, used = chunks.feed(memoryview(piece))
        body += b"".join(bytes(piece) for piece in pieces)
        at += used
        if chunks.done:
            return body, raw[at:], True
        assert used == len(piece)
    return body, b"", chunks.done


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(1, 9), max_size=100), st.binary(max_size=9)
)
def test_chunks_are_joined_however_they_are_cut(parts: list[bytes], sizes: list[int], after: bytes) -> None:
    raw = b"".join(b"%X;a=b\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n" + after
    body, rest, done = _decode(raw, sizes)
    assert (body, done) == (b"".join(parts), True)
    assert rest == after


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(
    st.lists(st.one_of(st.sampled_from([b"5\r\n", b"0\r\n", b"\r\n", b"ab"]), st.binary(max_size=6)), max_size=20).map(b"".join)
)
def test_any_chunks_are_read_or_malformed(raw: bytes) -> None:
    try:
        body, _, _ = _decode(raw, [3, 5, 1])
    except Malformed:
        return
    assert len(body) <= len(raw)


@pytest.mark.parametrize(
    "raw", [b"\r\n", b"5\nabcde\n", b"5 x\r\n", b"0x5\r\n", b"5\r\nabcdeX\r\n", b"5\r\r\n", b"+5\r\n", b"_5\r\n"]
)
def test_malformed_chunks(raw: bytes) -> None:
    with pytest.raises(Malformed):
        _decode(raw, [])


def test_endless_trailers_are_malformed() -> None:
    with pytest.raises(Malformed, match="trailers"):
        _decode(b"0\r\n" + b"X: y\r\n" * 20_000, [])
