"""Files that the kernel reads by itself for readers of the mount (FUSE passthrough): numbers that it gives them.

A number belongs to the connection, not to the process that asked for it: it outlives daemons, and keeps its file open until
it is given back. So it is asked for here, where no daemon's death can lose it; and because asking needs CAP_SYS_ADMIN, which
the daemon can then do without. Source: include/uapi/linux/fuse.h, fs/fuse/passthrough.c.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterable

_OPEN = 0x4010E501  # FUSE_DEV_IOC_BACKING_OPEN, _IOW(229, 1, struct fuse_backing_map)
_CLOSE = 0x4004E502  # FUSE_DEV_IOC_BACKING_CLOSE, _IOW(229, 2, uint32_t)
_MAP = struct.Struct("=iIQ")  # fuse_backing_map: fd, flags, padding
_NUMBER = struct.Struct("=I")
MOST = 4096  # at once: all of them go into one packet, and each keeps a file open


def open_backing(device: int, file: int) -> int:
    """A number for an open file. Raises OSError: EPERM without CAP_SYS_ADMIN, ELOOP for a file system that is too stacked."""
    number: int = fcntl.ioctl(device, _OPEN, bytearray(_MAP.pack(file, 0, 0)), True)
    return number


def close_backing(device: int, number: int) -> None:
    """Files that are open by it stay so. Raises OSError: ENOENT for none of the connection's."""
    fcntl.ioctl(device, _CLOSE, _NUMBER.pack(number))


class Backings:
    """The numbers of one connection that are not given back."""

    def __init__(
        self,
        numbers: Iterable[int] = (),
        opening: Callable[[int, int], int] = open_backing,
        closing: Callable[[int, int], None] = close_backing,
    ) -> None:
        """opening and closing: how the kernel is asked, where we may not ourselves."""
        self.numbers = set(numbers)
        self._open = opening
        self._close = closing

    def __repr__(self) -> str:
        return f"<Backings {sorted(self.numbers)}>"

    def serve(self, device: int, message: dict[str, object], descriptors: list[int], answer: Callable[..., None]) -> None:
        """One message of a daemon, back or unback; device: -1 when it is not to be heard any more."""
        if message["kind"] == "back":
            backing, error = self.open(device, descriptors)
            answer("backed", number=message["number"], backing=backing, error=error)
        elif device >= 0:
            self.close(device, int(str(message["backing"])))

    def open(self, device: int, descriptors: list[int]) -> tuple[int, int]:
        """For a file, whose descriptor is closed: its number, and the errno if there is none (else 0)."""
        try:
            if len(self.numbers) >= MOST:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            if not descriptors:  # our own limit of open files is reached: the kernel has left it out
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            number = self._open(device, descriptors[0])
        except OSError as failure:
            return 0, failure.errno or errno.EIO
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.numbers.add(number)
        return number, 0

    def close(self, device: int, number: int) -> None:
        if number not in self.numbers:
            return
        self.numbers.remove(number)
        try:
            self._close(device, number)
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.ENOTCONN, errno.ENODEV):  # the connection ended
                raise
