"""What a keeper says to the kernel, and asks it. Source: include/uapi/linux/fuse.h."""

from __future__ import annotations

import errno
import os
import select
import struct

_OUT_HEADER = struct.Struct("=IiQ")  # fuse_out_header: len, error, unique
_IN_HEADER = struct.Struct("=IIQ")  # the beginning of fuse_in_header: len, opcode, unique
_RESEND = 7  # FUSE_NOTIFY_RESEND
_UNANSWERED = (2, 36, 41, 42)  # FORGET, INTERRUPT, NOTIFY_REPLY, BATCH_FORGET
_REQUEST = 64 << 10  # bytes; more than the largest request with the daemon's max_write


def resend(device: int) -> bool:
    """Has the kernel send again what was in hand; False where it cannot (before Linux 6.9), or is unmounted."""
    try:
        os.write(device, _OUT_HEADER.pack(_OUT_HEADER.size, _RESEND, 0))
    except OSError:
        return False
    return True


def has_ended(device: int) -> bool:
    """Whether the connection is gone: unmounted, or aborted."""
    poll = select.poll()
    poll.register(device, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def refuse(device: int, code: int) -> bool:
    """Answers all requests that wait with an errno; False when the connection has ended."""
    while True:
        try:
            request = os.read(device, _REQUEST)
        except OSError as failure:
            if failure.errno in (errno.EINTR, errno.ENOENT):
                continue
            return failure.errno == errno.EAGAIN
        if len(request) < _IN_HEADER.size:
            return False
        _length, opcode, unique = _IN_HEADER.unpack_from(request)
        if opcode not in _UNANSWERED:
            _answer(device, unique, code)


def _answer(device: int, unique: int, code: int) -> None:
    try:
        os.write(device, _OUT_HEADER.pack(_OUT_HEADER.size, -code, unique))
    except OSError as failure:
        if failure.errno not in (errno.ENOENT, errno.ENODEV, errno.ECONNABORTED):  # it was taken back, or all has ended
            raise
