"""The calls that write, copy and delete objects."""

from __future__ import annotations

import time
from urllib.parse import unquote_to_bytes

from ossmount.emulator.documents import Element, document, parse, shown, text_of, timestamp
from ossmount.emulator.errors import OssError
from ossmount.emulator.message import Request, Response, metadata_of
from ossmount.emulator.object_calls import check_conditions, existing, no_such_key
from ossmount.emulator.store import Store, check_key, symlink_record
from ossmount.emulator.stored_bucket import StoredBucket
from ossmount.emulator.upload import receive_body
from ossmount.emulator.values import ARCHIVED_CLASSES, ObjectRecord

_STORAGE_CLASSES = frozenset({"Standard", "IA", *ARCHIVED_CLASSES})
_MAX_DELETED = 1000
_MAX_APPENDED = 256 << 20  # bytes of one append, which is held in memory


async def put_object(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    check_key(request.key)
    chosen = storage_class(bucket, request)
    body = await receive_body(bucket, request)
    record = ObjectRecord(
        key=request.key,
        size=body.size,
        etag=body.etag,
        mtime=int(time.time()),
        crc64=body.crc64,
        storage_class=chosen,
        headers=metadata_of(request.headers),
        blob=body.name,
    )
    try:
        bucket.insert(record, overwrite=may_overwrite(request))
    except BaseException:
        body.abandon()
        raise
    return Response(headers={"etag": f'"{record.etag}"', "x-oss-hash-crc64ecma": str(record.crc64)})


async def copy_object(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    check_key(request.key)
    source_bucket, source = copy_source(store, request)
    now = int(time.time())
    replace = request.headers.get("x-oss-metadata-directive", "COPY").upper() == "REPLACE"
    record = source._replace(
        key=request.key,
        mtime=now,
        object_type="Normal" if source.object_type == "Appendable" else source.object_type,
        storage_class=storage_class(bucket, request, source.storage_class),
        headers=metadata_of(request.headers) if replace else source.headers,
        blob=bucket.link_body(source_bucket, source.blob) if source.blob else "",
        restored=False,
    )
    try:
        bucket.insert(record, overwrite=may_overwrite(request))
    except BaseException:
        bucket.discard_blob(record.blob)
        raise
    elements: list[Element] = [("ETag", f'"{record.etag}"'), ("LastModified", timestamp(now))]
    response = document("CopyObjectResult", elements)
    response.headers["etag"] = f'"{record.etag}"'
    if record.crc64 is not None:
        response.headers["x-oss-hash-crc64ecma"] = str(record.crc64)
    return response


async def delete_object(store: Store, request: Request) -> Response:
    store.writable(request.bucket).delete(request.key)
    return Response(204)


async def delete_multiple_objects(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    tree = parse(await request.document(), "Delete")
    quiet = tree.findtext("Quiet", "false").lower() == "true"
    encoding = request.query.get("encoding-type", "")
    keys = [text_of(element, "Key").encode() for element in tree.findall("Object")]
    if not keys or len(keys) > _MAX_DELETED:
        raise OssError("MalformedXML")
    for key in keys:
        bucket.delete(key)
    deleted: list[Element] = [] if quiet else [("Deleted", [("Key", shown(key, encoding))]) for key in keys]
    return document("DeleteResult", ([("EncodingType", encoding)] if encoding and not quiet else []) + deleted)


async def append_object(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    check_key(request.key)
    position = request.query.get("position", "")
    if not position.isdecimal():
        raise OssError("InvalidArgument", details={"ArgumentName": "position", "ArgumentValue": position})
    chosen = storage_class(bucket, request)
    data = await request.document(_MAX_APPENDED)
    record = bucket.append(request.key, int(position), data, metadata_of(request.headers), chosen)
    headers = {
        "etag": f'"{record.etag}"',
        "x-oss-hash-crc64ecma": str(record.crc64),
        "x-oss-next-append-position": str(record.size),
    }
    return Response(headers=headers)


async def put_symlink(store: Store, request: Request) -> Response:
    bucket = store.writable(request.bucket)
    check_key(request.key)
    target = unquote_to_bytes(request.headers.get("x-oss-symlink-target", "").encode("latin-1"))
    if not target:
        raise OssError("InvalidArgument", details={"ArgumentName": "x-oss-symlink-target", "ArgumentValue": ""})
    check_key(target)
    chosen = storage_class(bucket, request)
    record = symlink_record(request.key, target, int(time.time()), chosen, metadata_of(request.headers))
    bucket.insert(record, overwrite=may_overwrite(request))
    return Response(headers={"etag": f'"{record.etag}"'})


async def restore_object(store: Store, request: Request) -> Response:
    """Restores at once: 202 the first time, 200 when it has been done before."""
    bucket = store.writable(request.bucket)
    await request.drain()
    record = existing(store, request)
    if record.storage_class not in ARCHIVED_CLASSES:
        raise OssError("OperationNotSupported", "The operation is not supported for this resource", status=400)
    if record.restored:
        return Response(200)
    bucket.insert(record._replace(restored=True))
    return Response(202)


# What several calls share


def may_overwrite(request: Request) -> bool:
    """Whether an object of that name may be replaced; also S3's way to say it."""
    return (
        request.headers.get("x-oss-forbid-overwrite", "false").lower() != "true"
        and request.headers.get("if-none-match", "") != "*"
    )


def storage_class(bucket: StoredBucket, request: Request, default: str = "") -> str:
    """The storage class that an upload asks for, else the default, else the bucket's. Raises InvalidArgument."""
    chosen = request.headers.get("x-oss-storage-class", "")
    if request.s3:
        chosen = {"STANDARD": "Standard", "STANDARD_IA": "IA", "GLACIER": "Archive"}.get(chosen, chosen)
    if chosen and chosen not in _STORAGE_CLASSES:
        raise OssError("InvalidArgument", details={"ArgumentName": "x-oss-storage-class", "ArgumentValue": chosen})
    return chosen or default or bucket.info.storage_class


def copy_source(store: Store, request: Request) -> tuple[StoredBucket, ObjectRecord]:
    """What x-oss-copy-source names, its own conditions checked. Raises NoSuchKey, PreconditionFailed and the like."""
    text = request.headers.get("x-oss-copy-source", "").partition("?")[0]
    name, _, key = unquote_to_bytes(text.encode("latin-1")).removeprefix(b"/").partition(b"/")
    bucket = store.writable(name.decode("utf-8", "replace"))
    record = bucket.find(key)
    if record is None:
        raise no_such_key(key)
    if record.storage_class in ARCHIVED_CLASSES and not record.restored:
        raise OssError("InvalidObjectState", details={"StorageClass": record.storage_class})
    prefix = "x-oss-copy-source-"
    conditions = {header.removeprefix(prefix): value for header, value in request.headers.items() if header.startswith(prefix)}
    check_conditions(record, conditions)
    return bucket, record
