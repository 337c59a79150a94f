"""What only a privileged process can do for a daemon that has no privileges (--user): mount, and take the mount away.

The guard (guard.py) does it. A daemon may have been taken over by whoever sent it bytes. So all that counts is decided here and
at the start, by what the administrator wrote: a FUSE mount, read-only, without set-user-id programs and devices, on the very
folder that the mountpoint was when the process still was root; and only that mount is ever taken away, whatever the path leads
to by then.
Sources: mount(2), umount(2), proc_pid_mountinfo(5), Documentation/filesystems/fuse of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re

from ossmount.keeper.identity import CAP_SYS_ADMIN, keep_only
from ossmount.keeper.mounts import topmost

_READ_ONLY = 1 | 2 | 4  # MS_RDONLY, MS_NOSUID, MS_NODEV
_MNT_DETACH = 2
_KIND = "fuse.ossmount"
_LARGEST_READ_AHEAD = 65536  # KiB


class Mounting:
    """The mount of one guard (guard.py). Made while the process still is root."""

    def __init__(self, source: str, mountpoint: str) -> None:
        """Raises OSError for a mountpoint that is no folder."""
        self._source = source
        self._mountpoint = mountpoint
        self.place = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._mount = 0  # its number in mountinfo
        self._device = ""  # MAJ:MIN

    def __repr__(self) -> str:
        return f"<Mounting of {self._source} at {self._mountpoint}, mount {self._mount}>"

    def make(self, device: int, *, allow_other: bool) -> None:
        """Once. Readers see the mount as one that root has made: its files are root's unless uid= says otherwise.

        Raises OSError, as read_ahead() does.
        """
        if self.place < 0:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions" + ",allow_other" * allow_other
        place = f"/proc/self/fd/{self.place}"
        libc = ctypes.CDLL(None, use_errno=True)
        flags = ctypes.c_ulong(_READ_ONLY)
        if libc.mount(os.fsencode(self._source), place.encode(), _KIND.encode(), flags, options.encode()):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        os.close(self.place)
        self.place = -1
        self._mount, self._device = topmost(self._mountpoint)

    def read_ahead(self, kb: int) -> None:
        """Of our mount, after INIT; with that the mount is made, and what is kept until then is given up.

        Of daemons that follow too: they want what it is already.
        """
        path, kb = f"/sys/class/bdi/{self._device}/read_ahead_kb", min(kb, _LARGEST_READ_AHEAD)
        try:
            with open(path, encoding="ascii") as file:
                now = int(file.read())
            if kb not in (0, now):
                with open(path, "w", encoding="ascii") as file:
                    file.write(f"{kb}\n")
        finally:
            keep_only(CAP_SYS_ADMIN)

    def take_away(self) -> int:
        """The errno; 0 when done. By a descriptor of what lies there now, compared with what we have mounted."""
        try:
            found = os.open(self._mountpoint, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(f"/proc/self/fdinfo/{found}", encoding="ascii") as file:
                number = re.search(r"^mnt_id:\s*(\d+)$", file.read(), re.MULTILINE)
        except OSError as failure:
            return failure.errno or errno.EIO
        if number is None or int(number[1]) != self._mount:
            return errno.EINVAL
        libc = ctypes.CDLL(None, use_errno=True)
        return ctypes.get_errno() if libc.umount2(f"/proc/self/fd/{found}".encode(), _MNT_DETACH) else 0
