"""How bodies are received: into a file of their own, checked against what the client said of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterator

from ossmount.emulator.errors import OssError
from ossmount.emulator.message import Request
from ossmount.emulator.stored_bucket import Body, StoredBucket

_MAX_LINE = 16 << 10  # bytes of a chunk's head or of a trailer


async def receive_body(bucket: StoredBucket, request: Request) -> Body:
    """The body as a file of the bucket; the caller keeps it in the index or abandons it.

    Raises Disconnected, InvalidDigest, BadDigest, IncompleteBody; nothing is left of the body then.
    """
    body = bucket.new_body()
    sha256 = hashlib.sha256()
    declared = request.headers.get("x-oss-content-sha256", "") if request.s3 else ""
    checked = len(declared) == 64
    try:
        async for data in _pieces(request):
            body.write(data)
            if checked:
                sha256.update(data)
        body.close()
        _check_md5(request, body.md5)
        if checked and not hmac.compare_digest(sha256.hexdigest(), declared.lower()):
            raise OssError("BadDigest", "The provided x-amz-content-sha256 does not match what was computed.")
    except BaseException:
        body.abandon()
        raise
    return body


def _check_md5(request: Request, md5: bytes) -> None:
    declared = request.headers.get("content-md5", "")
    if not declared:
        return
    try:
        expected = base64.b64decode(declared, validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    if len(expected) != 16:
        raise OssError("InvalidDigest", details={"Content-MD5": declared})
    if expected != md5:
        raise OssError("BadDigest", details={"ClientComputedContentMD5": declared})


def _pieces(request: Request) -> AsyncIterator[bytes]:
    if request.headers.get("x-oss-content-sha256", "").startswith("STREAMING-"):
        return _decoded(request)
    return _raw(request)


async def _raw(request: Request) -> AsyncIterator[bytes]:
    while data := await request.chunk():
        yield data


async def _decoded(request: Request) -> AsyncIterator[bytes]:
    """The payload of S3's aws-chunked encoding; the signatures of single chunks are not checked, MD5 and length are.

    Source: the AWS documentation, "Signature calculations for the Authorization header: transferring payload in multiple
    chunks".
    """
    buffer = bytearray()
    total = 0

    async def more() -> None:
        data = await request.chunk()
        if not data:
            raise OssError("IncompleteBody")
        buffer.extend(data)

    async def line() -> bytes:
        while (end := buffer.find(b"\r\n")) < 0:
            if len(buffer) > _MAX_LINE:
                raise OssError("InvalidArgument", "A chunk of the body is malformed.")
            await more()
        found = bytes(buffer[:end])
        del buffer[: end + 2]
        return found

    while True:
        head = (await line()).partition(b";")[0]
        try:
            left = int(head, 16)
        except ValueError:
            raise OssError("InvalidArgument", "A chunk of the body is malformed.") from None
        if left == 0:
            break
        total += left
        while left:
            if not buffer:
                await more()
            piece = bytes(buffer[:left])
            del buffer[: len(piece)]
            left -= len(piece)
            yield piece
        await line()
    await request.drain()  # trailers
    declared = request.headers.get("x-oss-decoded-content-length", "")
    if declared and declared != str(total):
        raise OssError("IncompleteBody")
