"""Which keys and common prefixes a page of a listing shows."""

from __future__ import annotations

from typing import NamedTuple

from ossmount.emulator.values import Cursor, ObjectRecord


class Page(NamedTuple):
    """One page, in key order: both lists count towards its size."""

    objects: list[ObjectRecord]
    prefixes: list[bytes]
    last: bytes  # the last key or common prefix shown; what the next page starts after
    truncated: bool


def list_page(cursor: Cursor, *, prefix: bytes, delimiter: bytes, after: bytes, size: int) -> Page:
    """The first `size` entries behind `after`.

    With a delimiter, all keys with one common prefix are one entry, and where `after` is that common prefix itself they
    are all behind us.
    """
    objects: list[ObjectRecord] = []
    prefixes: list[bytes] = []
    last = b""
    start = after + b"\0" if after else b""
    if delimiter and after and common_prefix(after, prefix, delimiter) == after:
        start = behind_prefix(after)
    while True:
        for record in cursor.scan(prefix, start):
            if len(objects) + len(prefixes) == size:
                return Page(objects, prefixes, last, size > 0)
            group = common_prefix(record.key, prefix, delimiter) if delimiter else b""
            if group:
                prefixes.append(group)
                last = group
                start = behind_prefix(group)
                break
            objects.append(record)
            last = record.key
        else:
            return Page(objects, prefixes, last, False)


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """The part of a key up to the first delimiter behind the prefix; b"" where there is none."""
    if not key.startswith(prefix):
        return b""
    end = key.find(delimiter, len(prefix))
    return key[: end + len(delimiter)] if end >= 0 else b""


def behind_prefix(prefix: bytes) -> bytes:
    """The lowest key that is higher than all keys with that prefix, which is UTF-8 and so never ends in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
