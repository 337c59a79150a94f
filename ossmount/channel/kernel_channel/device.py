"""Writing answers to the descriptor of the connection."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from ossmount.channel.kernel_channel import protocol
from ossmount.channel.kernel_channel.packing import pack_error

# Not a failure of ours: the request was interrupted or aborted (ENOENT), or the connection ended (the others).
GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ECONNABORTED, errno.EPIPE, errno.ECONNRESET})
CLOSED = -1  # the descriptor number of a closed device: no file has it
IOV_MAX = 1024  # pieces of one writev(2)


class Device:
    """A descriptor of /dev/fuse, as the writer of answers. Raises OSError for an answer that the kernel takes for wrong."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.last_error = (0, 0)  # the number of the request that was answered with an errno last, and that errno
        self.sent = 0  # bytes of answers to READ
        self.lost = 0  # answers to requests that were gone already

    def __repr__(self) -> str:
        return f"<Device fd={self.fd} lost={self.lost}>"

    def facts(self) -> dict[str, object]:
        return {"answers_lost": self.lost, "bytes_read": self.sent}

    def close(self) -> None:
        """Closes the descriptor. Answers that still come are lost; the number may be another file's by then."""
        if self.fd != CLOSED:
            fd, self.fd = self.fd, CLOSED
            os.close(fd)

    def _lose(self, failure: OSError) -> None:
        if failure.errno not in GONE and self.fd != CLOSED:
            raise failure
        self.lost += 1

    def write(self, answer: bytes | memoryview) -> bool:
        """Whether the kernel took it; else the request, or the connection, was gone."""
        try:
            os.write(self.fd, answer)
        except OSError as failure:
            self._lose(failure)
            return False
        return True

    def error(self, unique: int, code: int) -> None:
        """Answers with an errno; 0 answers "done"."""
        self.last_error = (unique, code)
        self.write(pack_error(unique, code))

    def write_data(self, unique: int, size: int, views: Sequence[memoryview]) -> None:
        """Answers a READ of `size` bytes with the views, without copying them. Raises ValueError when they are too many."""
        total = 0
        for view in views:
            total += view.nbytes
        if total > size:
            raise ValueError(f"{total} bytes for a READ of {size}")
        self.sent += total
        header = protocol.OUT_HEADER.pack(16 + total, 0, unique)
        if len(views) >= IOV_MAX:
            views = [memoryview(b"".join(views))]
        try:
            os.writev(self.fd, (header, *views))
        except OSError as failure:
            self._lose(failure)
