"""HTTP answers and listings that no store should give, and many of them."""

from __future__ import annotations

import random
from typing import Final

from fastcrc import crc64

#: What an object holds whose answers are damaged.
DATA: Final = bytes(range(48, 88)) * 5
ETAG: Final = "E1"

_STATUS: Final = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 206 Partial Content",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 200",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 301 Moved",
    b"HTTP/1.1 403 Forbidden",
    b"HTTP/1.1 404 Not Found",
    b"HTTP/1.1 412 Precondition Failed",
    b"HTTP/1.1 416 Range",
    b"HTTP/1.1 500 Internal",
    b"HTTP/1.1 503 Slow Down",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 Switching",
    b"HTTP/1.1 999 High",
    b"HTTP/2 200",
    b"ICY 200 OK",
    b"",
)
_NUMBERS: Final = (
    *(b"0", b"1", b"%d" % len(DATA), b"%d" % (len(DATA) - 1), b"%d" % (len(DATA) + 1), b"-1", b"+5", b"0x28", b"1e3", b" 200 "),
    *(b"18446744073709551616", b"9" * 18, b"9" * 400, b"", b"200, 200", "٣".encode(), b"200\0"),
)
_ETAGS: Final = (b'"E1"', b'"E2"', b"E1", b'W/"E1"', b'"', b"", b'"E1', b'"' + b"x" * 9000 + b'"', b'"\xff"')
_RANGES: Final = (
    b"bytes 0-199/200",
    b"bytes 0-198/200",
    b"bytes 1-200/201",
    b"bytes */200",
    b"bytes 0-199/*",
    b"bytes 5-1/200",
    b"bytes 0-99999999999999999999/200",
    b"octets 0-199/200",
    b"bytes=0-199",
    b"",
)
_NAMES: Final = (b"X-A", b"", b"X A", b"X-A ", b"\xff", b"x" * 20_000, b"Content-Length ", b":", b"\tfolded")
_CODINGS: Final = (b"chunked", b"gzip, chunked", b"identity", b"chunked, chunked", b"CHUNKED", b"")
_DATES: Final = (b"Sat, 21 Nov 2026 15:47:04 GMT", b"never", b"", b"Sat, 99 Nov 99999 99:99:99 GMT", b"9" * 5000)
_ENDS: Final = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0\r\n")
_MARKUP: Final = (b"!DOCTYPE a>", b"![CDATA[x]]>", b"!--", b"?pi?>", b"Key>", b"/Contents>", b"Size a='1'>")
_XML: Final = (
    b"<?xml version='1.0'?><Error><Code>RequestTimeTooSkewed</Code></Error>",
    b"<Error><Code>NoSuchKey</Code><Message>" + b"m" * 5000 + b"</Message></Error>",
    b"<Error><Code>QpsLimitExceeded</Code></Error>",
    b"<Error><Code>InvalidObjectState</Code></Error>",
    b"<Error><Code>\x1b[31m\xff</Code></Error>",
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><Error><Code>&b;</Code></Error>',
    b"<Error>" * 3000,
    b"<" * 500,
    b"",
)


def hostile_answer(chance: random.Random) -> bytes:
    """One answer to a GET of all of DATA, right in some parts and wrong in others; sometimes only a byte is."""
    if chance.random() < 0.3:
        return _damaged(chance, _good())
    lines = [chance.choice(_STATUS[:3] if chance.random() < 0.5 else _STATUS)]
    lines += [b"ETag: " + (_ETAGS[0] if chance.random() < 0.7 else chance.choice(_ETAGS)) for _ in range(_few(chance))]
    lines += [
        b"Content-Length: " + (b"%d" % len(DATA) if chance.random() < 0.6 else chance.choice(_NUMBERS))
        for _ in range(_few(chance))
    ]
    if chance.random() < 0.2:
        lines.append(b"Transfer-Encoding: " + chance.choice(_CODINGS))
    if chance.random() < 0.2:
        lines.append(b"Content-Range: " + chance.choice(_RANGES))
    if chance.random() < 0.3:
        lines.append(b"x-oss-hash-crc64ecma: " + chance.choice((b"%d" % crc64.xz(DATA), *_NUMBERS)))
    if chance.random() < 0.2:
        lines.append(b"Date: " + chance.choice(_DATES))
    if chance.random() < 0.2:
        lines.append(chance.choice(_NAMES) + chance.choice((b": ", b":", b"")) + chance.choice(_NUMBERS))
    if chance.random() < 0.02:
        lines += [b"X-%d: a" % number for number in range(12_000)]
    chance.shuffle(rest := lines[1:])
    end = chance.choice(_ENDS)
    head = end.join([lines[0], *rest]) + (end * 2 if chance.random() < 0.95 else b"")
    return head + _body(chance)


def hostile_listing(chance: random.Random, good: bytes) -> bytes:
    """A listing that was right before some bytes or elements of it were not."""
    if chance.random() < 0.5:
        return _damaged(chance, good)
    parts = good.split(b"<")
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(1, len(parts))
        what = chance.randrange(5)
        if what == 0:
            del parts[at]
        elif what == 1:
            parts.insert(at, parts[chance.randrange(1, len(parts))])
        elif what == 2:
            parts[at] = parts[at].partition(b">")[0] + b">" + chance.choice((*_NUMBERS, *_ETAGS, *_DATES))
        elif what == 3:
            parts[at] = chance.choice(
                (b"!DOCTYPE a>", b"![CDATA[x]]>", b"!--", b"?pi?>", b"Key>", b"/Contents>", b"Size a='1'>")
            )
        else:
            parts[at:at] = [b"Contents>"] * chance.choice((1, 3, 2000))
        if len(parts) < 3:
            break
    return b"<".join(parts)


def _few(chance: random.Random) -> int:
    return chance.choices((0, 1, 2), (5, 90, 5))[0]


def _good() -> bytes:
    head = f'HTTP/1.1 200 OK\r\nETag: "E1"\r\nx-oss-hash-crc64ecma: {crc64.xz(DATA)}\r\nContent-Length: {len(DATA)}\r\n\r\n'
    return head.encode() + DATA


def _damaged(chance: random.Random, good: bytes) -> bytes:
    found = bytearray(good)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(found) or 1)
        new = chance.choice((b"", b"\r\n", b"\0", b"\xff", b":", b"0", b"<", b">", b"&", b"\n", b" ", chance.randbytes(3)))
        found[at : at + chance.randint(0, 3)] = new
    return bytes(found)


def _body(chance: random.Random) -> bytes:
    return chance.choices(
        (
            DATA,
            DATA[: chance.randrange(len(DATA))],
            DATA + b"HTTP/1.1 200 OK\r\n\r\n",
            b"c8\r\n" + DATA + b"\r\n0\r\n\r\n",
            b"c7\r\n" + DATA + b"\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\n" + DATA,
            b"1;" + b"x" * chance.choice((10, 5000)) + b"\r\na\r\n",
            b"c8\r\n" + DATA + b"\r\n0\r\n" + b"T: a\r\n" * chance.choice((1, 20_000)) + b"\r\n",
            chance.choice(_XML),
            chance.randbytes(chance.choice((0, 10, 100_000))),
        ),
        (30, 8, 4, 8, 4, 3, 4, 3, 20, 10),
    )[0]
