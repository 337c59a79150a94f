"""The calls on the service and on a bucket."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence

from ossmount.emulator.documents import OWNER, Element, document, parse, shown, timestamp
from ossmount.emulator.errors import OssError
from ossmount.emulator.listing import Page, list_page
from ossmount.emulator.message import Request, Response
from ossmount.emulator.store import Store
from ossmount.emulator.values import BucketInfo, ObjectRecord

LOCATION = "oss-local"
_ACLS = ("private", "public-read", "public-read-write")


async def list_buckets(store: Store, request: Request) -> Response:
    prefix, marker = request.query.get("prefix", ""), request.query.get("marker", "")
    size = request.number("max-keys", 100, 1000)
    names = [name for name in store.names() if name.startswith(prefix) and name > marker]
    elements: list[Element] = []
    if names[size:] or prefix or marker or "max-keys" in request.query:
        elements += [("Prefix", prefix), ("Marker", marker), ("MaxKeys", size)]
        elements.append(("IsTruncated", "true" if names[size:] else "false"))
        elements.append(("NextMarker", names[size - 1] if names[size:] else ""))
    shown_buckets: list[Element] = [("Bucket", _about(store.bucket(name).info, request)) for name in names[:size]]
    return document("ListAllMyBucketsResult", [OWNER, *elements, ("Buckets", shown_buckets)])


async def put_bucket(store: Store, request: Request) -> Response:
    acl = _acl(request)
    storage_class = ""
    body = await request.document()
    if body and not request.s3:
        storage_class = parse(body, "CreateBucketConfiguration").findtext("StorageClass", "")
    store.create_bucket(request.bucket, acl=acl, storage_class=storage_class)
    return Response(headers={"location": f"/{request.bucket}"})


async def delete_bucket(store: Store, request: Request) -> Response:
    store.delete_bucket(request.bucket)
    return Response(204)


async def head_bucket(store: Store, request: Request) -> Response:
    store.bucket(request.bucket)
    return Response(headers={"x-oss-bucket-region": LOCATION})


async def get_bucket_info(store: Store, request: Request) -> Response:
    info = store.bucket(request.bucket).info
    elements = [
        *_about(info, request),
        OWNER,
        ("AccessControlList", [("Grant", info.acl)]),
        ("DataRedundancyType", "LRS"),
        ("Versioning", ""),
        ("AccessMonitor", "Disabled"),
    ]
    return document("BucketInfo", [("Bucket", elements)])


async def get_bucket_location(store: Store, request: Request) -> Response:
    store.bucket(request.bucket)
    return document("LocationConstraint", LOCATION)


async def get_bucket_stat(store: Store, request: Request) -> Response:
    size, objects, uploads = store.bucket(request.bucket).stat()
    elements: list[Element] = [
        ("Storage", size),
        ("ObjectCount", objects),
        ("MultipartUploadCount", uploads),
        ("LiveChannelCount", 0),
        ("LastModifiedTime", int(time.time())),
        ("StandardStorage", size),
        ("StandardObjectCount", objects),
    ]
    return document("BucketStat", elements)


async def get_bucket_acl(store: Store, request: Request) -> Response:
    info = store.bucket(request.bucket).info
    return document("AccessControlPolicy", [OWNER, ("AccessControlList", [("Grant", info.acl)])])


async def put_bucket_acl(store: Store, request: Request) -> Response:
    acl = _acl(request)
    if not acl:
        raise OssError("MissingArgument", details={"ArgumentName": "x-oss-acl"})
    store.writable(request.bucket).set_acl(acl)
    return Response()


async def get_bucket_versioning(store: Store, request: Request) -> Response:
    store.bucket(request.bucket)
    return document("VersioningConfiguration", [])


def _acl(request: Request) -> str:
    acl = request.headers.get("x-oss-acl", "")
    if acl and acl not in _ACLS:
        raise OssError("InvalidArgument", details={"ArgumentName": "x-oss-acl", "ArgumentValue": acl})
    return acl


def _about(info: BucketInfo, request: Request) -> list[Element]:
    host = request.sent_headers.get("host", "localhost")
    return [
        ("CreationDate", timestamp(info.created)),
        ("ExtranetEndpoint", host),
        ("IntranetEndpoint", host),
        ("Location", LOCATION),
        ("Name", info.name),
        ("Region", LOCATION.removeprefix("oss-")),
        ("StorageClass", info.storage_class),
    ]


# Listings


async def list_objects(store: Store, request: Request) -> Response:
    encoding = _encoding(request)
    marker = _bytes(request.query.get("marker", ""))
    page, size = _page(store, request, marker)
    elements: list[Element] = [
        ("Name", request.bucket),
        ("Prefix", _echo(request, "prefix", encoding)),
        ("Marker", _echo(request, "marker", encoding)),
        ("MaxKeys", size),
        ("Delimiter", _echo(request, "delimiter", encoding)),
        ("IsTruncated", "true" if page.truncated else "false"),
    ]
    if page.truncated:
        elements.append(("NextMarker", shown(page.last, encoding)))
    return document("ListBucketResult", elements + _entries(page, encoding, owner=True))


async def list_objects_v2(store: Store, request: Request) -> Response:
    encoding = _encoding(request)
    token = request.query.get("continuation-token", "")
    after = _bytes(request.query.get("start-after", ""))
    if token:
        after = _decode_token(token)
    page, size = _page(store, request, after)
    elements: list[Element] = [
        ("Name", request.bucket),
        ("Prefix", _echo(request, "prefix", encoding)),
        ("StartAfter", _echo(request, "start-after", encoding)),
        ("MaxKeys", size),
        ("Delimiter", _echo(request, "delimiter", encoding)),
        ("IsTruncated", "true" if page.truncated else "false"),
        ("KeyCount", len(page.objects) + len(page.prefixes)),
    ]
    if token:
        elements.append(("ContinuationToken", token))
    if page.truncated:
        elements.append(("NextContinuationToken", base64.b64encode(page.last).decode()))
    owner = request.query.get("fetch-owner", "").lower() == "true"
    return document("ListBucketResult", elements + _entries(page, encoding, owner=owner))


def _page(store: Store, request: Request, after: bytes) -> tuple[Page, int]:
    size = request.number("max-keys", 1000 if request.s3 else 100, 1000)
    if size == 0 and not request.s3:
        raise OssError("InvalidArgument", details={"ArgumentName": "max-keys", "ArgumentValue": "0"})
    page = list_page(
        store.bucket(request.bucket).cursor(),
        prefix=_bytes(request.query.get("prefix", "")),
        delimiter=_bytes(request.query.get("delimiter", "")),
        after=after,
        size=size,
    )
    return page, size


def _encoding(request: Request) -> str:
    encoding = request.query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise OssError("InvalidArgument", details={"ArgumentName": "encoding-type", "ArgumentValue": encoding})
    return encoding


def _echo(request: Request, name: str, encoding: str) -> str:
    return shown(_bytes(request.query.get(name, "")), encoding)


def _entries(page: Page, encoding: str, *, owner: bool) -> list[Element]:
    elements: list[Element] = [("EncodingType", encoding)] if encoding else []
    elements += [("Contents", _contents(record, encoding, owner)) for record in page.objects]
    elements += [("CommonPrefixes", [("Prefix", shown(prefix, encoding))]) for prefix in page.prefixes]
    return elements


def _contents(record: ObjectRecord, encoding: str, owner: bool) -> Sequence[Element]:
    elements: list[Element] = [
        ("Key", shown(record.key, encoding)),
        ("LastModified", timestamp(record.mtime)),
        ("ETag", f'"{record.etag}"'),
        ("Type", record.object_type),
        ("Size", record.size),
        ("StorageClass", record.storage_class),
    ]
    if record.restored:
        elements.append(("RestoreInfo", 'ongoing-request="false"'))
    return [*elements, OWNER] if owner else elements


def _decode_token(token: str) -> bytes:
    try:
        return base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        raise OssError(
            "InvalidArgument",
            "The continuation token provided is incorrect.",
            details={"ArgumentName": "continuation-token", "ArgumentValue": token},
        ) from None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
