"""The process's own side, at its start. Imports nothing that takes time."""

from __future__ import annotations

import ctypes
import os
import signal

from ossmount.children.shield import shield

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def tie_to(parent: int, name: str) -> None:
    """Ctrl-C is the daemon's business; SIGTERM ends; the kernel ends this process with the daemon's thread that started it.

    name: shown by ps, at most 15 bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    shield(no_new_privileges=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    if os.getppid() != parent:  # it died before the tie was made
        raise SystemExit(1)
