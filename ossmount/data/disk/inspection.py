"""Looking at what is cached, for `ossmount cache`: what each entry is, and whether it verifies."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from typing import NamedTuple

from ossmount.data.disk import sparse, whole
from ossmount.data.disk.inventory import Entry, drop
from ossmount.data.disk.layout import BLOCK, DATA_SUFFIX, SUMS_SUFFIX, WHOLE_SUFFIX, Label, seed_of
from ossmount.data.disk.pieces import block_sums

YOUNG = 60.0  # seconds; a file that was changed since may be half written


class Described(NamedTuple):
    """What an entry is of."""

    label: Label
    size: int  # bytes of the object


class Verdict(NamedTuple):
    """What came of verifying an entry."""

    good: int  # bytes
    bad: int  # blocks that do not verify; they count as not cached from now on
    dropped: bool  # nothing of the entry could be used


def describe(entry: Entry) -> Described | None:
    """None where it cannot be told. Raises OSError."""
    for suffix, label_of in ((WHOLE_SUFFIX, whole.label_of), (SUMS_SUFFIX, sparse.label_of)):
        with contextlib.suppress(FileNotFoundError, ValueError, struct.error):
            file = os.open(entry.stem + suffix, os.O_RDONLY | os.O_CLOEXEC)
            try:
                found = label_of(file)
            finally:
                os.close(file)
            if found is not None:
                return Described(*found)
    return None


def verify(entry: Entry, buffer: memoryview) -> Verdict:
    """Reads all of an entry and compares; what does not verify is dropped. buffer: of store.BUFFER bytes. Raises OSError."""
    root = os.path.dirname(os.path.dirname(entry.stem))
    described = describe(entry)
    if described is None:
        young = time.time() - entry.used / 1e9 < YOUNG
        return Verdict(0, 0, not young and drop(entry))
    size = described.size
    good = bad = 0
    if os.path.exists(entry.stem + WHOLE_SUFFIX):
        try:
            data = whole.load(root, entry.name, size, buffer, float("inf"))
            good += 0 if data is None else size
        except whole.Bad:
            bad += 1
            os.unlink(entry.stem + WHOLE_SUFFIX)
    if os.path.exists(entry.stem + SUMS_SUFFIX):
        part = _verify_sparse(root, entry, size, buffer)
        good, bad = good + part.good, bad + part.bad
    return Verdict(good, bad, not good and drop(entry))


def _verify_sparse(root: str, entry: Entry, size: int, buffer: memoryview) -> Verdict:
    good = 0
    bad: list[int] = []
    with contextlib.ExitStack() as stack:
        files = []
        for suffix in (SUMS_SUFFIX, DATA_SUFFIX):
            try:
                files.append(os.open(entry.stem + suffix, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:  # it is being dropped
                return Verdict(0, 0, False)
            stack.callback(os.close, files[-1])
        sums, data = files
        step = sparse.CHUNK // BLOCK
        for first in range(0, -(-size // BLOCK), step):
            packed = os.pread(sums, step * 8, sparse.HEADER + first * 8)
            expected = struct.unpack(f"<{len(packed) // 8}Q", packed[: len(packed) // 8 * 8])
            if not any(expected):
                continue
            length = min(len(expected) * BLOCK, size - first * BLOCK)
            got = os.preadv(data, [buffer[:length]], first * BLOCK)
            found = block_sums(buffer[:got], seed_of(entry.name))
            found += [0] * (len(expected) - len(found))
            for number, (wanted, there) in enumerate(zip(expected, found, strict=True)):
                if wanted and wanted == there:
                    good += min(BLOCK, size - (first + number) * BLOCK)
                elif wanted:
                    bad.append(first + number)
    sparse.forget_bad(root, entry.name, bad)
    return Verdict(good, len(bad), False)
