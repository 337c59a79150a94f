"""The calls that read objects."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from ossmount.emulator.documents import OWNER, document
from ossmount.emulator.errors import OssError
from ossmount.emulator.message import FileRange, Request, Response, http_date, object_headers
from ossmount.emulator.store import Store
from ossmount.emulator.values import ARCHIVED_CLASSES, ObjectRecord

_OVERRIDES = {
    f"response-{name}": name
    for name in (
        "content-type",
        "content-language",
        "expires",
        "cache-control",
        "content-disposition",
        "content-encoding",
    )
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def get_object(store: Store, request: Request) -> Response:
    record, fd = _open(store, request)
    try:
        if record.storage_class in ARCHIVED_CLASSES and not record.restored:
            raise OssError("InvalidObjectState", details={"StorageClass": record.storage_class})
        _check(record, request)
        headers = object_headers(record, request.etag)
        for argument, name in _OVERRIDES.items():
            if argument in request.query:
                headers[name] = request.query[argument]
        part = _range(record, request)
        if part is None:
            return Response(200, headers, FileRange(fd, 0, record.size))
        start, length = part
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{record.size}"
        return Response(206, headers, FileRange(fd, start, length))
    except BaseException:
        os.close(fd)
        raise


async def head_object(store: Store, request: Request) -> Response:
    record, fd = _open(store, request)
    os.close(fd)
    _check(record, request)
    headers = object_headers(record, request.etag)
    part = _range(record, request) if request.s3 else None
    if part is not None:
        start, length = part
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{record.size}"
        return Response(206, headers, content_length=length)
    return Response(200, headers, content_length=record.size)


async def get_object_meta(store: Store, request: Request) -> Response:
    """HEAD ?objectMeta: what can be said without the target of a symlink."""
    record = existing(store, request)
    headers = {"etag": f'"{request.etag or record.etag}"', "last-modified": http_date(record.mtime)}
    if record.crc64 is not None:
        headers["x-oss-hash-crc64ecma"] = str(record.crc64)
    return Response(200, headers, content_length=record.size)


async def get_symlink(store: Store, request: Request) -> Response:
    record = existing(store, request)
    if record.object_type != "Symlink":
        raise OssError("NotSymlink")
    headers = {
        **record.headers,
        "x-oss-symlink-target": quoted(record.target),
        "etag": f'"{record.etag}"',
        "last-modified": http_date(record.mtime),
    }
    return Response(200, headers)


async def get_object_acl(store: Store, request: Request) -> Response:
    existing(store, request)
    return document("AccessControlPolicy", [OWNER, ("AccessControlList", [("Grant", "default")])])


async def get_object_tagging(store: Store, request: Request) -> Response:
    """No object has tags here."""
    existing(store, request)
    return document("Tagging", [("TagSet", [])])


def existing(store: Store, request: Request) -> ObjectRecord:
    """The object that the request names. Raises NoSuchKey."""
    record = store.bucket(request.bucket).find(request.key)
    if record is None:
        raise no_such_key(request.key)
    return record


def no_such_key(key: bytes) -> OssError:
    return OssError("NoSuchKey", details={"Key": key.decode("utf-8", "replace")})


def quoted(target: bytes) -> str:
    """A key in a header, as OSS escapes it."""
    return quote(target, safe="/")


def _open(store: Store, request: Request) -> tuple[ObjectRecord, int]:
    """The record and its bytes; a symlink's are those of its target, whose size and ETag it then has."""
    bucket = store.bucket(request.bucket)
    found = bucket.open(request.key)
    if found is None:
        raise no_such_key(request.key)
    link, fd = found
    if link.object_type != "Symlink":
        return link, fd
    found = bucket.open(link.target)
    if found is None:
        raise OssError("SymlinkTargetNotExist", details={"Key": link.target.decode("utf-8", "replace")})
    target, fd = found
    if target.object_type == "Symlink":
        raise OssError("InvalidTargetType", details={"Key": link.target.decode("utf-8", "replace")})
    merged = link._replace(size=target.size, etag=target.etag, crc64=target.crc64, mtime=max(link.mtime, target.mtime))
    return merged, fd


def _check(record: ObjectRecord, request: Request) -> None:
    if not request.ignore_conditions:
        check_conditions(record, request.headers, request.etag)


def check_conditions(record: ObjectRecord, headers: Mapping[str, str], etag: str = "") -> None:
    """Raises PreconditionFailed or NotModified (RFC 9110, 13.2.2); etag is said to be the object's where it is given."""
    etag = etag or record.etag
    if "if-match" in headers:
        if not _lists(headers["if-match"], etag):
            raise OssError("PreconditionFailed", details={"Condition": "If-Match"})
    elif (since := _date(headers.get("if-unmodified-since", ""))) is not None and record.mtime > since:
        raise OssError("PreconditionFailed", details={"Condition": "If-Unmodified-Since"})
    unchanged = False
    if "if-none-match" in headers:
        unchanged = _lists(headers["if-none-match"], etag)
    elif (since := _date(headers.get("if-modified-since", ""))) is not None:
        unchanged = record.mtime <= since
    if unchanged:
        raise OssError("NotModified", headers={"etag": f'"{etag}"', "last-modified": http_date(record.mtime)})


def _lists(condition: str, etag: str) -> bool:
    named = [name.strip().removeprefix("W/").strip('"').upper() for name in condition.split(",")]
    return "*" in named or etag.upper() in named


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None


def _range(record: ObjectRecord, request: Request) -> tuple[int, int] | None:
    strict = request.s3 or request.headers.get("x-oss-range-behavior", "") == "standard"
    return parse_range(request.headers.get("range", ""), record.size, strict=strict)


def parse_range(text: str, size: int, *, strict: bool) -> tuple[int, int] | None:
    """Start and length of the range asked for; None for the whole object.

    OSS takes a range that reaches past the end as none at all and answers with the whole object, unless
    x-oss-range-behavior is standard (strict), as with S3: then it is cut at the end, and one that begins behind it raises
    InvalidRange.
    """
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), int(last) if last else size - 1
        if last and end < start:
            return None
    else:
        start, end = size - int(last), size - 1
    if 0 <= start <= end < size:
        return start, end - start + 1
    if not strict:
        return None
    start, end = max(0, start), min(end, size - 1)
    if start > end:
        raise OssError(
            "InvalidRange",
            details={"ActualObjectSize": str(size), "RangeRequested": text},
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end - start + 1
