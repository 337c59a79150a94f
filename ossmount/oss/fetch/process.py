"""Starts one fetch process and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import trio

import ossmount
from ossmount.oss.fetch import wire
from ossmount.oss.fetch.settings import WorkerSettings

#: All of the environment that a fetch process sees: certificates and the resolver's settings, and no credentials.
_ENVIRONMENT: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES")
_SOCKET_BUFFER: Final = 1 << 20
#: -I and -S: no user's site directory, no .pth files, nothing but the daemon's own path; that halves the start.
_START: Final = (
    "import sys; sys.path += sys.argv[5:]; from ossmount.oss.fetch.child import main; main(*map(int, sys.argv[1:5]))"
)


def _import_path() -> list[str]:
    """Where the process finds this very ossmount, and what the daemon can import. An editable installation is on no path."""
    root = Path(ossmount.__file__).resolve().parent.parent
    return [str(root), *filter(None, sys.path)]


class FetchProcess:
    """A running fetch process and the daemon's end of its control socket (non-blocking).

    Must be made on a thread that lives as long as the daemon: the kernel kills the process when its parent thread ends.
    """

    def __init__(self, settings: WorkerSettings, slab_fd: int, slab_size: int, environment: Mapping[str, str]) -> None:
        """Starts the process and sends its settings. Raises OSError."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self.control.sendall(wire.pack([(wire.CONFIGURE, settings.packed())]))
            self.control.setblocking(False)
            numbers = [theirs.fileno(), slab_fd, slab_size, os.getpid()]
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, *map(str, numbers), *_import_path()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), slab_fd),
                env={name: environment[name] for name in _ENVIRONMENT if name in environment},
                start_new_session=True,  # a terminal's Ctrl-C reaches the daemon only, also before SIGINT is ignored
            )
        except BaseException:
            self.control.close()
            raise
        finally:
            theirs.close()
        self.pid = self._popen.pid

    async def end(self) -> int:
        """Kills the process and waits until it is gone and writes the slab no more; its exit status. Not cancellable."""
        with trio.CancelScope(shield=True):
            self.kill()
            if self._popen.poll() is None:
                pidfd = os.pidfd_open(self.pid)
                try:
                    await trio.lowlevel.wait_readable(pidfd)
                finally:
                    os.close(pidfd)
        self.control.close()
        return self._popen.wait()

    def kill(self) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGKILL)
