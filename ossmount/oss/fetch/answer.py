"""The heads and chunks of HTTP/1.1 answers (RFC 9112), as strict as a client can be.

Whatever two parsers could read differently is refused: repeated or signed lengths, a length beside chunks, folded lines,
bare line feeds, blanks before a colon, NUL. Nothing here does I/O.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

#: Bytes of one head, and of all chunk trailers together.
MAX_HEAD: Final = 64 << 10
#: Bytes of one chunk-size line: 16 hex digits and some extensions.
MAX_CHUNK_LINE: Final = 1 << 10

_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
#: Headers whose repetition would leave open which one counts.
_ONCE = frozenset([b"content-length", b"transfer-encoding", b"content-range", b"etag", b"x-oss-hash-crc64ecma"])


class Malformed(Exception):
    """Bytes that are no HTTP answer, or one that could be read in two ways. The text says what is wrong."""


class Head(NamedTuple):
    """A status line and its headers, names in lower case; of repeated headers the last one."""

    status: int
    headers: dict[bytes, bytes]
    length: int | None  # Content-Length
    chunked: bool
    close: bool  # the connection ends with this answer


def parse_head(raw: bytes) -> Head:
    """Parses everything before the empty line. Raises Malformed."""
    feeds = raw.count(b"\r\n")
    if raw.count(b"\n") != feeds or raw.count(b"\r") != feeds or b"\0" in raw:
        raise Malformed("a bare CR, LF or NUL in the head")
    lines = raw.split(b"\r\n")
    version, status = _status_line(lines[0])
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        written, colon, value = line.partition(b":")
        if not colon:
            raise Malformed("a header line without a proper name")
        name = _field_name(written)
        if name in headers and name in _ONCE:
            raise Malformed(f"{name.decode()} twice")
        headers[name] = value.strip(b" \t")
    return _framed(version, status, headers)


@lru_cache(maxsize=256)  # the same dozen names come with every answer
def _field_name(written: bytes) -> bytes:
    if not written or written.translate(None, _TOKEN):
        raise Malformed("a header line without a proper name")
    return written.lower()


def _status_line(line: bytes) -> tuple[bytes, int]:
    version, status = line[:8], line[9:12]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or line[8:9] != b" " or line[12:13] not in (b" ", b""):
        raise Malformed("no HTTP/1.1 status line")
    if len(status) != 3 or status.translate(None, _DIGITS) or not b"100" <= status <= b"599":
        raise Malformed("no status code")
    return version, int(status)


def _framed(version: bytes, status: int, headers: dict[bytes, bytes]) -> Head:
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if length is not None and (not 0 < len(length) < 19 or length.translate(None, _DIGITS)):
        raise Malformed("Content-Length is no number")
    if coding is not None and (length is not None or version == b"HTTP/1.0" or coding.lower() != b"chunked"):
        raise Malformed("Transfer-Encoding that is not plain chunked, or stands beside Content-Length")
    connection = headers.get(b"connection", b"").lower()
    close = b"close" in connection or (version == b"HTTP/1.0" and b"keep-alive" not in connection)
    return Head(status, headers, None if length is None else int(length), coding is not None, close)


def content_range(value: bytes) -> tuple[int, int, int | None]:
    """(first byte, end, size or None for "*") of a Content-Range. Raises Malformed."""
    unit, _, rest = value.partition(b" ")
    span, slash, size = rest.partition(b"/")
    first, dash, last = span.partition(b"-")
    numbers = (first, last) if size == b"*" else (first, last, size)
    if unit.lower() != b"bytes" or not slash or not dash:
        raise Malformed("Content-Range is no byte range")
    if any(not 0 < len(number) < 19 or number.translate(None, _DIGITS) for number in numbers):
        raise Malformed("Content-Range is no byte range")
    return int(first), int(last) + 1, None if size == b"*" else int(size)


class HeadReader:
    """Finds the heads in what is received, in whatever pieces it comes."""

    __slots__ = ("_partial",)

    def __init__(self) -> None:
        self._partial = bytearray()

    @property
    def begun(self) -> bool:
        """Some of a head is there, but not all."""
        return bool(self._partial)

    def feed(self, data: memoryview) -> tuple[Head, memoryview] | None:
        """A head and the bytes that follow it, or None while it is not complete. Raises Malformed."""
        if not self._partial:
            # 4 KiB: all of an ordinary head, without copying the body that may follow
            raw = bytes(data[:4096])
            end = raw.find(b"\r\n\r\n")
            if end >= 0:
                return parse_head(raw[:end]), data[end + 4 :]
        self._partial += data
        end = self._partial.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end < 0 and len(self._partial) > MAX_HEAD):
            raise Malformed("more than 64 KiB of headers")
        if end < 0:
            return None
        raw = bytes(self._partial)
        self._partial.clear()
        return parse_head(raw[:end]), memoryview(raw)[end + 4 :]


class Chunks:
    """Takes a chunked body apart, fed in any pieces."""

    __slots__ = ("_left", "_line", "_state", "_trailers")

    _SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)

    def __init__(self) -> None:
        self._state = self._SIZE
        self._left = 0  # bytes of the chunk that are still to come
        self._line = b""  # a line that is not complete yet
        self._trailers = 0

    @property
    def done(self) -> bool:
        """The last chunk and its trailers were read."""
        return self._state == self._DONE

    def feed(self, data: memoryview) -> tuple[list[memoryview], int]:
        """The body's pieces in data, and how many bytes of data were used (all but what follows the body)."""
        pieces: list[memoryview] = []
        at = 0
        while at < len(data) and self._state != self._DONE:
            if self._state == self._DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = self._DATA_END
            else:
                at = self._take_line(data, at)
        return pieces, at

    def _take_line(self, data: memoryview, at: int) -> int:
        """Reads on to the end of a line; a complete one moves the state."""
        more = bytes(data[at : at + MAX_CHUNK_LINE])
        end = more.find(b"\n")
        self._line += more if end < 0 else more[: end + 1]
        if len(self._line) > MAX_CHUNK_LINE:
            raise Malformed("an overlong line between chunks")
        if end < 0:
            return at + len(more)
        line, self._line = self._line, b""
        if line[-2:] != b"\r\n" or b"\r" in line[:-2]:
            raise Malformed("a bare CR or LF between chunks")
        self._end_line(line[:-2])
        return at + end + 1

    def _end_line(self, line: bytes) -> None:
        if self._state == self._SIZE:
            digits, _, _ = line.partition(b";")
            digits = digits.rstrip(b" \t")
            if not 0 < len(digits) <= 15 or digits.translate(None, _HEX):
                raise Malformed("a chunk size that is no hexadecimal number")
            self._left = int(digits, 16)
            self._state = self._DATA if self._left else self._TRAILER
        elif self._state == self._DATA_END:
            if line:
                raise Malformed("a chunk longer than its size")
            self._state = self._SIZE
        else:
            self._trailers += len(line)
            if self._trailers > MAX_HEAD:
                raise Malformed("overlong trailers")
            if not line:
                self._state = self._DONE
