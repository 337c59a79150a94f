"""Answers that say something else than what lies in the bucket, as a fault has it."""

from __future__ import annotations

import os
import re

from ossmount.emulator.faults import Plan
from ossmount.emulator.message import FileRange, Response

_CRC64 = "x-oss-hash-crc64ecma"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(.+)")


def falsify(response: Response, plan: Plan) -> None:
    """Puts another checksum, another range or another body into the answer to a GET of an object, or a HEAD."""
    headers = response.headers
    if _CRC64 in headers and plan.no_crc64:
        del headers[_CRC64]
    elif _CRC64 in headers and plan.crc64 is not None:
        headers[_CRC64] = str(plan.crc64)
    told = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if told is not None and plan.range_shift:
        first, last, size = told.groups()
        headers["content-range"] = f"bytes {int(first) + plan.range_shift}-{int(last) + plan.range_shift}/{size}"
    if isinstance(response.body, FileRange) and (plan.body is not None or plan.flip_at is not None):
        response.body = _another_body(response.body, plan)


def _another_body(part: FileRange, plan: Plan) -> bytes:
    """Closes the descriptor."""
    try:
        data = os.pread(part.fd, part.length, part.start)
    finally:
        os.close(part.fd)
    if plan.body is not None:
        data = plan.body[part.start : part.start + part.length]
    if plan.flip_at is not None and 0 <= (at := plan.flip_at - part.start) < len(data):
        data = data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]
    return data
