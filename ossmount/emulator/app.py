"""The server as an ASGI application: which call a request is, who may make it, and how its answer goes out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from email.utils import formatdate
from functools import lru_cache
from socket import SO_LINGER, SOL_SOCKET
from typing import NamedTuple

from ossmount.emulator import bucket_calls, multipart_calls, object_calls, write_calls
from ossmount.emulator.accounts import Accounts
from ossmount.emulator.documents import error_document
from ossmount.emulator.errors import OssError
from ossmount.emulator.faults import Faults, Plan
from ossmount.emulator.journal import Entry, Journal
from ossmount.emulator.lies import falsify
from ossmount.emulator.message import Disconnected, FileRange, Message, Receive, Request, Response, Scope, Send, parse
from ossmount.emulator.store import Store
from ossmount.emulator.values import CHUNK

Handler = Callable[[Store, Request], Awaitable[Response]]
#: The open connections by the client's address.
Transports = Mapping[tuple[str, int], asyncio.Transport]

_log = logging.getLogger(__name__)
_NO_LINGER = struct.pack("ii", 1, 0)  # close() sends RST
_PATIENCE = 0.25  # seconds after which a pause looks whether the client is still there
_SLICE = 16 << 10  # bytes that are sent at once where the bandwidth is limited


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class Call(NamedTuple):
    """One call of the OSS API, chosen by method and query argument."""

    name: str
    kind: str  # for faults and the journal
    handler: Handler


_SERVICE: dict[tuple[str, str], Call] = {("GET", ""): Call("ListBuckets", "BUCKET", bucket_calls.list_buckets)}
_BUCKET: dict[tuple[str, str], Call] = {
    ("GET", "bucketInfo"): Call("GetBucketInfo", "BUCKET", bucket_calls.get_bucket_info),
    ("GET", "location"): Call("GetBucketLocation", "BUCKET", bucket_calls.get_bucket_location),
    ("GET", "stat"): Call("GetBucketStat", "BUCKET", bucket_calls.get_bucket_stat),
    ("GET", "acl"): Call("GetBucketAcl", "BUCKET", bucket_calls.get_bucket_acl),
    ("GET", "versioning"): Call("GetBucketVersioning", "BUCKET", bucket_calls.get_bucket_versioning),
    ("GET", "uploads"): Call("ListMultipartUploads", "BUCKET", multipart_calls.list_uploads),
    ("GET", "list-type"): Call("ListObjectsV2", "LIST", bucket_calls.list_objects_v2),
    ("GET", ""): Call("ListObjects", "LIST", bucket_calls.list_objects),
    ("HEAD", ""): Call("HeadBucket", "BUCKET", bucket_calls.head_bucket),
    ("PUT", ""): Call("PutBucket", "BUCKET", bucket_calls.put_bucket),
    ("PUT", "acl"): Call("PutBucketAcl", "BUCKET", bucket_calls.put_bucket_acl),
    ("DELETE", ""): Call("DeleteBucket", "BUCKET", bucket_calls.delete_bucket),
    ("POST", "delete"): Call("DeleteMultipleObjects", "DELETE", write_calls.delete_multiple_objects),
}
_OBJECT: dict[tuple[str, str], Call] = {
    ("GET", "symlink"): Call("GetSymlink", "GET", object_calls.get_symlink),
    ("GET", "acl"): Call("GetObjectAcl", "GET", object_calls.get_object_acl),
    ("GET", "tagging"): Call("GetObjectTagging", "GET", object_calls.get_object_tagging),
    ("GET", "uploadId"): Call("ListParts", "GET", multipart_calls.list_parts),
    ("GET", ""): Call("GetObject", "GET", object_calls.get_object),
    ("HEAD", "objectMeta"): Call("GetObjectMeta", "HEAD", object_calls.get_object_meta),
    ("HEAD", ""): Call("HeadObject", "HEAD", object_calls.head_object),
    ("PUT", "symlink"): Call("PutSymlink", "PUT", write_calls.put_symlink),
    ("PUT", "uploadId"): Call("UploadPart", "PUT", multipart_calls.upload_part),
    ("PUT", "uploadId+copy"): Call("UploadPartCopy", "PUT", multipart_calls.upload_part_copy),
    ("PUT", "copy"): Call("CopyObject", "PUT", write_calls.copy_object),
    ("PUT", ""): Call("PutObject", "PUT", write_calls.put_object),
    ("POST", "append"): Call("AppendObject", "POST", write_calls.append_object),
    ("POST", "uploads"): Call("InitiateMultipartUpload", "POST", multipart_calls.initiate),
    ("POST", "uploadId"): Call("CompleteMultipartUpload", "POST", multipart_calls.complete),
    ("POST", "restore"): Call("RestoreObject", "POST", write_calls.restore_object),
    ("DELETE", "uploadId"): Call("AbortMultipartUpload", "DELETE", multipart_calls.abort),
    ("DELETE", ""): Call("DeleteObject", "DELETE", write_calls.delete_object),
}
#: Arguments that make a request another call, known here or not: one that is not is answered NotImplemented.
_UNKNOWN = (
    "asyncFetch cors encryption inventory lifecycle live logging metaQuery policy publicAccessBlock referer replication",
    "requestPayment tagging transferAcceleration versions vod website worm x-oss-process",
)
_SUBRESOURCES = frozenset(
    {argument for _, argument in (*_BUCKET, *_OBJECT) if argument and not argument.endswith("copy")}
    | {name for names in _UNKNOWN for name in names.split()}
)
_PUBLIC_READS = ("GetObject", "HeadObject", "GetObjectMeta", "GetSymlink")


def call_of(request: Request) -> Call:
    """Which call a request is. Raises MethodNotAllowed, NotImplemented."""
    table = _OBJECT if request.key else _BUCKET if request.bucket else _SERVICE
    arguments = [argument for argument in request.query if argument in _SUBRESOURCES and table is not _SERVICE]
    argument = "uploadId" if "uploadId" in arguments else arguments[0] if arguments else ""
    if request.method == "GET" and argument == "objectMeta":
        argument = ""
    if "x-oss-copy-source" in request.headers and argument in ("", "uploadId"):
        argument = f"{argument}+copy" if argument else "copy"
    call = table.get((request.method, argument))
    if call is not None:
        return call
    if argument and request.method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
        raise OssError("NotImplemented", details={"Argument": argument})
    raise OssError("MethodNotAllowed", details={"Method": request.method})


class Application:
    """The ASGI application."""

    def __init__(self, store: Store, accounts: Accounts, faults: Faults, journal: Journal, transports: Transports) -> None:
        self._store = store
        self._accounts = accounts
        self._faults = faults
        self._journal = journal
        self._transports = transports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"unexpected ASGI scope {scope['type']}")
        request = parse(scope, receive)
        request_id = os.urandom(12).hex().upper()
        failure: OssError | None = None
        call = Call("Unknown", request.method, bucket_calls.list_buckets)
        try:
            call = call_of(request)
        except OssError as error:
            failure = error
        listed = request.query.get("prefix", "").encode("utf-8", "surrogateescape")
        entry = Entry(
            kind=call.kind,
            operation=call.name,
            method=request.method,
            bucket=request.bucket,
            key=request.key or listed,
            query=request.query,
            headers=request.sent_headers,
            client=request.client,
            request_id=request_id,
        )
        plan = self._faults.choose(entry.kind, entry.operation, entry.bucket, entry.key)
        self._journal.enter(entry)
        try:
            response = await self._answer(request, call, failure, plan, entry)
            await self._deliver(request, response, plan, entry, send)
        except Disconnected:
            pass  # nobody is left to be told
        finally:
            self._journal.leave()

    async def _answer(self, request: Request, call: Call, failure: OssError | None, plan: Plan, entry: Entry) -> Response:
        """What to say; also puts the headers on it that every answer has."""
        host = request.sent_headers.get("host", "")
        try:
            await self._before(request, plan)
            self._accounts.check(request, public=self._is_public(request, call))
            if failure is not None:
                raise failure
            request.etag = plan.etag
            request.ignore_conditions = plan.ignore_conditions
            response = await call.handler(self._store, request)
            falsify(response, plan)
        except OssError as error:
            response = _error_response(error, entry, host)
        except Disconnected:
            raise
        except Exception:  # the boundary: a defect or a full disk is told to the client and to the log
            _log.exception("%s of %r failed", entry.operation, entry.key)
            response = _error_response(OssError("InternalError"), entry, host)
        response.headers["x-oss-request-id"] = entry.request_id
        response.headers["server"] = "AliyunOSS"
        response.headers["date"] = _date(int(self._accounts.now()))
        if request.s3:
            response.headers = {
                ("x-amz-" + name[6:] if name.startswith("x-oss-meta-") else name): value
                for name, value in response.headers.items()
            }
        return response

    async def _before(self, request: Request, plan: Plan) -> None:
        """The faults that come before the request is looked at. Raises OssError, Disconnected."""
        await self._pause(request, plan.latency)
        if plan.reset:
            self._cut(request, reset=True)
        if plan.reset or plan.hang:
            await _until_disconnected(request)
        if plan.error is not None:
            raise plan.error

    def _is_public(self, request: Request, call: Call) -> bool:
        if call.name not in _PUBLIC_READS or self._store.plain or request.bucket not in self._store.names():
            return False
        return self._store.bucket(request.bucket).info.acl != "private"

    async def _deliver(self, request: Request, response: Response, plan: Plan, entry: Entry, send: Send) -> None:
        try:
            await request.drain()
            entry.status = response.status
            headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
            if response.status not in (204, 304):
                headers.append((b"content-length", str(response.length + plan.longer).encode()))
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            if request.method == "HEAD":
                await send(_body_message(b""))
                return
            await self._pause(request, plan.first_byte_delay)
            try:
                complete = await self._send_body(request, response, plan, entry, send)
            except OSError as failure:  # a plain file that was cut short: the answer must not look whole
                _log.warning("%r cannot be sent: %s", entry.key, failure)
                self._cut(request, reset=True)
                return
            if complete:
                await send(_body_message(b""))
                return
            if plan.hang_after is None:
                self._cut(request, reset=plan.reset_after is not None)
            await _until_disconnected(request)
        finally:
            if isinstance(response.body, FileRange):
                os.close(response.body.fd)

    async def _send_body(self, request: Request, response: Response, plan: Plan, entry: Entry, send: Send) -> bool:
        """Sends as much of the body as the faults let through; whether that is all."""
        length = response.length
        ends_at = plan.ends_at
        if plan.longer < 0 and ends_at is None:
            length += plan.longer
        wanted = length if ends_at is None else min(length, ends_at)
        step = _SLICE if plan.bandwidth else CHUNK
        began = asyncio.get_running_loop().time()
        for data in _chunks(response.body, wanted, step):
            if plan.corrupt_at is not None and entry.sent <= plan.corrupt_at < entry.sent + len(data):
                data = _corrupted(data, plan.corrupt_at - entry.sent)
            if plan.bandwidth:
                due = began + (entry.sent + len(data)) / plan.bandwidth
                await self._pause(request, due - asyncio.get_running_loop().time())
            entry.sent += len(data)
            await send(_body_message(data, more=True))
        return (ends_at is None or ends_at >= length) and plan.longer <= 0

    async def _pause(self, request: Request, seconds: float) -> None:
        """Sleeps. Raises Disconnected when the client has gone meanwhile."""
        due = asyncio.get_running_loop().time() + seconds
        while (left := due - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, _PATIENCE))
            if request.client not in self._transports:
                raise Disconnected

    def _cut(self, request: Request, *, reset: bool) -> None:
        """Ends the connection behind what was written (what a reset finds unsent is lost)."""
        transport = self._transports.get(request.client)
        if transport is None:
            return
        if reset:
            transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
            transport.abort()
        else:
            with contextlib.suppress(OSError):  # the client was quicker
                transport.write_eof()  # close() alone sends no FIN where a forked child holds the descriptor too
            transport.close()


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise Disconnected


def _body_message(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _chunks(body: bytes | FileRange, length: int, step: int) -> Iterator[bytes]:
    for offset in range(0, length, step):
        size = min(step, length - offset)
        if isinstance(body, FileRange):
            data = os.pread(body.fd, size, body.start + offset)
            if len(data) < size:  # a plain file that was cut short while it is served
                raise OSError(f"the file ends before byte {body.start + offset + size}")
            yield data
        else:
            yield body[offset : offset + size]


def _corrupted(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1 :]


def _error_response(error: OssError, entry: Entry, host: str) -> Response:
    entry.code = error.code
    body = b"" if error.status == 304 else error_document(error, entry.request_id, host)
    headers = {"content-type": "application/xml", **error.headers}
    if entry.method == "HEAD":  # OSS tells the error of a HEAD in a header, where it tells it
        headers["x-oss-err"] = base64.b64encode(body).decode()
    return Response(error.status, headers, body)
