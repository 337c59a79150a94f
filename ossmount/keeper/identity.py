"""Giving up root: keeper and guard become an ordinary user's, and the guard keeps the capabilities that it needs.

Whatever it starts has none at all: capabilities do not pass an exec of an ordinary user, and nothing can bring them back
(no_new_privs, an empty bounding set). Sources: capabilities(7), prctl(2), capset(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

CAP_DAC_OVERRIDE = 1
CAP_SYS_ADMIN = 21
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITIES = 64  # numbers that there may ever be; the kernel says EINVAL for those that it does not know
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_HEADER = struct.Struct("=Ii")  # __user_cap_header_struct: version, pid
_SETS = struct.Struct("=6I")  # twice __user_cap_data_struct: effective, permitted, inheritable


def become(uid: int, gid: int, groups: list[int], *capabilities: int) -> None:
    """The whole process, which must have one thread, is another user's from now on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # those above the kernel's last one fail
    _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    keep_only(*capabilities)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def keep_only(*capabilities: int) -> None:
    """Of the capabilities that we have these, and no others ever again. Raises OSError."""
    wanted = sum(1 << number for number in capabilities)
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION, 0), _HEADER.size)
    sets = ctypes.create_string_buffer(_SETS.pack(low, low, 0, high, high, 0), _SETS.size)
    _check(libc.capset(header, sets), "capset")


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
