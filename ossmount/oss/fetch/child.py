"""The start of a fetch process: signals, the tie to the daemon's life, the slab, then the worker's loop."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import struct

from ossmount.oss.fetch import wire
from ossmount.oss.fetch.settings import WorkerSettings
from ossmount.oss.fetch.worker import Worker

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def main(control_fd: int, slab_fd: int, slab_size: int, parent: int) -> None:
    """Serves the daemon with process id `parent` until it closes its end of the control socket, or dies."""
    _tie_to(parent)
    control = socket.socket(fileno=control_fd)
    slab = mmap.mmap(slab_fd, slab_size)
    os.close(slab_fd)
    settings = _configure(control)
    if settings is not None:
        Worker(control, memoryview(slab), settings).run()


def _tie_to(parent: int) -> None:
    """Ctrl-C is the daemon's business; SIGTERM ends; the kernel ends this process with the daemon's thread that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    libc.prctl(_PR_SET_NAME, b"ossmount-fetch", 0, 0, 0)
    if os.getppid() != parent:  # it died before the tie was made
        raise SystemExit(1)


def _configure(control: socket.socket) -> WorkerSettings | None:
    """The first message; None when the daemon is gone."""
    head = control.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return None
    body = control.recv(struct.unpack("<I", head)[0], socket.MSG_WAITALL)
    messages = wire.Unpacker().feed(head + body)
    if not messages or messages[0][0] != wire.CONFIGURE:
        return None
    return WorkerSettings(**messages[0][1])
