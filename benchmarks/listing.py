"""Answers to ListObjects v1 and v2 from an index in memory: pure functions, no I/O.

The XML is the one that OSS and S3 clients both read. An index is a sorted sequence of keys with the <Contents> piece of
each: of a real folder held ready as bytes, of a synthetic bucket made by formula, so that ten million keys cost nothing.
"""

from __future__ import annotations

import bisect
import os
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, overload
from urllib.parse import quote
from xml.sax.saxutils import escape

SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")
SYNTHETIC_SIZE = 110_000  # bytes of every synthetic object
SYNTHETIC_MTIME = 1_700_000_000
FOLDER = 1_000  # files in each folder of a nested synthetic bucket


class Index(Protocol):
    """The keys of one bucket in byte order."""

    def __len__(self) -> int: ...

    def key(self, number: int) -> bytes: ...

    def contents(self, first: int, last: int) -> bytes:
        """The joined <Contents> pieces of the keys first <= number < last."""
        ...

    def size(self, number: int) -> int: ...

    def etag(self, number: int) -> str: ...


def nginx_etag(mtime: int, size: int) -> str:
    """What nginx gives a static file as its ETag, without the quotes (ngx_http_set_etag)."""
    return f"{mtime:x}-{size:x}"


def contents(key: bytes, size: int, mtime: int) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(mtime)).encode()
    return (
        b"<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag><Type>Normal</Type>"
        b"<Size>%d</Size><StorageClass>Standard</StorageClass></Contents>"
        % (escape(key.decode()).encode(), stamp, nginx_etag(mtime, size).encode(), size)
    )


def read_folder(folder: str) -> FixedIndex:
    """A folder on disk as a bucket."""
    rows = []
    for base, _, files in os.walk(folder):
        for file in files:
            path = os.path.join(base, file)
            status = os.stat(path)
            rows.append((os.path.relpath(path, folder).encode(), status.st_size, int(status.st_mtime)))
    return FixedIndex(rows)


class FixedIndex:
    """Rows of (key, size, mtime), held with their XML. Keys are restricted to characters that need no encoding at all."""

    def __init__(self, rows: Iterable[tuple[bytes, int, int]]) -> None:
        rows = sorted(rows)
        self._keys = [row[0] for row in rows]
        self._sizes = [row[1] for row in rows]
        self._mtimes = [row[2] for row in rows]
        for key in self._keys:
            if not SAFE.issuperset(key):
                raise ValueError(f"key {key!r} has characters that the lister does not encode")
        self._contents = [contents(*row) for row in rows]

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, number: int) -> bytes:
        return self._keys[number]

    def contents(self, first: int, last: int) -> bytes:
        return b"".join(self._contents[first:last])

    def size(self, number: int) -> int:
        return self._sizes[number]

    def etag(self, number: int) -> str:
        return nginx_etag(self._mtimes[number], self._sizes[number])


class SyntheticIndex:
    """count keys that exist only as a formula: flat in one folder, or nested in folders of 1,000 below folders of 100."""

    def __init__(self, count: int, *, nested: bool) -> None:
        self._count = count
        self._nested = nested
        self._form = b"data/%03d/%02d/%09d.bin" if nested else b"data/%09d.bin"
        self._piece = contents(b"KEY", SYNTHETIC_SIZE, SYNTHETIC_MTIME).replace(b"KEY", self._form)

    def __len__(self) -> int:
        return self._count

    def key(self, number: int) -> bytes:
        return self._form % self._parts(number)

    def contents(self, first: int, last: int) -> bytes:
        piece, parts = self._piece, self._parts
        return b"".join([piece % parts(number) for number in range(first, last)])

    def _parts(self, number: int) -> tuple[int, ...]:
        folder = number // FOLDER
        return (folder // 100, folder % 100, number) if self._nested else (number,)

    def size(self, number: int) -> int:
        return SYNTHETIC_SIZE

    def etag(self, number: int) -> str:
        return nginx_etag(SYNTHETIC_MTIME, SYNTHETIC_SIZE)


def synthetic(bucket: str) -> SyntheticIndex | None:
    """The index of a bucket named synthetic-flat-N or synthetic-nested-N; None for any other name."""
    parts = bucket.split("-")
    if len(parts) != 3 or parts[0] != "synthetic" or parts[1] not in ("flat", "nested") or not parts[2].isdigit():
        return None
    return SyntheticIndex(int(parts[2]), nested=parts[1] == "nested")


class _Keys(Sequence[bytes]):
    """An index as bisect wants it."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[bytes]: ...
    def __getitem__(self, number: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(number, slice):
            raise TypeError("an index has no slices")
        return self._index.key(number)


def find(index: Index, key: bytes) -> int | None:
    number = bisect.bisect_left(_Keys(index), key)
    return number if number < len(index) and index.key(number) == key else None


class Query(NamedTuple):
    """The parameters of one listing request, decoded."""

    version: int  # 1 or 2
    prefix: bytes = b""
    delimiter: bytes = b""
    after: bytes = b""  # marker, start-after or the decoded continuation token, whichever is greatest
    token: str = ""
    max_keys: int = 100
    url: bool = False  # encoding-type=url


class Page(NamedTuple):
    """One page: runs of consecutive keys (first, last) and common prefixes, both in key order."""

    runs: list[tuple[int, int]]
    prefixes: list[bytes]
    names: int  # keys and prefixes
    last: bytes  # where the next page goes on; b"" when this one is the last


def successor(prefix: bytes) -> bytes | None:
    """The smallest key behind every key that begins with the prefix; None when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def page(index: Index, query: Query) -> Page:
    """What OSS would answer: at most max_keys names, keys with the delimiter behind the prefix rolled up."""
    keys = _Keys(index)
    number = max(bisect.bisect_left(keys, query.prefix), bisect.bisect_right(keys, query.after))
    if query.delimiter and _is_common_prefix(query):
        number = _behind(keys, query.after, number)
    behind = successor(query.prefix)
    end = len(index) if behind is None else bisect.bisect_left(keys, behind, number)
    if not query.delimiter:
        last = min(end, number + query.max_keys)
        more = last < end and last > number
        return Page([(number, last)], [], last - number, index.key(last - 1) if more else b"")
    return _rolled_up(keys, query, number, end)


def _is_common_prefix(query: Query) -> bool:
    """Whether the listing goes on behind a common prefix: none of the keys below it may roll up into it again."""
    after, prefix, delimiter = query.after, query.prefix, query.delimiter
    return after.startswith(prefix) and after.find(delimiter, len(prefix)) == len(after) - len(delimiter) >= len(prefix)


def _behind(keys: _Keys, prefix: bytes, start: int) -> int:
    behind = successor(prefix)
    return len(keys) if behind is None else bisect.bisect_left(keys, behind, start)


def _rolled_up(keys: _Keys, query: Query, number: int, end: int) -> Page:
    runs: list[tuple[int, int]] = []
    prefixes: list[bytes] = []
    count, first, last = 0, number, b""
    skip = len(query.prefix)
    while number < end and count < query.max_keys:
        key = keys[number]
        count += 1
        cut = key.find(query.delimiter, skip)
        if cut < 0:
            number, last = number + 1, key
            continue
        runs.append((first, number))
        last = key[: cut + len(query.delimiter)]
        prefixes.append(last)
        first = number = _behind(keys, last, number)
    runs.append((first, number))
    return Page([run for run in runs if run[0] < run[1]], prefixes, count, last if number < end and count else b"")


def render(index: Index, bucket: str, query: Query, found: Page) -> bytes:
    """The XML document of a page."""
    head = [
        b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult><Name>%s</Name>' % bucket.encode(),
        _element("Prefix", query.prefix, query),
        b"<MaxKeys>%d</MaxKeys>" % query.max_keys,
        _element("Delimiter", query.delimiter, query) if query.delimiter else b"",
        b"<EncodingType>url</EncodingType>" if query.url else b"",
        b"<IsTruncated>%s</IsTruncated>" % (b"true" if found.last else b"false"),
    ]
    if query.version == 2:
        head.append(b"<KeyCount>%d</KeyCount>" % found.names)
        if found.last:
            head.append(b"<NextContinuationToken>%s</NextContinuationToken>" % token_of(found.last).encode())
    else:
        head.append(_element("Marker", query.after, query))
        if found.last:
            head.append(_element("NextMarker", found.last, query))
    body = [index.contents(*run) for run in found.runs]
    tail = [b"<CommonPrefixes>" + _element("Prefix", prefix, query) + b"</CommonPrefixes>" for prefix in found.prefixes]
    return b"".join(head + body + tail) + b"</ListBucketResult>"


def _element(name: str, value: bytes, query: Query) -> bytes:
    text = quote(value, safe="/") if query.url else escape(value.decode())
    return f"<{name}>{text}</{name}>".encode()


def token_of(last: bytes) -> str:
    """A continuation token is the last name of its page in hexadecimal: opaque to clients, stateless for us."""
    return last.hex()
