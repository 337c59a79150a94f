"""Multipart uploads."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ossmount.emulator.documents import OWNER, Element, document, parse, shown, timestamp
from ossmount.emulator.errors import OssError
from ossmount.emulator.listing import common_prefix
from ossmount.emulator.message import Request, Response, metadata_of
from ossmount.emulator.object_calls import parse_range
from ossmount.emulator.store import Store, check_key
from ossmount.emulator.stored_bucket import Body, StoredBucket
from ossmount.emulator.upload import receive_body
from ossmount.emulator.values import CHUNK, ObjectRecord, Part, Upload
from ossmount.emulator.write_calls import copy_source, may_overwrite, storage_class

MAX_PARTS = 10_000
MIN_PART_SIZE = 100 << 10  # bytes; of all parts but the last


async def initiate(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    check_key(request.key)
    await request.drain()
    upload = uuid.uuid4().hex.upper()
    row = (
        upload,
        request.key,
        int(time.time()),
        storage_class(bucket, request),
        json.dumps(metadata_of(request.headers)),
    )
    with bucket.lock:
        bucket.db.execute("INSERT INTO uploads VALUES (?,?,?,?,?)", row)
    encoding = request.query.get("encoding-type", "")
    elements: list[Element] = [("EncodingType", encoding)] if encoding else []
    elements += [("Bucket", request.bucket), ("Key", shown(request.key, encoding)), ("UploadId", upload)]
    return document("InitiateMultipartUploadResult", elements)


async def upload_part(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    number = _part_number(request)
    _upload(bucket, request)
    body = await receive_body(bucket, request)
    _keep_part(bucket, request, number, body)
    return Response(headers={"etag": f'"{body.etag}"', "x-oss-hash-crc64ecma": str(body.crc64)})


async def upload_part_copy(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    number = _part_number(request)
    _upload(bucket, request)
    source_bucket, source = copy_source(store, request)
    part = parse_range(request.headers.get("x-oss-copy-source-range", ""), source.size, strict=True)
    start, length = part or (0, source.size)
    body = bucket.new_body()
    fd = source_bucket.open_blob(source.blob)
    try:
        await _in_thread(lambda: _copy(fd, start, length, body))
        body.close()
    except BaseException:
        body.abandon()
        raise
    finally:
        os.close(fd)
    _keep_part(bucket, request, number, body)
    elements: list[Element] = [("LastModified", timestamp(int(time.time()))), ("ETag", f'"{body.etag}"')]
    response = document("CopyPartResult", elements)
    response.headers["etag"] = f'"{body.etag}"'
    return response


async def complete(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    data = await request.document()
    upload = _upload(bucket, request)
    parts = _chosen_parts(_parts(bucket, upload.id), data, request)
    body = bucket.new_body()
    try:
        await _in_thread(lambda: _join(bucket, parts, body))
        record = ObjectRecord(
            key=upload.key,
            size=body.size,
            etag=_multipart_etag(parts),
            mtime=int(time.time()),
            crc64=body.crc64,
            object_type="Multipart",
            storage_class=upload.storage_class,
            headers=upload.headers,
            blob=body.name,
        )
        with bucket.lock:
            _upload(bucket, request)  # still there, and not completed by another request meanwhile
            bucket.insert(record, overwrite=may_overwrite(request))
            _forget(bucket, upload.id)
    except BaseException:
        body.abandon()
        raise
    encoding = request.query.get("encoding-type", "")
    elements: list[Element] = [("EncodingType", encoding)] if encoding else []
    elements += [
        ("Location", f"http://{request.sent_headers.get('host', '')}/{quote(upload.key)}"),
        ("Bucket", request.bucket),
        ("Key", shown(upload.key, encoding)),
        ("ETag", f'"{record.etag}"'),
    ]
    response = document("CompleteMultipartUploadResult", elements)
    response.headers |= {"etag": f'"{record.etag}"', "x-oss-hash-crc64ecma": str(record.crc64)}
    return response


async def abort(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    with bucket.lock:
        _forget(bucket, _upload(bucket, request).id)
    return Response(204)


async def list_parts(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    upload = _upload(bucket, request)
    size = request.number("max-parts", 1000, 1000)
    marker = request.number("part-number-marker", 0, MAX_PARTS)
    parts = [part for part in _parts(bucket, upload.id) if part.number > marker]
    encoding = request.query.get("encoding-type", "")
    shown_parts = parts[:size]
    elements: list[Element] = [("EncodingType", encoding)] if encoding else []
    elements += [
        ("Bucket", request.bucket),
        ("Key", shown(upload.key, encoding)),
        ("UploadId", upload.id),
        ("StorageClass", upload.storage_class),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", shown_parts[-1].number if shown_parts else marker),
        ("MaxParts", size),
        ("IsTruncated", "true" if parts[size:] else "false"),
    ]
    for part in shown_parts:
        described: list[Element] = [
            ("PartNumber", part.number),
            ("LastModified", timestamp(part.mtime)),
            ("ETag", f'"{part.etag}"'),
            ("HashCrc64ecma", str(part.crc64)),
            ("Size", part.size),
        ]
        elements.append(("Part", described))
    return document("ListPartsResult", elements)


async def list_uploads(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    size = request.number("max-uploads", 1000, 1000)
    encoding = request.query.get("encoding-type", "")
    names = ("prefix", "delimiter", "key-marker", "upload-id-marker")
    prefix, delimiter, key_marker, id_marker = (
        request.query.get(name, "").encode("utf-8", "surrogateescape") for name in names
    )
    with bucket.lock:
        rows = bucket.db.execute("SELECT * FROM uploads ORDER BY key, id").fetchall()
    after = (key_marker, id_marker.decode()) if id_marker else (key_marker + b"\0", "") if key_marker else (b"", "")
    known = [upload for upload in map(_upload_of, rows) if upload.key.startswith(prefix)]
    left = [upload for upload in known if (upload.key, upload.id) > after]
    uploads, groups, next_marker = _page(left, prefix, delimiter, key_marker, size)
    elements: list[Element] = [("EncodingType", encoding)] if encoding else []
    elements += [
        ("Bucket", request.bucket),
        ("KeyMarker", shown(key_marker, encoding)),
        ("UploadIdMarker", id_marker.decode()),
        ("NextKeyMarker", shown(next_marker[0], encoding) if next_marker else ""),
        ("NextUploadIdMarker", next_marker[1] if next_marker else ""),
        ("Delimiter", shown(delimiter, encoding)),
        ("Prefix", shown(prefix, encoding)),
        ("MaxUploads", size),
        ("IsTruncated", "true" if next_marker else "false"),
    ]
    elements += [("Upload", _described(upload, encoding)) for upload in uploads]
    elements += [("CommonPrefixes", [("Prefix", shown(group, encoding))]) for group in groups]
    return document("ListMultipartUploadsResult", elements)


def _page(
    uploads: list[Upload], prefix: bytes, delimiter: bytes, key_marker: bytes, size: int
) -> tuple[list[Upload], list[bytes], tuple[bytes, str] | None]:
    """The first `size` uploads and common prefixes; what the next page starts after, None on the last one."""
    chosen: list[Upload] = []
    groups: list[bytes] = []
    last = (b"", "")
    for upload in uploads:
        group = common_prefix(upload.key, prefix, delimiter) if delimiter else b""
        if group and (group in groups[-1:] or key_marker.startswith(group)):
            continue
        if len(chosen) + len(groups) == size:
            return chosen, groups, last
        if group:
            groups.append(group)
            last = (group, "")
        else:
            chosen.append(upload)
            last = (upload.key, upload.id)
    return chosen, groups, None


def _described(upload: Upload, encoding: str) -> list[Element]:
    return [
        ("Key", shown(upload.key, encoding)),
        ("UploadId", upload.id),
        ("StorageClass", upload.storage_class),
        ("Initiated", timestamp(upload.started)),
        OWNER,
    ]


def _part_number(request: Request) -> int:
    number = request.number("partNumber", 0, MAX_PARTS)
    if number < 1:
        raise OssError("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.")
    return number


def _upload(bucket: StoredBucket, request: Request) -> Upload:
    """The upload that the request names. Raises NoSuchUpload."""
    name = request.query.get("uploadId", "")
    with bucket.lock:
        row = bucket.db.execute("SELECT * FROM uploads WHERE id = ? AND key = ?", (name, request.key)).fetchone()
    if row is None:
        raise OssError("NoSuchUpload", details={"UploadId": name})
    return _upload_of(row)


def _upload_of(row: tuple[Any, ...]) -> Upload:
    return Upload(row[0], row[1], row[2], row[3], json.loads(row[4]))


def _parts(bucket: StoredBucket, upload: str) -> list[Part]:
    with bucket.lock:
        rows = bucket.db.execute(
            "SELECT number, size, etag, crc64, mtime, blob FROM parts WHERE upload = ? ORDER BY number", (upload,)
        ).fetchall()
    return [Part(number, size, etag, int(crc64), mtime, blob) for number, size, etag, crc64, mtime, blob in rows]


def _keep_part(bucket: StoredBucket, request: Request, number: int, body: Body) -> None:
    """Enters a part; a part of that number is replaced. Raises NoSuchUpload when the upload ended meanwhile."""
    try:
        with bucket.lock:
            upload = _upload(bucket, request)
            old = [part for part in _parts(bucket, upload.id) if part.number == number]
            row = (upload.id, number, body.size, body.etag, str(body.crc64), int(time.time()), body.name)
            bucket.db.execute("INSERT OR REPLACE INTO parts VALUES (?,?,?,?,?,?,?)", row)
    except BaseException:
        body.abandon()
        raise
    for part in old:
        bucket.discard_blob(part.blob)


def _forget(bucket: StoredBucket, upload: str) -> None:
    with bucket.lock:
        parts = _parts(bucket, upload)
        bucket.db.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        bucket.db.execute("DELETE FROM parts WHERE upload = ?", (upload,))
    for part in parts:
        bucket.discard_blob(part.blob)


def _chosen_parts(stored: list[Part], data: bytes, request: Request) -> list[Part]:
    """The parts that the client lists, or all of them (x-oss-complete-all)."""
    if request.headers.get("x-oss-complete-all", "") == "yes":
        chosen = stored
    else:
        known = {part.number: part for part in stored}
        chosen = []
        for element in parse(data, "CompleteMultipartUpload").findall("Part"):
            number = element.findtext("PartNumber", "").strip()
            part = known.get(int(number)) if number.isdecimal() else None
            if part is None or element.findtext("ETag", "").strip().strip('"').upper() != part.etag:
                raise OssError("InvalidPart", details={"PartNumber": number})
            chosen.append(part)
    numbers = [part.number for part in chosen]
    if numbers != sorted(set(numbers)):
        raise OssError("InvalidPartOrder")
    if not chosen:
        raise OssError("MalformedXML")
    if any(part.size < MIN_PART_SIZE for part in chosen[:-1]):
        raise OssError("EntityTooSmall", details={"MinSizeAllowed": str(MIN_PART_SIZE)})
    return chosen


def _multipart_etag(parts: list[Part]) -> str:
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest().upper()}-{len(parts)}"


async def _in_thread(work: Callable[[], None]) -> None:
    """Waits for the thread also when cancelled: it writes to a file that the caller is about to close."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait([task])


def _join(bucket: StoredBucket, parts: list[Part], body: Body) -> None:
    for part in parts:
        fd = bucket.open_blob(part.blob)
        try:
            _copy(fd, 0, part.size, body)
        finally:
            os.close(fd)
    body.close()


def _copy(fd: int, start: int, length: int, body: Body) -> None:
    """Appends bytes of an open file to a body."""
    end = start + length
    while start < end:
        data = os.pread(fd, min(CHUNK, end - start), start)
        if not data:
            raise OSError("a stored body is shorter than its record")
        body.write(data)
        start += len(data)
