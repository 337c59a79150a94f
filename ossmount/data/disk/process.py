"""Starts one disk process and ends it."""

from __future__ import annotations

import marshal
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import trio

import ossmount

_SOCKET_BUFFER: Final = 1 << 20
_DEAD: Final = 1.0  # seconds after SIGKILL; who lives then hangs in system calls, which never return to it
_START: Final = (
    "import sys; sys.path += sys.argv[6:]; from ossmount.data.disk.child import main; "
    "main(sys.argv[1], *map(int, sys.argv[2:6]))"
)


class DiskProcess:
    """A running disk process and the daemon's end of its socket (non-blocking).

    Must be made on a thread that lives as long as the daemon: the kernel kills the process when its parent thread ends.
    """

    def __init__(self, role: str, settings: dict[str, Any], slab_fd: int, slab_size: int) -> None:
        """Raises OSError."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            for end in (self.control, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self.control.send(marshal.dumps(settings))
            self.control.setblocking(False)
            numbers = [theirs.fileno(), slab_fd, slab_size, os.getpid()]
            path = [str(Path(ossmount.__file__).resolve().parent.parent), *filter(None, sys.path)]
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, role, *map(str, numbers), *path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), slab_fd),
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                start_new_session=True,
            )
        except BaseException:
            self.control.close()
            raise
        finally:
            theirs.close()
        self.pid = self._popen.pid

    async def end(self) -> int | None:
        """Kills the process and waits until it writes the slab no more; its exit status. Not cancellable.

        None when a disk holds it in the kernel. It has no user code left to run then, and only that writes the slab.
        """
        self.kill()
        with trio.move_on_after(_DEAD, shield=True):
            if self._popen.poll() is None:
                pidfd = os.pidfd_open(self.pid)
                try:
                    await trio.lowlevel.wait_readable(pidfd)
                finally:
                    os.close(pidfd)
        self.control.close()
        return self._popen.poll()

    def kill(self) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGKILL)
