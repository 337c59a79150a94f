"""What every process of a mount does first, so that nobody reads its memory: access keys and other people's bytes are in it.

Standard library only: the keeper does it too.
"""

from __future__ import annotations

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def shield(*, no_new_privileges: bool = False) -> None:
    """No core dumps, no debugger of the same user, no new files that others may look into. Raises OSError.

    PR_SET_DUMPABLE is what counts: a core_pattern with a program behind it takes no notice of RLIMIT_CORE. What is left of
    /proc/PID for other users (stat, status, cmdline) stays readable; the rest becomes root's. An exec undoes it.
    no_new_privileges: where nothing is started that has to be set-user-id (fusermount3).
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
    if no_new_privileges and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
