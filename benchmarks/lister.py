"""The process that answers bucket-level requests behind nginx, on a Unix socket: listings, and objects of synthetic buckets.

`python -m benchmarks.lister --socket PATH --root FOLDER` prints "ready" and serves until its standard input ends, so that it
cannot outlive whoever started it. nginx has parsed and normalized every request before; what is parsed here is nginx's own
output. Header X-Bench-Delay: milliseconds to wait before answering (the wait blocks nobody else).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes
from xml.sax.saxutils import escape

from benchmarks.listing import Index, Query, find, page, read_folder, render, synthetic

MAX_KEYS = 1_000  # what OSS gives on one page at most
DEFAULT_KEYS = 100  # what OSS gives when max-keys is not said


class Request(NamedTuple):
    method: str
    bucket: str
    key: bytes  # b"" for a request to the bucket itself
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case


class Answer(NamedTuple):
    status: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/xml"),)


class Buckets:
    """The indices: folders read at the start, synthetic buckets made when first named."""

    def __init__(self, root: Path) -> None:
        folders = [folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
        self._indices: dict[str, Index] = {folder.name: read_folder(str(folder)) for folder in folders}

    def answer(self, request: Request) -> Answer:
        index = self._indices.get(request.bucket) or synthetic(request.bucket)
        if index is None:
            return _error("404 Not Found", "NoSuchBucket", request.bucket)
        self._indices.setdefault(request.bucket, index)
        if request.key:
            return _object(index, request)
        if "location" in request.query:
            return Answer("200 OK", b'<?xml version="1.0" encoding="UTF-8"?>\n<LocationConstraint></LocationConstraint>')
        if "bucketInfo" in request.query:
            return Answer("200 OK", _bucket_info(request.bucket))
        try:
            query = parse(request.query)
        except ValueError as error:
            return _error("400 Bad Request", "InvalidArgument", str(error))
        return Answer("200 OK", render(index, request.bucket, query, page(index, query)))


def parse(query: Mapping[str, str]) -> Query:
    """The listing that the parameters ask for; raises ValueError for a page size or a token that cannot be."""
    version = 2 if query.get("list-type") == "2" else 1
    after = query.get("marker" if version == 1 else "start-after", "").encode()
    token = query.get("continuation-token", "") if version == 2 else ""
    size = int(query.get("max-keys", DEFAULT_KEYS))
    if size < 0:
        raise ValueError("max-keys is negative")
    return Query(
        version,
        query.get("prefix", "").encode(),
        query.get("delimiter", "").encode(),
        max(after, bytes.fromhex(token)),
        token,
        min(size, MAX_KEYS),
        query.get("encoding-type") == "url",
    )


def _bucket_info(bucket: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<BucketInfo><Bucket><Name>{escape(bucket)}</Name>'
        "<Location>oss-local</Location><StorageClass>Standard</StorageClass></Bucket></BucketInfo>"
    ).encode()


def _error(status: str, code: str, message: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
    return Answer(status, text.encode())


def _object(index: Index, request: Request) -> Answer:
    """An object of a synthetic bucket: its key repeated. (Objects of folders are served by nginx.)"""
    number = find(index, request.key)
    if number is None:
        return _error("404 Not Found", "NoSuchKey", request.key.decode(errors="replace"))
    size, etag = index.size(number), f'"{index.etag(number)}"'
    if request.headers.get("if-match", etag).strip() not in (etag, "*"):
        return _error("412 Precondition Failed", "PreconditionFailed", "If-Match")
    headers = (("ETag", etag), ("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT"), ("Accept-Ranges", "bytes"))
    if request.method == "HEAD":
        return Answer("200 OK", b"", (*headers, ("X-Size", str(size))))
    body = (request.key * (size // len(request.key) + 1))[:size]
    wanted = request.headers.get("range", "")
    if not wanted.startswith("bytes="):
        return Answer("200 OK", body, headers)
    first, _, last = wanted[6:].partition("-")
    start, end = int(first), min(int(last) if last else size - 1, size - 1)
    if start > end:
        return Answer("416 Range Not Satisfiable", b"", (*headers, ("Content-Range", f"bytes */{size}")))
    return Answer("206 Partial Content", body[start : end + 1], (*headers, ("Content-Range", f"bytes {start}-{end}/{size}")))


def read_request(head: bytes) -> Request:
    """The request that nginx passed on: its head without the final empty line."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    path, _, query = target.partition("?")
    bucket, _, key = (headers.get("x-bench-prefix", "") + path).lstrip("/").partition("/")
    return Request(method, bucket, unquote_to_bytes(key), dict(parse_qsl(query, keep_blank_values=True)), headers)


def write_answer(answer: Answer, method: str) -> bytes:
    headers = dict(answer.headers)
    length = headers.pop("X-Size", str(len(answer.body)))
    lines = [f"HTTP/1.1 {answer.status}", f"Content-Length: {length}", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, "x-oss-request-id: 0", "", ""]).encode("latin-1")
    return head if method == "HEAD" else head + answer.body


class Connection(asyncio.Protocol):
    """One keep-alive connection from nginx, which never pipelines."""

    def __init__(self, buckets: Buckets, loop: asyncio.AbstractEventLoop) -> None:
        self._buckets = buckets
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            request = read_request(head)
            delay = float(request.headers.get("x-bench-delay", "0")) / 1_000
            if delay:
                self._loop.call_later(delay, self._answer, request)
            else:
                self._answer(request)

    def _answer(self, request: Request) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(write_answer(self._buckets.answer(request), request.method))


async def serve(socket: Path, root: Path) -> None:
    """Serves until standard input ends."""
    loop = asyncio.get_running_loop()
    buckets = Buckets(root)
    server = await loop.create_unix_server(lambda: Connection(buckets, loop), str(socket), backlog=1024)
    print("ready", flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Answers bucket-level requests of the benchmark's store.")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.socket, arguments.root))


if __name__ == "__main__":
    main()
