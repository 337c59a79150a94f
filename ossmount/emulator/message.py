"""A request as the calls see it, and the answer that they give; ASGI on the one side, OSS on the other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from ossmount.emulator.errors import OssError
from ossmount.emulator.values import ObjectRecord

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MAX_DOCUMENT = 8 << 20  # bytes of an XML body; 1,000 keys of 1,023 escaped bytes are 3 MiB
_VIRTUAL_HOST = re.compile(r"([a-z0-9][a-z0-9-]+[a-z0-9])\.(?:localhost|oss-[a-z0-9.-]+|s3\.oss-[a-z0-9.-]+)")


class Disconnected(Exception):
    """The client went away before its request was complete."""


@dataclass
class Request:
    """One request, its address already taken apart. Header names are in lower case; x-amz-* is renamed to x-oss-*."""

    method: str
    raw_path: bytes
    query: dict[str, str]
    sent_headers: dict[str, str]  # as they came
    headers: dict[str, str]
    bucket: str
    key: bytes
    client: tuple[str, int]
    receive: Receive
    s3: bool  # signed as S3 requests are
    etag: str = ""  # what the object's ETag is said to be instead (a fault)
    ignore_conditions: bool = False  # a fault
    finished: bool = field(default=False, repr=False)

    async def chunk(self) -> bytes:
        """The next bytes of the body, b"" at its end. Raises Disconnected."""
        while not self.finished:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            self.finished = not message.get("more_body", False)
            data: bytes = message.get("body", b"")
            if data:
                return data
        return b""

    async def document(self, limit: int = _MAX_DOCUMENT) -> bytes:
        """The whole body of a request that carries XML. Raises OssError, Disconnected."""
        data = bytearray()
        while chunk := await self.chunk():
            data += chunk
            if len(data) > limit:
                raise OssError("MalformedXML", "The body is too large.")
        return bytes(data)

    async def drain(self) -> None:
        """Reads the rest of the body, so that a client that is still sending gets to read the answer."""
        while await self.chunk():
            pass

    def number(self, name: str, default: int, highest: int) -> int:
        """A query argument that counts something. Raises InvalidArgument."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not text.isdecimal() or int(text) > highest:
            raise OssError("InvalidArgument", details={"ArgumentName": name, "ArgumentValue": text})
        return int(text)


class FileRange(NamedTuple):
    """Bytes of an open file; whoever sends them closes the descriptor."""

    fd: int
    start: int
    length: int


@dataclass
class Response:
    """An answer: its body is bytes or a part of a file."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileRange = b""
    content_length: int | None = None  # of a HEAD, whose body is not sent

    @property
    def length(self) -> int:
        if self.content_length is not None:
            return self.content_length
        return self.body.length if isinstance(self.body, FileRange) else len(self.body)


def parse(scope: Scope, receive: Receive) -> Request:
    """The request that an ASGI scope stands for."""
    sent = {name.decode("latin-1"): value.decode("latin-1").strip() for name, value in scope["headers"]}
    raw_path: bytes = scope["raw_path"]
    host = sent.get("host", "")
    if raw_path.startswith((b"http://", b"https://")):  # as a proxy is asked
        authority, slash, rest = raw_path.partition(b"://")[2].partition(b"/")
        host, raw_path = authority.decode("latin-1"), slash + rest or b"/"
    query = parse_query(scope["query_string"])
    s3 = sent.get("authorization", "").startswith("AWS4-") or "X-Amz-Signature" in query
    headers = {("x-oss-" + name[6:] if name.startswith("x-amz-") else name): value for name, value in sent.items()}
    path = unquote_to_bytes(raw_path[1:])
    virtual = _VIRTUAL_HOST.fullmatch(host.rpartition(":")[0] if re.search(r":\d+$", host) else host)
    if virtual:
        bucket, key = virtual[1], path
    else:
        name, _, key = path.partition(b"/")
        bucket = name.decode("utf-8", "surrogateescape")
    return Request(
        method=scope["method"],
        raw_path=raw_path,
        query=query,
        sent_headers=sent,
        headers=headers,
        bucket=bucket,
        key=key,
        client=tuple(scope.get("client") or ("", 0)),
        receive=receive,
        s3=s3,
    )


def parse_query(raw: bytes) -> dict[str, str]:
    """The arguments of a query string; bytes that are not UTF-8 as surrogates."""
    query = {}
    for pair in raw.split(b"&"):
        name, _, value = pair.partition(b"=")
        if pair:
            query[_text(name)] = _text(value)
    return query


def _text(escaped: bytes) -> str:
    return unquote_to_bytes(escaped.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers of an upload that are kept with the object."""
    kept = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")
    metadata = {name: headers[name] for name in kept if name in headers}
    if metadata.get("content-encoding", "").startswith("aws-chunked"):
        metadata["content-encoding"] = metadata["content-encoding"].removeprefix("aws-chunked").lstrip(", ")
        if not metadata["content-encoding"]:
            del metadata["content-encoding"]
    metadata.update((name, value) for name, value in headers.items() if name.startswith("x-oss-meta-"))
    return metadata


def object_headers(record: ObjectRecord, etag: str = "") -> dict[str, str]:
    """What OSS tells of an object in the headers of GET and HEAD."""
    headers = {
        "content-type": "application/octet-stream",
        **record.headers,
        "etag": f'"{etag or record.etag}"',
        "last-modified": http_date(record.mtime),
        "accept-ranges": "bytes",
        "x-oss-object-type": record.object_type,
        "x-oss-storage-class": record.storage_class,
    }
    if record.crc64 is not None:
        headers["x-oss-hash-crc64ecma"] = str(record.crc64)
    if record.object_type == "Appendable":
        headers["x-oss-next-append-position"] = str(record.size)
    if record.restored:
        headers["x-oss-restore"] = f'ongoing-request="false", expiry-date="{http_date(record.mtime + 86400)}"'
    return headers
