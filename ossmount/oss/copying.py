"""Whole objects to and from files: for what is carried between machines, not for what is mounted.

Both ways go in pieces, each a request with retries and a deadline of its own (--timeout), so that a file of some GiB needs
neither memory of its size nor a connection that never fails. What arrived is compared with CRC-64 as OSS computes it.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import BinaryIO

import trio
from fastcrc import crc64

from ossmount.errors import Changed, Damaged, NotFound, OssMountError
from ossmount.model import ObjectInfo
from ossmount.oss.buckets import Bucket
from ossmount.oss.session import MAX_BODY, Answer, Question

PIECE = 4 << 20  # bytes: a line of 70 KB/s takes as long as --timeout is by default. OSS takes 10,000 parts of 100 KiB or more
ATTEMPTS = 3  # for an object that is replaced while it is received
_PATIENCE = 5.0  # seconds for taking back an upload that failed
_UPLOAD_ID = re.compile(rb"<UploadId>([^<>&\s]+)</UploadId>")

assert PIECE <= MAX_BODY


async def beginning(bucket: Bucket, key: bytes, size: int) -> bytes:
    """The first bytes of an object, all of it when it has no more than `size` (at most PIECE). Raises NotFound."""
    info = await bucket.head(key)
    return await _receive(bucket, info, 0, min(size, PIECE))


async def download(bucket: Bucket, key: bytes, file: BinaryIO) -> None:
    """Receives one version of an object into an empty file. Raises NotFound; Changed when it is replaced again and again."""
    for attempt in range(ATTEMPTS):
        file.seek(0)
        file.truncate()
        info = await bucket.head(key)
        try:
            await _download(bucket, info, file)
            return
        except Changed:
            if attempt == ATTEMPTS - 1:
                raise


async def _download(bucket: Bucket, info: ObjectInfo, file: BinaryIO) -> None:
    checksum = crc64.xz(b"")
    for start in range(0, info.size, PIECE):
        piece = await _receive(bucket, info, start, PIECE)
        checksum = crc64.xz(piece, checksum) if start else crc64.xz(piece)
        await trio.to_thread.run_sync(file.write, piece)
    if info.crc64 not in (None, checksum):
        raise Damaged(f"GET {_shown(info.key)}: its checksum is {checksum}, OSS says {info.crc64}")
    await trio.to_thread.run_sync(file.flush)


async def _receive(bucket: Bucket, info: ObjectInfo, start: int, length: int) -> bytes:
    length = min(length, info.size - start)
    if length <= 0:
        return b""
    headers = {
        "Range": f"bytes={start}-{start + length - 1}",
        "x-oss-range-behavior": "standard",
        "If-Match": f'"{info.etag}"',
    }

    def parse(answer: Answer) -> bytes:
        if len(answer.body) != length:
            raise Damaged(f"GET {_shown(info.key)}: {len(answer.body)} bytes came, {length} were asked for")
        return answer.body

    try:
        return await bucket.ask(Question("GET", "GET", info.key, {}, headers), parse)
    except NotFound as failure:
        raise Changed(str(failure)) from failure  # it was there a moment ago


async def upload(bucket: Bucket, key: bytes, file: BinaryIO) -> None:
    """Makes a file's bytes an object, all of them at one moment or none; an object that stood there before is replaced."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    if size <= PIECE:
        await _send(bucket, Question("PUT", "PUT", key, body=await trio.to_thread.run_sync(file.read)))
        return
    name = await bucket.ask(Question("InitiateMultipartUpload", "POST", key, {"uploads": ""}), _upload_id)
    try:
        checksum = await _send_parts(bucket, key, name, file)
        await _complete(bucket, key, name, size, checksum)
    except BaseException:
        with trio.move_on_after(_PATIENCE, shield=True):  # else its parts are stored, and paid for, for ever
            await _abort(bucket, key, name)
        raise


async def _send_parts(bucket: Bucket, key: bytes, name: str, file: BinaryIO) -> int:
    """The CRC-64 of all parts together."""
    checksum = crc64.xz(b"")
    number = 0
    while piece := await trio.to_thread.run_sync(file.read, PIECE):
        checksum = crc64.xz(piece, checksum) if number else crc64.xz(piece)
        number += 1
        await _send(bucket, Question("UploadPart", "PUT", key, {"partNumber": str(number), "uploadId": name}, {}, piece))
    return checksum


async def _send(bucket: Bucket, question: Question) -> None:
    wanted = str(crc64.xz(question.body))

    def parse(answer: Answer) -> None:
        if answer.headers.get("x-oss-hash-crc64ecma", wanted) != wanted:
            raise Damaged(f"PUT {_shown(question.key)}: other bytes arrived than were sent")

    await bucket.ask(question, parse)


async def _complete(bucket: Bucket, key: bytes, name: str, size: int, checksum: int) -> None:
    def parse(answer: Answer) -> int | None:
        told = answer.headers.get("x-oss-hash-crc64ecma", "")
        return int(told) if told.isascii() and told.isdigit() else None

    question = Question("CompleteMultipartUpload", "POST", key, {"uploadId": name}, {"x-oss-complete-all": "yes"})
    try:
        told = await bucket.ask(question, parse)
    except NotFound:  # most likely done: an answer was lost, and the next attempt found the upload gone
        info = await bucket.head(key)
        if (info.size, info.crc64) != (size, checksum):
            raise
        return
    if told not in (None, checksum):
        raise Damaged(f"PUT {_shown(key)}: other bytes arrived than were sent")


async def _abort(bucket: Bucket, key: bytes, name: str) -> None:
    question = Question("AbortMultipartUpload", "DELETE", key, {"uploadId": name})
    with contextlib.suppress(OssMountError):  # why the upload failed is what the user must hear
        await bucket.ask(question, lambda answer: None)


def _upload_id(answer: Answer) -> str:
    found = _UPLOAD_ID.search(answer.body)
    if found is None:
        raise Damaged("the answer to InitiateMultipartUpload names no upload")
    return found[1].decode("ascii", "replace")


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
